// The form: one part per section of a job, built from the job's JSON Schema.

import { api, isAbort } from "../api.js";
import { el, replace, setText } from "../dom.js";
import { uploaded } from "./data_set.js";
import { fieldFor } from "./groups.js";
import { fieldOf } from "./problems.js";
import { defaultOf } from "./schema.js";

const PARTS = [
  { title: "Job", names: ["name", "seed", "priority", "suffix", "metadata"], isOpen: true },
  { title: "Model", names: ["model"], isOpen: true },
  { title: "Data", names: ["data"], isOpen: true },
  { title: "Reward", names: ["reward"], isOpen: true },
  { title: "Method", names: ["method"], isOpen: true },
  { title: "Budget", names: ["budget", "batch_size"], isOpen: true },
  { title: "Warm start", names: ["warm_start"] },
  { title: "Search", names: ["search"] },
  { title: "Engine and decoding", names: ["engine", "rollout"] },
  { title: "Evaluation", names: ["evaluation"] },
  { title: "Integrations", names: ["integrations"] },
];

/**
 * `redraw()` reads the draft again; `showProblems(problems, all)` marks fields, empty ones only if
 * `all` is set; `focus(name)` opens and focuses the field of a setting.
 */
export function jobForm({ draft, schema, files, samples, signal }) {
  const dataSets = new Map();
  const context = {
    draft, schema, files, signal,
    fields: new Map(),
    dataSets,
    isSample: (name) => Object.values(samples).includes(name),
    redrawDataSets: () => dataSets.forEach((draw) => draw()),
  };
  const root = el("form", { class: "job-form", novalidate: true, "aria-label": "Job", onsubmit: (event) => event.preventDefault() });
  const parts = [];
  const redraw = () => {
    const closed = new Set(parts.filter(({ root: part }) => !part.open).map(({ title }) => title));
    const known = parts.length > 0;
    context.fields.clear();
    dataSets.clear();
    parts.splice(0, parts.length, ...allParts(schema).map((part) => drawPart(context, part, samples)));
    if (known) for (const part of parts) part.root.open = !closed.has(part.title);
    replace(root, parts.map(({ root: part }) => part));
    count();
  };
  const count = () => parts.forEach(({ names, note }) => setText(note, changes(draft.value, names)));
  draft.onChange(count);
  redraw();
  const showProblems = (problems, all) => {
    for (const field of new Set(context.fields.values())) field.setError("");
    const told = new Map();
    for (const { field: name, text } of problems) {
      const field = name && fieldOf(context.fields, name);
      const isBlank = draft.get(name.split(".")) === undefined;
      if (field && (all || !isBlank)) told.set(field, [...(told.get(field) ?? []), text]);
    }
    for (const [field, texts] of told) field.setError(texts.join("; "));
  };
  const focus = (name) => {
    const field = fieldOf(context.fields, name);
    if (!field) return false;
    for (let node = field.root; node && node !== root; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    field.focus();
    return true;
  };
  return { root, redraw, showProblems, focus };
}

/** Settings that no part names go into the last one. */
function allParts(schema) {
  const named = new Set(PARTS.flatMap(({ names }) => names));
  const others = Object.keys(schema.properties).filter((name) => !named.has(name) && schema.properties[name].const === undefined);
  return others.length ? [...PARTS, { title: "Other", names: others }] : PARTS;
}

function drawPart(context, { title, names, isOpen }, samples) {
  const note = el("span", { class: "soft small" });
  const required = new Set(context.schema.required);
  const fields = names
    .filter((name) => context.schema.properties[name])
    .map((name) => fieldFor(context, { name, place: [name], node: context.schema.properties[name], given: defaultOf(context.schema.properties[name], name), tags: [], isRequired: required.has(name) }));
  const isSection = (field) => field.tagName === "FIELDSET";
  const single = fields.filter((field) => !isSection(field));
  const hasSamples = title === "Data" && Object.keys(samples).length > 0;
  const part = el(
    "details",
    { class: `panel part${names.length === 1 ? " lone" : ""}`, open: isOpen },
    el("summary", {}, el("h2", {}, title), note),
    hasSamples && sampleButton(context, samples),
    single.length > 0 && el("div", { class: "fields" }, single),
    fields.filter(isSection),
  );
  return { root: part, title, names, note };
}

/** The number of settings in some sections that differ from the defaults. */
function changes(value, names) {
  const total = names.reduce((sum, name) => sum + leaves(value?.[name]), 0);
  return total ? `${total} set` : "defaults";
}

function leaves(value) {
  if (value === undefined) return 0;
  if (value === null || typeof value !== "object") return 1;
  return Object.values(value).reduce((sum, inner) => sum + leaves(inner), 0) || (Array.isArray(value) ? 0 : 1);
}

function sampleButton(context, samples) {
  const note = el("span", { class: "small soft", role: "status" });
  const button = el("button", { type: "button" }, "Use the example's data");
  button.addEventListener("click", async () => {
    button.disabled = true;
    setText(note, "Uploading.");
    try {
      for (const [name, filename] of Object.entries(samples)) {
        const { blob } = await api.download(`/static/templates/${filename}`, { signal: context.signal });
        const file = await uploaded(context, new File([blob], filename));
        context.draft.set(["data", name], { file_id: file.id });
      }
      setText(note, `${Object.keys(samples).length} files are uploaded.`);
    } catch (error) {
      if (!isAbort(error)) setText(note, error.message);
    }
    context.redrawDataSets();
    button.disabled = false;
  });
  return el("div", { class: "row samples" }, button, note);
}

