// The frame of an input: label, hint, and the service's complaint about it.

import { el, setText } from "../dom.js";
import { withCode } from "../text.js";
import { words } from "./schema.js";

/** The id of the input at a place. */
export function inputId(place) {
  return `job-${place.join("-")}`;
}

/** The first sentence of a description, to fit below an input; the title has the whole text. */
export function hintOf(node) {
  const text = whole(node);
  return text.match(/^.*?\.(?= |$)/)?.[0] ?? text;
}

function whole(node) {
  return (node.description ?? "").split("\n\n")[0].replaceAll("\n", " ");
}

/**
 * Frame `input` with a label and its hint. The field is registered in `context.fields` by its place,
 * so that problems find it.
 */
export function framed(context, { name, place, node, isRequired, isTerse }, input, { label = words(name), control = input, isWide = false } = {}) {
  const id = inputId(place);
  // In a list, showing it once is enough.
  const hint = isTerse ? "" : hintOf(node);
  const error = el("p", { class: "field-error", id: `${id}-error`, hidden: true });
  const hintNode = hint && el("p", { class: "hint", id: `${id}-hint` }, withCode(hint));
  control.id = id;
  control.setAttribute("aria-describedby", hint ? `${id}-hint ${id}-error` : `${id}-error`);
  if (isRequired) control.setAttribute("aria-required", "true");
  const isSwitch = control.type === "checkbox";
  const setting = place.join(".");
  const title = [setting, whole(node)].filter(Boolean).join(": ");
  const parts = isSwitch
    ? [el("label", { class: "choice", title }, input, label)]
    : [el("label", { for: id, title }, label, isRequired && el("span", { class: "soft" }, " (required)")), input];
  const root = el("div", { class: `field${isWide ? " wide" : ""}${isSwitch ? " is-switch" : ""}` }, parts, error, hintNode);
  const setError = (text) => {
    error.hidden = !text;
    setText(error, text);
    if (text) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
  };
  context.fields.set(setting, { root, setError, focus: () => (control.focus(), control.select?.()) });
  return root;
}
