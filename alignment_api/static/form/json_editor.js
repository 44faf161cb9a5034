// The job as JSON, in sync with the form.

import { el, freshId, setText } from "../dom.js";
import { copyButton, saveBlob } from "../download.js";

const TYPING_MS = 400;

/** `onEdited()` is called after the JSON has changed the draft; `fault()` says what is wrong with it. */
export function jsonEditor(draft, onEdited, signal) {
  const id = freshId("json");
  const area = el("textarea", { id, class: "mono", rows: 18, spellcheck: "false", autocomplete: "off", "aria-describedby": `${id}-error` });
  const error = el("p", { class: "field-error", id: `${id}-error`, role: "alert" });
  let [timer, isOwn] = [null, false];
  const text = () => JSON.stringify(draft.value, null, 2);
  const setFault = (message) => {
    setText(error, message);
    area.setAttribute("aria-invalid", String(message !== ""));
  };
  const take = () => {
    let value;
    try {
      value = JSON.parse(area.value);
    } catch (fault) {
      return setFault(`Not JSON yet: ${fault.message}`);
    }
    if (value === null || typeof value !== "object" || Array.isArray(value)) return setFault("A job is an object: { … }");
    setFault("");
    isOwn = true;
    draft.replace(value);
    isOwn = false;
    onEdited();
  };
  area.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(take, TYPING_MS);
  });
  draft.onChange(() => {
    if (isOwn || signal.aborted) return;
    area.value = text();
    setFault("");
  });
  area.value = text();
  const save = el("button", { type: "button", class: "small", onclick: () => saveBlob(new Blob([area.value], { type: "application/json" }), "job.json") }, "Download");
  const root = el("section", { class: "panel json-editor" }, el("div", { class: "head" }, el("h2", {}, el("label", { for: id }, "The job as JSON")), el("div", { class: "row" }, copyButton(() => area.value), save)), area, error);
  return { root, fault: () => error.textContent };
}
