// Short messages at the edge of the page, in a live region.

import { el } from "./dom.js";

const SHOWN_MS = 6000;

/** Show a message. `kind` is `info` or `bad`; a bad one stays until dismissed. */
export function notify(text, kind = "info") {
  const box = document.getElementById("notices");
  const close = el("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => note.remove() }, "×");
  const note = el("div", { class: `notice ${kind}` }, el("span", {}, text), close);
  box.append(note);
  if (kind !== "bad") setTimeout(() => note.remove(), SHOWN_MS);
}
