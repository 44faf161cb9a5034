// The table of jobs. Only rows whose job has changed are redrawn, so that focus, checkboxes and open
// questions survive a refresh.

import { duration, number } from "../charts/format.js";
import { el, replace } from "../dom.js";
import { isOver, jobActions, progressCell, statusBadge } from "../job_actions.js";
import { dateTime, modelName } from "../text.js";
import { sparkline } from "./sparkline.js";

const COLUMNS = ["", "Job", "Status", "Fitness", "Progress", "Time left", "Validation", "Model", "Created", "Actions"];
// Explicit roles: on a phone the table is laid out as cards, which removes its table semantics.
const ROLES = { table: "table", rowgroup: "rowgroup", row: "row", head: "columnheader", cell: "cell" };

/** `set(jobs, emptyText)` shows jobs; `selected()` returns the ids of the checked ones. */
export function jobTable({ onSelect, onChanged }) {
  const rows = new Map();
  const ticked = new Set();
  const body = el("tbody", { role: ROLES.rowgroup });
  const heads = COLUMNS.map((name) => el("th", { scope: "col", role: ROLES.head }, name || el("span", { class: "visually-hidden" }, "Compare")));
  const table = el("table", { class: "jobs", role: ROLES.table, "aria-label": "Jobs" }, el("thead", { role: ROLES.rowgroup }, el("tr", { role: ROLES.row }, heads)), body);
  const empty = el("p", { class: "empty" });
  const root = el("div", { class: "panel flush" }, table, empty);
  const onTick = (id, isTicked) => {
    if (isTicked) ticked.add(id);
    else ticked.delete(id);
    onSelect([...ticked]);
  };
  const set = (jobs, emptyText) => {
    const ids = jobs.map(({ id }) => id);
    for (const job of jobs) {
      const text = JSON.stringify(job);
      const old = rows.get(job.id);
      if (old?.text === text || old?.row.querySelector(".ask")) continue;
      const row = draw(job, ticked.has(job.id), onTick, onChanged);
      if (old) swap(old.row, row);
      rows.set(job.id, { row, text });
    }
    for (const id of rows.keys()) if (!ids.includes(id)) rows.delete(id);
    const wanted = ids.map((id) => rows.get(id).row);
    if (wanted.length !== body.children.length || wanted.some((row, n) => body.children[n] !== row)) replace(body, wanted);
    table.hidden = !jobs.length;
    empty.hidden = jobs.length > 0;
    if (empty.textContent !== emptyText) empty.textContent = emptyText;
  };
  set([], "Loading.");
  return { root, set, selected: () => [...ticked] };
}

function draw(job, isTicked, onTick, onChanged) {
  const name = job.essa.name;
  const tick = el("input", { type: "checkbox", checked: isTicked, "aria-label": `Compare ${name}`, onchange: () => onTick(job.id, tick.checked) });
  const { progress, fitness } = job.essa;
  const isRunning = job.status === "running";
  // Empty cells are hidden in the card layout.
  const none = (isThere) => (isThere ? "" : " none");
  const cells = [
    ["tick", tick],
    ["name", [el("a", { href: `#/jobs/${encodeURIComponent(job.id)}`, class: "job-link" }, name), el("span", { class: "mono soft small", title: job.id }, `${job.id.slice(0, 6)}…${job.id.slice(-6)}`)]],
    ["status-cell", statusBadge(job)],
    [`fitness${none(fitness.length)}`, sparkline(fitness)],
    [`progress${none(isRunning || progress.generation !== null)}`, progressCell(job)],
    [`eta${none(isRunning || (isOver(job) && job.essa.started_at))}`, timeLeft(job)],
    [`best right${none(progress.best_validation !== null)}`, number(progress.best_validation)],
    ["model", [el("span", { class: "wrap" }, modelName(job.model)), el("span", { class: "soft small" }, methodName(job))]],
    ["created nowrap", dateTime(job.created_at)],
    ["do", jobActions(job, onChanged, { isSmall: true })],
  ];
  return el("tr", { role: ROLES.row, "data-job": job.id }, cells.map(([kind, content], n) => el("td", { class: kind, role: ROLES.cell, "data-label": COLUMNS[n] }, content)));
}

function timeLeft(job) {
  if (isOver(job)) {
    const { started_at: started } = job.essa;
    return el("span", { class: "soft" }, started ? `took ${duration(job.finished_at - started)}` : "–");
  }
  return job.status === "running" ? duration(job.essa.progress.eta_s) : "–";
}

function methodName(job) {
  return job.method.type.replaceAll("_", " ");
}

/** Replace an old row by a new one, keeping the focus on the same control. */
function swap(old, row) {
  const focused = old.contains(document.activeElement) ? document.activeElement : null;
  old.replaceWith(row);
  if (!focused) return;
  const label = focused.getAttribute("aria-label");
  const same = label ? row.querySelector(`[aria-label="${CSS.escape(label)}"]`) : row.querySelector(".job-link");
  (same ?? row.querySelector(".job-link")).focus();
}
