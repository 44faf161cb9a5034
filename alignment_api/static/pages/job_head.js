// The header of a job's page: name, state, key numbers, and actions.

import { duration, number } from "../charts/format.js";
import { el, replace, setText } from "../dom.js";
import { isOver, jobActions, progressCell, statusBadge } from "../job_actions.js";
import { dateTime, modelName } from "../text.js";

/** `set(job)` draws the newest state; `onChanged(job)` receives a job that a button has changed. */
export function jobHead(job, onChanged) {
  const voice = el("p", { class: "visually-hidden", role: "status" });
  const badge = el("span", {});
  const actions = el("div", {});
  const error = el("p", { class: "problem", hidden: true });
  const numbers = el("dl", { class: "numbers" });
  const title = el("div", { class: "row" }, el("h1", {}, job.essa.name), badge, el("span", { class: "mono soft small wrap" }, job.id));
  const root = el("header", { class: "job-head" }, el("div", { class: "head" }, title, actions), error, numbers, voice);
  let drawn = "";
  const set = (latest) => {
    const buttons = JSON.stringify([latest.status, latest.essa.cancel_requested, latest.essa.pause_requested]);
    if (buttons !== drawn && !actions.querySelector(".ask")) {
      const hadFocus = actions.contains(document.activeElement);
      replace(badge, statusBadge(latest));
      const tryIt = latest.status === "succeeded" && el("a", { class: "button", href: `#/playground?job=${encodeURIComponent(latest.id)}` }, "Try it");
      replace(actions, el("div", { class: "row" }, tryIt, jobActions(latest, onChanged)));
      if (hadFocus) actions.querySelector("button")?.focus();
      setText(voice, `The job is ${latest.status}.`);
      drawn = buttons;
    }
    error.hidden = !latest.error;
    setText(error, latest.error ? latest.error.message : "");
    replace(numbers, facts(latest).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  };
  set(job);
  return { root, set };
}

function facts(job) {
  const { progress, started_at: started, result } = job.essa;
  const isRunning = job.status === "running";
  const aligned = result?.test?.aligned?.mean;
  return [
    ["Progress", progressCell(job)],
    isRunning ? ["Time left", duration(progress.eta_s)] : ["Took", isOver(job) && started ? duration(job.finished_at - started) : "–"],
    ["Best validation", number(progress.best_validation)],
    ["Mean fitness", number(progress.mean)],
    aligned !== undefined && ["Test, aligned", number(aligned)],
    ["Model", modelName(job.model)],
    ["Method", job.method.type.replaceAll("_", " ")],
    ["Seed", job.seed],
    ["Created", dateTime(job.created_at)],
  ].filter(Boolean);
}
