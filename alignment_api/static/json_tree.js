// A value as a collapsible tree.

import { el } from "./dom.js";

const OPEN_DEPTH = 2;

/** `name` labels the root. Long lists are built only when opened. */
export function jsonTree(value, name = null, depth = 0) {
  if (value === null || typeof value !== "object") return leaf(value, name);
  const entries = Object.entries(value);
  if (!entries.length) return el("div", { class: "json-leaf" }, label(name), el("span", { class: "soft" }, Array.isArray(value) ? "[ ]" : "{ }"));
  const isList = Array.isArray(value);
  const kind = value.type ?? value.kind;
  const note = isList ? `${entries.length} ${entries.length === 1 ? "item" : "items"}` : typeof kind === "string" ? kind : "";
  const inside = el("div", { class: "json-inside" });
  const fill = () => inside.children.length || inside.append(...entries.map(([key, inner]) => jsonTree(inner, key, depth + 1)));
  const node = el("details", { class: "json-node", ontoggle: () => node.open && fill() }, el("summary", {}, label(name), el("span", { class: "soft small" }, note)), inside);
  if (depth < OPEN_DEPTH) {
    fill();
    node.open = true;
  }
  return node;
}

function leaf(value, name) {
  const kind = value === null ? "null" : typeof value;
  return el("div", { class: "json-leaf" }, label(name), el("span", { class: `json-${kind}` }, value === null ? "null" : String(value)));
}

function label(name) {
  return name === null ? null : el("span", { class: "json-key" }, name);
}
