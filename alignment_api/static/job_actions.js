// Actions on a job, from the list and from its own page.

import { api } from "./api.js";
import { can } from "./auth.js";
import { el, freshId, replace } from "./dom.js";
import { notify } from "./notices.js";
import { go } from "./router.js";

/** The API path of a job. */
export function jobPath(id, rest = "") {
  return `/v1/fine_tuning/jobs/${encodeURIComponent(id)}${rest}`;
}

/** The states in which a job is final. */
export function isOver(job) {
  return ["succeeded", "failed", "cancelled"].includes(job.status);
}

const ACTIONS = [
  { name: "pause", label: "Pause", is: (job) => ["queued", "running"].includes(job.status) && !job.essa.pause_requested && !job.essa.cancel_requested, said: "will pause after the work at hand" },
  { name: "resume", label: "Resume", is: (job) => job.status === "paused" || (job.essa.pause_requested && !isOver(job)), said: "goes on" },
  { name: "cancel", label: "Cancel", kind: "danger", is: (job) => !isOver(job) && !job.essa.cancel_requested, said: "will stop after the work at hand", asks: "Cancel for good?" },
];

/** Buttons for a job. `onChanged(job)` receives the service's answer. */
export function jobActions(job, onChanged, { isSmall = false } = {}) {
  const isAllowed = can("submit");
  const props = (label) => ({
    type: "button",
    disabled: !isAllowed,
    title: isAllowed ? null : "Your key lacks the scope submit",
    "aria-label": `${label} ${job.essa.name}`,
  });
  const size = isSmall ? "small" : "";
  const buttons = ACTIONS.filter(({ is }) => is(job)).map((action) => {
    const button = el("button", { ...props(action.label), class: `${size} ${action.kind ?? ""}` }, action.label);
    button.addEventListener("click", () => (action.asks ? ask(button, action, () => act(job, action, onChanged)) : act(job, action, onChanged)));
    return button;
  });
  const clone = el("button", { ...props("Clone"), class: size, onclick: () => go(`/jobs/new?from=${encodeURIComponent(job.id)}`) }, "Clone");
  return el("div", { class: "row actions" }, buttons, clone);
}

async function act(job, { name, said }, onChanged) {
  try {
    const changed = await api.post(jobPath(job.id, `/${name}`));
    notify(`${changed.essa.name} ${changed.status === "cancelled" ? "is cancelled" : changed.status === "paused" ? "is paused" : said}.`);
    onChanged(changed);
  } catch (error) {
    notify(error.message, "bad");
  }
}

/** Ask for confirmation in place of the button. */
function ask(button, { asks, label }, act) {
  const id = freshId("ask");
  const yes = el("button", { type: "button", class: "danger small", "aria-describedby": id, onclick: () => done(true) }, `Yes, ${label.toLowerCase()}`);
  const no = el("button", { type: "button", class: "small", onclick: () => done(false) }, "No");
  const question = el("span", { class: "row ask", role: "group" }, el("span", { id }, asks), yes, no);
  const done = (isSure) => {
    question.replaceWith(button);
    button.focus();
    if (isSure) act();
  };
  question.addEventListener("keydown", (event) => event.key === "Escape" && done(false));
  button.replaceWith(question);
  no.focus();
}

/** `running`, or the pending request of a running job. */
export function statusBadge(job) {
  const asked = isOver(job) ? null : job.essa.cancel_requested ? "cancelling" : job.essa.pause_requested && job.status === "running" ? "pausing" : null;
  return el("span", { class: `status ${job.status}`, title: job.error?.message }, asked ?? job.status);
}

/** Generation and stage of a job, with a progress bar while it runs. */
export function progressCell(job) {
  const { progress } = job.essa;
  const { generation, generations, stage, done, total } = progress;
  const isRunning = job.status === "running" || job.status === "paused";
  const inSearch = generation !== null && generations;
  const share = inSearch ? generation / generations : total ? (done ?? 0) / total : null;
  const count = inSearch ? `${generation} of ${generations}` : generation !== null ? `generation ${generation}` : "";
  const words = [isRunning && (stage ?? "starting"), count].filter(Boolean).join(" · ");
  const root = el("div", { class: "progress-cell" });
  replace(root, el("span", {}, words || "–"), isRunning && share !== null && el("progress", { max: 1, value: share, "aria-label": `Progress of ${job.essa.name}` }));
  return root;
}
