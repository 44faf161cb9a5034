// Page: one job. A header with its state, and tabs, which all share one connection for the job's
// events.

import { api, isAbort } from "../api.js";
import { CHART_TABS } from "../job/chart_tabs.js";
import { History } from "../job/history.js";
import { el, replace } from "../dom.js";
import { isOver, jobPath } from "../job_actions.js";
import { subscribe } from "../sse.js";
import { configTab } from "./config_tab.js";
import { eventsTab } from "./events_tab.js";
import { exportTab } from "./export_tab.js";
import { jobHead } from "./job_head.js";

const REFRESH_MS = 1000;
const OWN_TABS = [
  { name: "events", title: "Events", open: eventsTab },
  { name: "config", title: "Config", open: configTab },
  { name: "export", title: "Export", open: exportTab },
];

/** See router.js. */
export async function show(root, params, signal) {
  const job = await api.get(jobPath(params.id), { signal });
  const live = new LiveJob(job, signal);
  const tabs = [...CHART_TABS, ...OWN_TABS].filter(({ isShown }) => isShown?.(job) ?? true);
  const head = jobHead(job, (changed) => live.setJob(changed));
  const bar = el("nav", { class: "tabs", "aria-label": "Parts of the job" });
  const stage = el("div", { class: "tab" });
  replace(root, head.root, bar, stage);
  live.onJob((latest) => head.set(latest), signal);
  let controller = new AbortController();
  signal.addEventListener("abort", () => controller.abort());
  const open = async (wanted) => {
    const tab = tabs.find(({ name }) => name === wanted.tab) ?? tabs[0];
    controller.abort();
    controller = new AbortController();
    document.title = `${live.job.essa.name}: ${tab.title} · ESSA`;
    drawTabs(bar, tabs, tab, params.id);
    await openTab(stage, tab, { jobId: params.id, query: wanted.query, live, history: live.history, job: live.job }, controller.signal);
    return true;
  };
  live.start();
  await open(params);
  return { update: open };
}

function drawTabs(bar, tabs, shown, id) {
  replace(
    bar,
    tabs.map((tab) => el("a", { href: `#/jobs/${encodeURIComponent(id)}/${tab.name}`, "aria-current": tab === shown ? "page" : null }, tab.title)),
  );
  const current = bar.querySelector("[aria-current]");
  bar.scrollLeft = Math.max(0, current.offsetLeft - bar.clientWidth / 2);
}

async function openTab(stage, tab, context, signal) {
  try {
    const view = await tab.open({ ...context, signal });
    if (signal.aborted) return view.destroy?.();
    signal.addEventListener("abort", () => view.destroy?.());
    replace(stage, view.root);
  } catch (error) {
    if (isAbort(error) || signal.aborted) return;
    console.error(error);
    replace(stage, el("p", { class: "problem", role: "alert" }, error.message));
  }
}

/** A job that is updated live: its newest state, and all of its events. */
class LiveJob {
  history = new History();
  events = [];
  state = "connecting";
  #jobListeners = new Set();
  #eventListeners = new Set();
  #timer = null;

  constructor(job, signal) {
    this.job = job;
    this.signal = signal;
  }

  /** Follow the events until the page is left or the job is over. */
  async start() {
    try {
      await subscribe(this.job.id, (event) => this.#take(event), this.signal, { onState: (state) => this.#setState(state) });
    } catch (error) {
      this.#setState(error.message);
    }
    if (!this.signal.aborted) await this.#refresh();
  }

  /** Call `listener(job)` now and after every change of the job. */
  onJob(listener, signal) {
    listen(this.#jobListeners, listener, signal);
    listener(this.job);
  }

  /** Call `listener(event)` for every event so far and every new one. */
  onEvent(listener, signal) {
    listen(this.#eventListeners, listener, signal);
    for (const event of this.events) listener(event);
  }

  setJob(job) {
    this.job = job;
    for (const listener of this.#jobListeners) listener(job);
  }

  #take(event) {
    this.events.push(event);
    this.history.add(event.data);
    for (const listener of this.#eventListeners) listener(event);
    if (!isOver(this.job) && !this.signal.aborted) this.#timer ??= setTimeout(() => this.#refresh(), REFRESH_MS);
  }

  #setState(state) {
    this.state = state;
    for (const listener of this.#jobListeners) listener(this.job);
  }

  async #refresh() {
    this.#timer = null;
    try {
      this.setJob(await api.get(jobPath(this.job.id), { signal: this.signal }));
    } catch (error) {
      // The event stream reports lost connections; the next event triggers a new request.
      if (!isAbort(error)) this.#setState("waiting");
    }
  }
}

function listen(listeners, listener, signal) {
  listeners.add(listener);
  signal.addEventListener("abort", () => listeners.delete(listener));
}
