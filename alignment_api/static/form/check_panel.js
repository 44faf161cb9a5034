// The service's check of the job being written, and the button that starts it.

import { api, isAbort } from "../api.js";
import { can } from "../auth.js";
import { compact, duration } from "../charts/format.js";
import { el, replace, setText } from "../dom.js";
import { go } from "../router.js";
import { bytes, randomId, withCode } from "../text.js";
import { problemsOf } from "./problems.js";

const TYPING_MS = 500;
const JOBS = "/v1/fine_tuning/jobs";

/** Checks the draft after every change, and marks the fields at fault. */
export function checkPanel({ draft, form, json, signal }) {
  const state = el("p", { class: "check-state", role: "status" });
  const list = el("ul", { class: "problems" });
  const facts = el("div", {});
  const create = el("button", { type: "button", class: "primary" }, "Create job");
  const shown = { isTried: false, attempt: randomId(), problems: [] };
  let [timer, controller] = [null, null];
  const draw = (problems, words, kind) => {
    shown.problems = problems;
    form.showProblems(problems, shown.isTried);
    replace(list, problems.map((problem) => problemItem(problem, form)));
    setText(state, words);
    state.className = `check-state ${kind}`;
  };
  const check = async () => {
    controller?.abort();
    controller = new AbortController();
    const both = AbortSignal.any([signal, controller.signal]);
    setText(state, "Checking.");
    try {
      const answer = await api.post(`${JOBS}?validate_only=true`, draft.value, { signal: both });
      draw([], "This job can run.", "good");
      replace(facts, forecast(answer));
    } catch (error) {
      if (isAbort(error)) return;
      replace(facts);
      if (error.status === 400) draw(problemsOf(error), heading(problemsOf(error)), "warn");
      else draw([], error.message, "bad");
    }
  };
  const submit = async () => {
    if (json.fault()) return setText(state, "The JSON cannot be read: see below.");
    shown.isTried = true;
    create.disabled = true;
    try {
      const job = await api.post(JOBS, draft.value, { headers: { "Idempotency-Key": shown.attempt }, signal });
      go(`/jobs/${encodeURIComponent(job.id)}`);
    } catch (error) {
      if (isAbort(error)) return;
      const problems = problemsOf(error);
      draw(problems, heading(problems), "bad");
      problems.some(({ field }) => field && form.focus(field));
    } finally {
      create.disabled = !can("submit");
    }
  };
  create.addEventListener("click", submit);
  create.disabled = !can("submit");
  draft.onChange(() => {
    // A changed job needs a new key: a key is only repeated for the same job.
    shown.attempt = randomId();
    clearTimeout(timer);
    timer = setTimeout(() => signal.aborted || check(), TYPING_MS);
  });
  check();
  return { root: el("section", { class: "panel check", "aria-label": "Check" }, el("div", { class: "row spread" }, state, create), list, facts) };
}

function heading(problems) {
  return problems.length === 1 ? "One thing keeps this job from running:" : `${problems.length} things keep this job from running:`;
}

function problemItem({ field, text }, form) {
  if (!field) return el("li", {}, text);
  return el("li", {}, el("button", { type: "button", class: "link mono", onclick: () => form.focus(field) }, field), " ", withCode(text));
}

function forecast({ dimension, slots, estimate, warnings }) {
  const guess = estimate ?? {};
  const trainer = Object.values(guess.trainer_memory ?? {});
  // Methods without generations, such as best of n, have no estimate for them.
  const isSearch = guess.sequences !== 0;
  const rows = [
    isSearch && [trainer.length ? "Numbers trained" : "Numbers searched", dimension === null || dimension === undefined ? "not known yet" : dimension.toLocaleString("en")],
    isSearch && ["Completions a generation", compact(guess.sequences)],
    ["Memory of an engine", bytes(guess.memory_bytes)],
    trainer.length && ["Memory of the trainer, without activations", bytes(trainer.reduce((sum, one) => sum + one, 0))],
    ["Engine slots", slots],
    isSearch && ["A generation takes", guess.generation_s ? duration(guess.generation_s) : "not known yet"],
    isSearch && ["The search takes", guess.total_s ? duration(guess.total_s) : "not known yet"],
    guess.based_on && ["Reckoned from", el("a", { href: `#/jobs/${encodeURIComponent(guess.based_on)}`, class: "mono" }, guess.based_on)],
  ].filter(Boolean);
  return [
    el("dl", { class: "facts" }, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value ?? "–")])),
    (warnings ?? []).map((text) => el("p", { class: "caution small" }, withCode(text))),
  ];
}
