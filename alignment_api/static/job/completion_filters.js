// The form above the completions.

import { el } from "../dom.js";

const FIELDS = [
  { name: "set", label: "Set", options: [["", "any"], ["train"], ["validation"], ["test"]] },
  { name: "model", label: "Model", options: [["", "any"], ["base"], ["warm_start", "warm start"], ["aligned"]] },
  { name: "generation", label: "Generation", type: "number", min: 0 },
  { name: "candidate", label: "Candidate", type: "number", min: 0 },
  { name: "prompt", label: "Prompt", type: "number", min: 0 },
  { name: "min_score", label: "Score from", type: "number", step: "any" },
  { name: "max_score", label: "to", type: "number", step: "any" },
  { name: "q", label: "Text", type: "search" },
  {
    name: "against",
    label: "Word diff against",
    options: [["", "nothing"], ["base"], ["warm_start", "warm start"], ["earlier", "an earlier generation"]],
  },
  { name: "against_generation", label: "which (blank: the one before)", type: "number", min: 0, only: "earlier" },
];
const WAIT_MS = 250;

/** A form that calls `onChange` with all filled fields, shortly after the last keystroke. */
export function filterForm(filters, onChange) {
  const inputs = FIELDS.map((field) => ({ field, input: control(field, filters[field.name]) }));
  const labels = inputs.map(({ field, input }) => el("label", {}, field.label, input));
  const form = el("form", { class: "chart-controls completion-filters", role: "search" }, ...labels);
  form.setAttribute("aria-label", "Filter completions");
  const clear = el("button", { type: "reset" }, "Clear");
  form.append(clear);
  const against = inputs.find(({ field }) => field.name === "against").input;
  const hide = () => inputs.forEach(({ field }, n) => (labels[n].hidden = field.only ? against.value !== field.only : false));
  hide();
  let timer = null;
  const later = () => {
    hide();
    clearTimeout(timer);
    timer = setTimeout(() => onChange(read(inputs)), WAIT_MS);
  };
  form.addEventListener("input", later);
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    for (const { input } of inputs) input.value = "";
    later();
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  return form;
}

function control({ name, options, type, min, step }, value = "") {
  if (!options) {
    const input = el("input", { name, type });
    if (min !== undefined) input.min = min;
    if (step) input.step = step;
    input.value = value;
    return input;
  }
  const choices = options.map(([key, text = key]) => el("option", { value: key }, text));
  const select = el("select", { name }, ...choices);
  select.value = value;
  return select;
}

function read(inputs) {
  const filled = inputs.filter(({ input }) => input.value.trim() !== "" && input.validity.valid);
  return Object.fromEntries(filled.map(({ field, input }) => [field.name, input.value.trim()]));
}
