// The jobs of a comparison: one row per arm, one column per seed.

import { el } from "../dom.js";
import { statusBadge } from "../job_actions.js";

/** A table of links to jobs. */
export function runTable({ arms, seeds, runs }) {
  const find = (arm, seed) => runs.find((run) => run.arm === arm && run.seed === seed);
  const cell = ({ job_id: id, arm, seed, status }) => [
    // The label begins with the visible text, so that speech input finds it.
    el("a", { href: `#/jobs/${encodeURIComponent(id)}`, "aria-label": `…${id.slice(-6)}, job of ${arm}, seed ${seed}` }, `…${id.slice(-6)}`),
    " ",
    statusBadge({ status, essa: {} }),
  ];
  return el(
    "section",
    { class: "chart" },
    el("h2", { class: "chart-title" }, "Jobs"),
    el(
      "div",
      { class: "chart-table", tabindex: "0", role: "region", "aria-label": "Jobs" },
      el(
        "table",
        {},
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "arm"), seeds.map((seed) => el("th", { scope: "col" }, `seed ${seed}`)))),
        el("tbody", {}, arms.map((arm) => el("tr", {}, el("td", {}, arm), seeds.map((seed) => el("td", {}, cell(find(arm, seed))))))),
      ),
    ),
  );
}
