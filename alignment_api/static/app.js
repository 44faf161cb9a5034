// Entry point of the dashboard.

import { ApiError, api } from "./api.js";
import { identity, key, onIdentity, setIdentity } from "./auth.js";
import { topBar } from "./bar.js";
import { el, replace } from "./dom.js";
import { go, here, route, start } from "./router.js";

const job = () => import("./pages/job.js");

route("/login", () => import("./pages/login.js"), { title: "Log in" });
route("/jobs", () => import("./pages/jobs.js"), { title: "Jobs", nav: "jobs" });
route("/jobs/new", () => import("./pages/new_job.js"), { title: "New job", nav: "new" });
route("/jobs/:id", job, { title: "Job", nav: "jobs", keep: "id" });
route("/jobs/:id/:tab", job, { title: "Job", nav: "jobs", keep: "id" });
route("/compare", () => import("./job/compare_page.js"), { title: "Compare", nav: "compare" });
route("/comparisons", () => import("./comparison/list_page.js"), { title: "Comparisons", nav: "comparisons" });
route("/comparisons/:id", () => import("./comparison/page.js"), { title: "Comparison", nav: "comparisons" });
route("/playground", () => import("./pages/playground.js"), { title: "Playground", nav: "playground" });

const main = document.getElementById("main");

/** Identify the user; a service without keys accepts everybody. */
async function identify() {
  try {
    setIdentity(await api.get("/v1/organization/me"));
  } catch (error) {
    if (!(error instanceof ApiError) || ![401, 403].includes(error.status)) throw error;
  }
}

/** The path to redirect to, if any; the login page leads back to the requested path. */
function before(path) {
  const isLogin = path === "/login" || path.startsWith("/login?");
  if (identity() === null) return isLogin ? null : `/login${path === "/" ? "" : `?${new URLSearchParams({ to: path })}`}`;
  return isLogin || path === "/" ? "/jobs" : null;
}

async function begin() {
  const drawBar = topBar(document.getElementById("bar"));
  document.getElementById("skip").addEventListener("click", (event) => {
    event.preventDefault();
    main.focus();
  });
  try {
    await identify();
  } catch (error) {
    const again = el("button", { type: "button", onclick: () => location.reload() }, "Try again");
    drawBar();
    return replace(main, el("div", { class: "page" }, el("h1", {}, "ESSA"), el("p", { role: "alert", class: "problem" }, error.message), again));
  }
  start(main, { before, after: drawBar });
  onIdentity((who) => {
    if (who === null && key() === null && !here().startsWith("/login")) go(before(here()));
  });
}

begin();
