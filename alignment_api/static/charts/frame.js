// The frame of a chart: title, legend with values, summary in words, and data table.

import { el, freshId, replace, setText } from "../dom.js";
import { saveBlob } from "../download.js";
import { number } from "./format.js";

const ROWS_SHOWN = 500;

/**
 * Build a figure. Returns its parts:
 * - `root` to put on the page, `host` for the chart (focusable, named by title and summary);
 * - `setSummary(text)`, `announce(text)` (to screen readers only; the summary too unless shown);
 * - `setTable(columns, rows)`: column names, and a function that yields rows of plain values;
 * - `legend`: see `Legend`.
 */
export function chartFrame({ title, note, isSummaryShown = true }) {
  const summary = el("p", { class: isSummaryShown ? "chart-summary" : "visually-hidden" });
  const voice = el("p", { class: "visually-hidden", "aria-live": "polite" });
  const id = freshId("chart");
  const heading = el("h2", { id, class: "chart-title" }, title);
  summary.id = `${id}-summary`;
  const host = el("div", {
    class: "chart-host",
    tabindex: "0",
    role: "group",
    "aria-labelledby": id,
    "aria-describedby": summary.id,
  });
  const legend = new Legend();
  const table = new DataTable(title);
  const root = el(
    "figure",
    { class: "chart" },
    el("figcaption", {}, heading, note && el("p", { class: "chart-note" }, note), summary),
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

/** Legend with names, colours and the values at the cursor; a click shows or hides a line. */
export class Legend {
  root = el("div", { class: "chart-legend" });
  #values = [];

  /** `items`: `[{label, colour, shape, isOn, onToggle}]`, in the order of `setValues`. */
  setItems(items) {
    this.#values = items.map(() => el("span", { class: "chart-value" }));
    this.root.replaceChildren(...items.map((item, n) => legendItem(item, this.#values[n])));
  }

  /** `texts`: one text per item. */
  setValues(texts) {
    texts.forEach((text, n) => this.#values[n] && setText(this.#values[n], text));
  }
}

function legendItem({ label, colour, shape = "line", isOn = true, onToggle }, value) {
  const key = colour && el("span", { class: `chart-key key-${shape} colour-${colour}` });
  const inside = [key, label, value];
  if (!onToggle) return el("span", { class: "chart-item" }, inside);
  const button = el(
    "button",
    { type: "button", class: "chart-item", "aria-pressed": String(isOn) },
    inside,
  );
  button.addEventListener("click", () => {
    const isShown = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isShown));
    onToggle(isShown);
  });
  return button;
}

/** The chart's data as a table, built only when opened, and as a CSV file. */
class DataTable {
  #columns = [];
  #rows = () => [];
  #body = el("div", { class: "chart-table", tabindex: "0", role: "region" });

  constructor(title) {
    this.title = title;
    this.#body.setAttribute("aria-label", `Data of ${title}`);
    const save = el("button", { type: "button", class: "chart-save small" }, "Download CSV");
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
    const note = left > 0 && el("p", { class: "chart-note" }, `The last ${ROWS_SHOWN} of ${rows.length} rows.`);
    const head = el("tr", {}, ...this.#columns.map((name) => el("th", { scope: "col" }, name)));
    const lines = shown.map((row) => el("tr", {}, ...row.map((value) => el("td", {}, cell(value)))));
    const table = el("table", {}, el("thead", {}, head), el("tbody", {}, ...lines));
    replace(this.#body, note, table);
  }

  #save() {
    const lines = [this.#columns, ...this.#rows()].map((row) => row.map(quoted).join(","));
    const name = this.title.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    saveBlob(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }), `${name}.csv`);
  }
}

function cell(value) {
  return typeof value === "string" ? value : number(value);
}

function quoted(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
