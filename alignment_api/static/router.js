// Hash routes: `#/jobs/ftjob-1/fitness?generation=3` shows the page of `/jobs/:id/:tab`.

import { ApiError, isAbort } from "./api.js";
import { el, replace } from "./dom.js";

const routes = [];
let current = null;

/**
 * Register a page. `load()` returns a module with `async function show(root, params, signal)`.
 *
 * `params` has the named parts of the pattern, and `query`, a URLSearchParams. `signal` aborts when
 * the page is left. `show` may return `{update(params)}`: `update` is called instead of a new `show`
 * if the next address has the same `load` and `keep` part, and returns true if it handled it.
 */
export function route(pattern, load, { title, keep = null, nav = null } = {}) {
  const names = [...pattern.matchAll(/:(\w+)/g)].map(([, name]) => name);
  const match = new RegExp(`^${pattern.replaceAll(/:\w+/g, "([^/]+)")}$`);
  routes.push({ match, names, load, title, keep, nav });
}

/** Go to a path such as `/jobs`. `isReplacing` adds no entry to the history. */
export function go(path, { isReplacing = false } = {}) {
  if (isReplacing) location.replace(`#${path}`);
  else location.hash = path;
}

/** Change the query of the address without leaving the page; null removes a name. */
export function setQuery(changes) {
  const [path, query] = hashParts();
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") next.delete(name);
    else next.set(name, value);
  }
  const text = next.size ? `?${next}` : "";
  history.replaceState(null, "", `#${path}${text}`);
}

/** The current address: a path with its query. */
export function here() {
  return location.hash.slice(1) || "/";
}

/** The navigation entry of the current page. */
export function currentNav() {
  return current?.route.nav ?? null;
}

/** Show pages in `root` from now on. `before(path)` may return another path to show instead. */
export function start(root, { before, after }) {
  const render = (isFirst) => show(root, before, after, isFirst === true);
  addEventListener("hashchange", render);
  render(true);
  return render;
}

async function show(root, before, after, isFirst) {
  const redirect = before(here());
  if (redirect) return go(redirect, { isReplacing: true });
  const found = find(hashParts());
  if (found && current && (await isKept(found))) return after();
  current?.controller.abort();
  const controller = new AbortController();
  const isReady = Promise.withResolvers();
  current = { ...(found ?? { route: {}, params: {} }), controller, ready: isReady.promise };
  document.title = found ? `${found.route.title} · ESSA` : "Not found · ESSA";
  after();
  try {
    const stage = el("div", { class: "page" });
    replace(root, stage);
    if (!found) return replace(stage, el("h1", {}, "Not found"), el("p", {}, `There is no page ${here()}. `, el("a", { href: "#/jobs" }, "Jobs")));
    const module = await found.route.load();
    if (!controller.signal.aborted) isReady.resolve(await module.show(stage, found.params, controller.signal));
  } catch (error) {
    if (!isAbort(error) && !controller.signal.aborted) fail(root, error);
  } finally {
    isReady.resolve(null);
  }
  if (!isFirst && !controller.signal.aborted) root.focus({ preventScroll: true });
  if (!isFirst) scrollTo(0, 0);
}

async function isKept({ route: wanted, params }) {
  const was = current;
  const isSame = wanted.load === was.route.load && wanted.keep !== null && params[wanted.keep] === was.params[wanted.keep];
  if (!isSame) return false;
  // A page that is still being built receives the new address once it is built.
  const page = await was.ready;
  if (was !== current) return true;
  if (!page?.update || !(await page.update(params))) return false;
  Object.assign(was, { route: wanted, params });
  return true;
}

function find([path, query]) {
  for (const route of routes) {
    const parts = path.match(route.match);
    if (parts) {
      const named = route.names.map((name, n) => [name, decoded(parts[n + 1])]);
      return { route, params: { ...Object.fromEntries(named), query: new URLSearchParams(query) } };
    }
  }
  return null;
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function hashParts() {
  const [path, query = ""] = here().split("?", 2);
  return [path, query];
}

function fail(root, error) {
  const isKnown = error instanceof ApiError;
  if (!isKnown) console.error(error);
  const text = isKnown ? error.message : `The page failed: ${error.message}`;
  const again = el("button", { type: "button", onclick: () => dispatchEvent(new HashChangeEvent("hashchange")) }, "Try again");
  replace(root, el("div", { class: "page" }, el("h1", {}, "That did not work"), el("p", { role: "alert", class: "problem" }, text), again));
}
