// Give the user a file, or copy text to the clipboard.

import { el } from "./dom.js";

/** Save a blob as a file. */
export function saveBlob(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** Copy text to the clipboard; false if the browser refuses. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false;
  }
}

/** A button that copies the result of `text()`, and confirms it. */
export function copyButton(text, label = "Copy") {
  const button = el("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text())) ? "Copied" : "Not allowed";
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

/** A framed text with a button that copies it. */
export function codeBlock(text, label) {
  return el("div", { class: "code" }, el("div", { class: "row code-head" }, el("span", { class: "soft small" }, label), copyButton(() => text)), el("pre", { tabindex: "0", role: "region", "aria-label": label }, text));
}
