// Page `#/comparisons/ID`: methods on one task side by side, refreshed while jobs run.

import { api, isAbort } from "../api.js";
import { can } from "../auth.js";
import { saveBlob } from "../download.js";
import { el, replace, setText } from "../dom.js";
import { statusBadge } from "../job_actions.js";
import { notify } from "../notices.js";
import { setQuery } from "../router.js";
import { pause } from "../sse.js";
import { bandChart } from "./band_chart.js";
import { runTable } from "./runs.js";
import { comparisonTables } from "./tables.js";

const REFRESH_MS = 3000;

/** See router.js. */
export async function show(root, params, signal) {
  const path = `/v1/comparisons/${encodeURIComponent(params.id)}`;
  const [head, rest] = [el("div", { class: "head" }), el("div", {})];
  const note = el("p", { class: "small soft", role: "status" });
  const chart = bandChart({ axis: params.query.get("x"), onAxis: (x) => setQuery({ x }) });
  signal.addEventListener("abort", () => chart.destroy());
  let latest = "";
  const draw = (found) => {
    const text = JSON.stringify(found);
    if (text === latest) return;
    latest = text;
    replace(head, ...headOf(found, path, (changed) => draw(changed)));
    chart.set(found.arms, found.results?.curves ?? {});
    replace(rest, runTable(found), comparisonTables(found.tables));
  };
  const first = await api.get(path, { signal });
  replace(root, head, note, chart.root, rest);
  draw(first);
  keepFresh(path, draw, note, signal, first.status);
}

async function keepFresh(path, draw, note, signal, status) {
  while (["queued", "running"].includes(status)) {
    await pause(REFRESH_MS, signal);
    if (signal.aborted) return;
    if (document.hidden) continue;
    try {
      const found = await api.get(path, { signal });
      status = found.status;
      draw(found);
      setText(note, "");
    } catch (error) {
      if (!isAbort(error)) setText(note, `Not refreshed: ${error.message}`);
    }
  }
}

function headOf({ name, status, reference, target }, path, onChanged) {
  const goal = target === null ? `the best validation score of ${reference}` : `a validation score of ${target}`;
  const isOver = !["queued", "running"].includes(status);
  const report = (format, label) => el("button", { type: "button", onclick: () => save(path, format, name) }, label);
  const cancel = el("button", { type: "button", class: "danger", disabled: !can("submit"), onclick: () => stop(path, onChanged) }, "Cancel all jobs");
  return [
    el("div", {}, el("h1", {}, name, " ", statusBadge({ status, essa: {} })), el("p", { class: "small soft" }, `Target: ${goal}, seed by seed.`)),
    el("div", { class: "row" }, report("html", "Report, HTML"), report("md", "Report, Markdown"), !isOver && cancel),
  ];
}

async function save(path, format, name) {
  try {
    const { blob } = await api.download(`${path}/report`, { query: { format } });
    saveBlob(blob, `${name.toLowerCase().replace(/[^a-z0-9]+/g, "-")}.${format}`);
  } catch (error) {
    notify(error.message, "bad");
  }
}

async function stop(path, onChanged) {
  try {
    onChanged(await api.post(`${path}/cancel`));
  } catch (error) {
    notify(error.message, "bad");
  }
}
