// Tables in the service's own words.

import { el } from "../dom.js";

/** One section per table; `tables` is from the answer of `/v1/comparisons/ID`. */
export function comparisonTables(tables) {
  return tables.map(({ title, note, columns, rows }) =>
    el(
      "section",
      { class: "chart" },
      el("h2", { class: "chart-title" }, title),
      note && el("p", { class: "chart-note" }, note),
      el(
        "div",
        { class: "chart-table", tabindex: "0", role: "region", "aria-label": title },
        el(
          "table",
          {},
          el("thead", {}, el("tr", {}, columns.map((name) => el("th", { scope: "col" }, name)))),
          el("tbody", {}, rows.map((cells) => el("tr", {}, cells.map((text) => el("td", {}, text))))),
        ),
      ),
    ),
  );
}
