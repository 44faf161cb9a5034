// Page `#/compare?jobs=a,b`: several jobs side by side; running ones are updated live.

import { api } from "../api.js";
import { el, replace } from "../dom.js";
import { notify } from "../notices.js";
import { setQuery } from "../router.js";
import { subscribe } from "../sse.js";
import { comparison } from "./compare.js";
import { jobPicker } from "./job_picker.js";
import { addEvent } from "./metric_points.js";

const UNFINISHED = new Set(["running", "queued", "paused"]);
/** Streams at a time: a browser opens six connections per server, and requests need some too. */
const MOST_FOLLOWED = 4;

/** See router.js. */
export async function show(root, params, signal) {
  const ids = (params.query.get("jobs") ?? "").split(",").filter(Boolean);
  const view = comparison({ axes: { x: params.query.get("x"), y: params.query.get("y") }, onAxes: setQuery });
  signal.addEventListener("abort", () => view.destroy());
  const note = el("p", { class: "chart-empty" }, "Choose jobs to compare.");
  const picker = await jobPicker(ids, signal);
  replace(root, el("h1", {}, "Compare jobs"), picker, ids.length ? view.root : note);
  if (!ids.length) return;
  const { data } = await api.get("/v1/fine_tuning/compare", { query: { jobs: ids.join(",") }, signal });
  view.set(data);
  const going = data.filter(({ job }) => UNFINISHED.has(job.status));
  going.sort((a, b) => (b.job.status === "running") - (a.job.status === "running"));
  for (const entry of going.slice(0, MOST_FOLLOWED)) follow(entry, () => view.set(data), signal);
}

async function follow(entry, redraw, signal) {
  let isWaiting = false;
  const later = () => {
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(() => {
      isWaiting = false;
      if (!signal.aborted) redraw();
    });
  };
  try {
    const status = await subscribe(entry.job.id, (event) => addEvent(entry, event.data) && later(), signal);
    if (status) entry.job = { ...entry.job, status };
  } catch (error) {
    notify(`${entry.job.name} is not followed any more: ${error.message}`, "bad");
  }
  later();
}
