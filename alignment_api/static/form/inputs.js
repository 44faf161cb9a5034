// Inputs for single values. Values equal to the default are not kept in the draft.

import { el } from "../dom.js";
import { framed } from "./field.js";

const LONG_TEXTS = new Set(["system", "user", "template", "prompt", "source"]);

/** Inputs by kind, as in schema.js. `spec`: `{name, place, node, given, tags, isRequired}`. */
export const INPUTS = {
  text: (context, spec) => typed(context, spec, { isLong: LONG_TEXTS.has(spec.name), read: (text) => text, write: String }),
  number: (context, spec) => typed(context, spec, { mode: spec.node.type === "integer" ? "numeric" : "decimal", read: asNumber, write: String }),
  mixed: (context, spec) => typed(context, spec, { read: asLoose, write: (value) => (typeof value === "string" ? value : JSON.stringify(value)) }),
  lines: (context, spec) => typed(context, { ...spec, note: "One a line." }, { isLong: true, read: asLines, write: (value) => (Array.isArray(value) ? value.join("\n") : JSON.stringify(value)) }),
  numbers: (context, spec) => typed(context, { ...spec, note: "Separated by commas." }, { read: asNumbers, write: (value) => (Array.isArray(value) ? value.join(", ") : JSON.stringify(value)) }),
  json: (context, spec) => typed(context, { ...spec, note: "As JSON." }, { isLong: true, read: asJson, write: (value) => (typeof value === "string" ? value : JSON.stringify(value, null, 1)) }),
  switch: switchField,
  choice: choiceField,
};

function typed(context, spec, { isLong = false, mode = null, read, write }) {
  const { place, given, node, isRequired, note } = spec;
  const value = context.draft.get(place);
  const placeholder = given === undefined || given === null ? null : write(given);
  const props = { placeholder: placeholder === "" ? null : placeholder, spellcheck: "false", autocomplete: "off", class: mode ? "right-aligned" : null };
  const input = isLong ? el("textarea", { ...props, rows: 2 }) : el("input", { ...props, type: "text", inputmode: mode });
  if (value !== undefined && value !== null) input.value = write(value);
  input.addEventListener("input", () => {
    const found = input.value.trim() === "" ? undefined : read(input.value);
    context.draft.set(place, isSame(found, given) ? undefined : found, spec.tags);
  });
  const told = note && !isLong ? { ...node, description: [node.description, note].filter(Boolean).join(" ") } : note ? { ...node, description: `${node.description ?? ""} ${note}`.trim() } : node;
  return framed(context, { ...spec, node: told, isRequired }, input, { isWide: isLong });
}

function switchField(context, spec) {
  const { place, given } = spec;
  const input = el("input", { type: "checkbox", checked: context.draft.get(place) ?? given ?? false });
  input.addEventListener("change", () => context.draft.set(place, input.checked === (given ?? false) ? undefined : input.checked, spec.tags));
  return framed(context, { ...spec, isRequired: false }, input);
}

function choiceField(context, spec) {
  const { place, given, node } = spec;
  const value = context.draft.get(place);
  const input = el("select", {}, el("option", { value: "" }, given === undefined ? "choose" : given === null ? "not set" : `${given} (default)`), node.enum.filter((name) => name !== given).map((name) => el("option", { value: JSON.stringify(name) }, String(name))));
  if (value !== undefined && value !== given) input.value = JSON.stringify(value);
  input.addEventListener("change", () => context.draft.set(place, input.value === "" ? undefined : JSON.parse(input.value), spec.tags));
  return framed(context, spec, input);
}

function isSame(value, given) {
  return given !== undefined && given !== null && JSON.stringify(value) === JSON.stringify(given);
}

/** Text that is not a number is sent unchanged: the service says what is wrong with it. */
function asNumber(text) {
  const value = Number(text.trim());
  return Number.isFinite(value) ? value : text.trim();
}

/** Parse a setting such as `auto` or a number. */
function asLoose(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text.trim();
  }
}

function asJson(text) {
  return asLoose(text);
}

function asLines(text) {
  return text.split("\n").filter((line) => line !== "");
}

function asNumbers(text) {
  return text.split(",").map((part) => part.trim()).filter(Boolean).map(asNumber);
}

/** Whether one input can show a node of this kind. */
export function isSingle(kind) {
  return kind in INPUTS;
}

