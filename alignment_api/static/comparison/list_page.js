// Page `#/comparisons`: all comparisons, newest first.

import { api } from "../api.js";
import { el, replace } from "../dom.js";
import { statusBadge } from "../job_actions.js";
import { dateTime, withCode } from "../text.js";
import { newForm } from "./new_form.js";

const PAGE = 25;
const COLUMNS = ["Comparison", "Status", "Arms", "Seeds", "Created"];

/** See router.js. */
export async function show(root, params, signal) {
  const after = params.query.get("after");
  const page = await api.get("/v1/comparisons", { query: { after, limit: PAGE }, signal });
  replace(
    root,
    el("div", { class: "head" }, el("h1", {}, "Comparisons")),
    el("p", { class: "soft" }, withCode("Several methods on one task, over several seeds. `essa compare` runs them without this service.")),
    newForm(),
    page.data.length ? list(page.data) : el("p", { class: "empty" }, after ? "There are no older comparisons." : "No comparisons yet."),
    page.has_more && el("a", { class: "button", href: `#/comparisons?after=${encodeURIComponent(page.last_id)}` }, "Older"),
  );
}

function list(found) {
  return el(
    "div",
    { class: "chart chart-table", tabindex: "0", role: "region", "aria-label": "Comparisons" },
    el(
      "table",
      {},
      el("thead", {}, el("tr", {}, COLUMNS.map((name) => el("th", { scope: "col" }, name)))),
      el("tbody", {}, found.map(row)),
    ),
  );
}

function row({ id, name, status, arms, seeds, created_at: created }) {
  return el(
    "tr",
    {},
    el("td", {}, el("a", { href: `#/comparisons/${encodeURIComponent(id)}` }, name)),
    el("td", {}, statusBadge({ status, essa: {} })),
    el("td", {}, arms.join(", ")),
    el("td", {}, seeds.join(", ")),
    el("td", {}, dateTime(created)),
  );
}
