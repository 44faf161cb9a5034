// Page: all jobs, newest first, refreshed while the page is visible.

import { api, isAbort } from "../api.js";
import { can } from "../auth.js";
import { el, replace, setText } from "../dom.js";
import { go, setQuery } from "../router.js";
import { pause } from "../sse.js";
import { jobTable } from "./job_table.js";

const PAGE = 25;
const REFRESH_MS = 2000;
const TYPING_MS = 250;
const STATUSES = ["queued", "running", "paused", "succeeded", "failed", "cancelled"];

/** See router.js. */
export async function show(root, params, signal) {
  const wanted = { status: params.query.get("status"), q: params.query.get("q"), after: params.query.get("after") };
  const table = jobTable({ onSelect: (ids) => drawCompare(compare, ids), onChanged: () => refresh() });
  const compare = el("button", { type: "button", disabled: true, onclick: () => go(`/compare?jobs=${table.selected().join(",")}`) });
  drawCompare(compare, []);
  const note = el("p", { class: "small soft", role: "status" });
  const pager = el("nav", { class: "row pager", "aria-label": "Pages of jobs" });
  let changes = 0;
  const refresh = async () => {
    const change = changes;
    const page = await api.get("/v1/fine_tuning/jobs", { query: { ...wanted, limit: PAGE }, signal });
    if (signal.aborted || change !== changes) return;
    table.set(page.data, emptyText(wanted));
    setText(note, "");
    drawPager(pager, page, wanted);
  };
  const onFilter = (changed) => {
    changes += 1;
    Object.assign(wanted, changed, { after: null });
    setQuery(wanted);
    refresh().catch((error) => isAbort(error) || setText(note, error.message));
  };
  const start = can("submit") ? el("a", { class: "button primary", href: "#/jobs/new" }, "New job") : null;
  replace(root, el("div", { class: "head" }, el("h1", {}, "Jobs"), el("div", { class: "row" }, compare, start)), filters(wanted, onFilter), table.root, note, pager);
  await refresh();
  keepFresh(refresh, note, signal);
}

async function keepFresh(refresh, note, signal) {
  for (;;) {
    await pause(REFRESH_MS, signal);
    if (signal.aborted) return;
    if (document.hidden) continue;
    try {
      await refresh();
    } catch (error) {
      if (!isAbort(error)) setText(note, `Not refreshed: ${error.message}`);
    }
  }
}

function filters(wanted, onFilter) {
  const status = el("select", { id: "filter-status", onchange: () => onFilter({ status: status.value || null }) }, el("option", { value: "" }, "any"), STATUSES.map((name) => el("option", { value: name }, name)));
  status.value = wanted.status ?? "";
  let timer = null;
  const text = el("input", { id: "filter-text", type: "search", value: wanted.q ?? "", autocomplete: "off" });
  text.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => onFilter({ q: text.value.trim() || null }), TYPING_MS);
  });
  return el(
    "form",
    { class: "row end filters", role: "search", onsubmit: (event) => event.preventDefault() },
    el("div", { class: "field" }, el("label", { for: "filter-text" }, "Name contains"), text),
    el("div", { class: "field" }, el("label", { for: "filter-status" }, "Status"), status),
  );
}

function emptyText({ status, q, after }) {
  if (status || q) return "No job fits these filters.";
  return after ? "There are no older jobs." : "No jobs yet. Start one here, with `essa submit job.yaml`, or with any OpenAI client.";
}

function drawPager(pager, page, wanted) {
  const state = JSON.stringify([page.last_id, page.has_more, wanted]);
  if (pager.dataset.state === state) return;
  pager.dataset.state = state;
  const address = (after) => {
    const known = Object.entries({ ...wanted, after }).filter(([, value]) => value);
    return known.length ? `#/jobs?${new URLSearchParams(known)}` : "#/jobs";
  };
  replace(
    pager,
    wanted.after && el("a", { class: "button", href: address(null) }, "Newest"),
    page.has_more && el("a", { class: "button", href: address(page.last_id ?? page.data.at(-1).id) }, "Older"),
  );
}

function drawCompare(button, ids) {
  setText(button, ids.length ? `Compare ${ids.length}` : "Compare");
  button.disabled = ids.length === 0;
  button.title = ids.length ? "" : "Tick jobs in the list first";
}
