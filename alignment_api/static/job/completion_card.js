// One completion: its origin, its scores, the prompt, and the answer or its word diff.

import { number } from "../charts/format.js";
import { changedWords, wordDiff } from "../charts/word_diff.js";
import { el } from "../dom.js";

/** `reference`: null, or a promise of `{label, text}`, whose text is null if there is no reference. */
export function completionCard(item, reference) {
  const answer = el("p", { class: "completion" }, item.completion);
  const note = el("p", { class: "chart-note", hidden: true });
  const card = el(
    "article",
    { class: "completion-card" },
    el("header", {}, el("span", { class: "completion-from" }, origin(item)), scores(item)),
    el("details", { class: "completion-prompt" }, el("summary", {}, firstLine(item.prompt)), el("p", { class: "completion" }, item.prompt)),
    note,
    answer,
  );
  reference?.then(
    (found) => compare(item, found, answer, note),
    (error) => say(note, error.message),
  );
  return card;
}

function compare(item, { label, text }, answer, note) {
  if (text === null) return say(note, `Not compared: ${label}.`);
  const { removed, added } = changedWords(text, item.completion);
  say(note, `Against ${label}: ${added} ${added === 1 ? "word" : "words"} added, ${removed} removed.`);
  answer.replaceWith(wordDiff(text, item.completion));
}

function say(note, text) {
  note.textContent = text;
  note.hidden = false;
}

function origin({ set, generation, candidate, model, prompt_index: prompt }) {
  const parts = [set, model?.replace("_", " ")];
  if (generation !== null) parts.push(`generation ${generation}`);
  if (candidate !== null) parts.push(`candidate ${candidate}`);
  else if (!model) parts.push("mean vector");
  parts.push(`prompt ${prompt}`);
  return parts.filter(Boolean).join(" · ");
}

function scores({ score, components }) {
  const chips = Object.entries(components ?? {}).map(([name, value]) =>
    el("span", { class: "score-chip" }, name, " ", el("b", {}, number(value))),
  );
  const total = el("span", { class: "score-chip" }, "score ", el("b", {}, score === null ? "missing" : number(score)));
  return el("span", { class: "scores" }, total, chips);
}

function firstLine(prompt) {
  const line = prompt.trim().split("\n")[0];
  return line.length > 160 ? `${line.slice(0, 160)}…` : line || "(empty prompt)";
}
