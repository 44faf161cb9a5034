// What surrounds a chart: title, legend with values, a summary in words, the data as a table.

import { el } from "../dom.js";
import { number } from "./format.js";

const ROWS_SHOWN = 500;

/**
 * A figure. Returns its parts:
 * - `root` to put on the page, `host` for the chart (focusable, named by title and summary);
 * - `setSummary(text)`, `announce(text)` (to screen readers only);
 * - `setTable(columns, rows)`: column names, and a function that yields rows of plain values;
 * - `legend`: see `Legend`.
 */
export function chartFrame({ title, note, hint, isImage = false }) {
  const summary = el("p", { class: "chart-summary" });
  const voice = el("p", { class: "visually-hidden", "aria-live": "polite" });
  const id = `chart-${(chartFrame.count = (chartFrame.count ?? 0) + 1)}`;
  const heading = el("h3", { id, class: "chart-title" }, title);
  summary.id = `${id}-summary`;
  const host = el("div", {
    class: "chart-host",
    tabindex: "0",
    role: isImage ? "img" : "group",
    "aria-labelledby": id,
    "aria-describedby": summary.id,
  });
  if (hint) host.title = hint;
  const legend = new Legend();
  const table = new DataTable(title);
  const heads = [heading, note && el("p", { class: "chart-note" }, note)].filter(Boolean);
  const root = el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, ...heads, summary),
    legend.root,
    host,
    voice,
    table.root,
  );
  return {
    root,
    host,
    legend,
    setSummary: (text) => setText(summary, text),
    announce: (text) => setText(voice, text),
    setTable: (columns, rows) => table.set(columns, rows),
  };
}

/** Colours, names and values at the cursor; a click shows or hides the line. */
export class Legend {
  root = el("div", { class: "chart-legend" });
  #values = [];

  /** `items`: `[{label, colour, shape, isOn, onToggle}]`; the n-th gets the n-th value. */
  setItems(items) {
    this.#values = items.map(() => el("span", { class: "chart-value" }));
    this.root.replaceChildren(...items.map((item, n) => legendItem(item, this.#values[n])));
  }

  /** `texts`: one per item. */
  setValues(texts) {
    texts.forEach((text, n) => this.#values[n] && setText(this.#values[n], text));
  }
}

function legendItem({ label, colour, shape = "line", isOn = true, onToggle }, value) {
  const key = colour && el("span", { class: `chart-key key-${shape} colour-${colour}` });
  const inside = [key, label, value].filter(Boolean);
  if (!onToggle) return el("span", { class: "chart-item" }, ...inside);
  const button = el(
    "button",
    { type: "button", class: "chart-item", "aria-pressed": String(isOn) },
    ...inside,
  );
  button.addEventListener("click", () => {
    const isShown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isShown));
    onToggle(isShown);
  });
  return button;
}

/** The same numbers as a table, built when it is opened, and as a file. */
class DataTable {
  #columns = [];
  #rows = () => [];
  #body = el("div", { class: "chart-table", tabindex: "0", role: "region" });

  constructor(title) {
    this.title = title;
    this.#body.setAttribute("aria-label", `Data of ${title}`);
    const save = el("button", { type: "button", class: "chart-save" }, "Download CSV");
    save.addEventListener("click", () => this.#save());
    this.root = el("details", { class: "chart-data" }, el("summary", {}, "Data table"), save, this.#body);
    this.root.addEventListener("toggle", () => this.#draw());
  }

  set(columns, rows) {
    this.#columns = columns;
    this.#rows = rows;
    this.#draw();
  }

  #draw() {
    if (!this.root.open) return;
    const rows = [...this.#rows()];
    const shown = rows.slice(-ROWS_SHOWN);
    const left = rows.length - shown.length;
    const note = left ? [el("p", { class: "chart-note" }, `The last ${ROWS_SHOWN} of ${rows.length} rows.`)] : [];
    const head = el("tr", {}, ...this.#columns.map((name) => el("th", { scope: "col" }, name)));
    const lines = shown.map((row) => el("tr", {}, ...row.map((value) => el("td", {}, cell(value)))));
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines));
    this.#body.replaceChildren(...note, table);
  }

  #save() {
    const lines = [this.#columns, ...this.#rows()].map((row) => row.map(quoted).join(","));
    const file = new Blob([`${lines.join("\n")}\n`], { type: "text/csv" });
    const address = URL.createObjectURL(file);
    const name = this.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    el("a", { href: address, download: `${name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}

function cell(value) {
  return typeof value === "string" ? value : number(value);
}

function quoted(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
