// Word diff of two answers. Models write the texts, so they enter the page only as text nodes.

import { el } from "../dom.js";
import { diffWordsWithSpace } from "../vendor/diff/diff/word.js";

const TIMEOUT_MS = 300;

/** A paragraph with the differences of `after` from `before`: deletions and insertions are marked. */
export function wordDiff(before, after) {
  const changes = diffWordsWithSpace(before, after, { timeout: TIMEOUT_MS });
  if (!changes) return el("p", { class: "completion" }, after);
  return el("p", { class: "completion" }, ...changes.map(part));
}

/** Fractions of words deleted and inserted: `{removed, added}`. */
export function changedWords(before, after) {
  const changes = diffWordsWithSpace(before, after, { timeout: TIMEOUT_MS }) ?? [];
  const count = (kind) => words(changes.filter((change) => change[kind]).map(({ value }) => value).join(" "));
  return { removed: count("removed"), added: count("added") };
}

function part({ value, added, removed }) {
  if (added) return el("ins", {}, value);
  if (removed) return el("del", {}, value);
  return value;
}

function words(text) {
  return text.split(/\s+/).filter(Boolean).length;
}
