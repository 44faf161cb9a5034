// Tab: the state of the search, generation by generation, and the step sizes tried before it.

import { number } from "../charts/format.js";
import { thresholdPlugin } from "../charts/overlays.js";
import { el } from "../dom.js";
import { lineChart } from "./components.js";
import { ladderCharts } from "./ladder.js";

const SYNC = "search";
/** Threshold below which luck decides the ranking of candidates more than merit. */
export const RELIABILITY_FLOOR = 0.3;

const CHARTS = [
  { title: "Step size σ", column: "sigma", note: "Standard deviation of candidates around the mean." },
  { title: "Axis ratio", column: "axis_ratio", note: "Longest over shortest axis of the search distribution." },
  { title: "Step norm", column: "step_norm", note: "How far the mean moved in the generation." },
  { title: "Informative prompts", column: "informative_frac", note: "Share of prompts on which the candidates that answered them differ at all." },
  { title: "Distance from start", column: "distance", note: "Of the mean vector from the warm start, in search units." },
];

export function searchTab({ history }) {
  const charts = CHARTS.map(({ title, column, note }, n) =>
    lineChart({ title, note, history, sync: SYNC, lines: [{ label: column.replace("_", " "), column, series: n }] }),
  );
  charts.push(reliabilityChart(history));
  const ladder = ladderCharts(history);
  const update = () => [...charts, ladder].forEach((chart) => chart.update());
  update();
  const stop = history.onChange(update);
  return {
    root: el("div", {}, el("div", { class: "chart-grid" }, ...charts.map(({ root }) => root)), ladder.root),
    destroy: () => {
      stop();
      [...charts, ladder].forEach((chart) => chart.destroy());
    },
  };
}

function reliabilityChart(history) {
  const floor = { y: RELIABILITY_FLOOR, label: `floor ${RELIABILITY_FLOOR}`, side: "below" };
  return lineChart({
    title: "Split-half reliability",
    note: `Correlation of candidate fitness between two halves of the prompts; under ${RELIABILITY_FLOOR} ranks are mostly luck.`,
    history,
    sync: SYNC,
    lines: [{ label: "reliability", column: "reliability", series: 4 }],
    range: (min, max) => [Math.min(0, min ?? 0), Math.max(1, max ?? 1)],
    plugins: [thresholdPlugin(() => [floor])],
    describe: () => describeReliability(history.column("reliability")),
  });
}

function describeReliability(column) {
  const found = column.filter((value) => value !== null);
  if (!found.length) return "Nothing measured yet.";
  const low = found.filter((value) => value < RELIABILITY_FLOOR).length;
  return `Latest ${number(found.at(-1))}; under the floor in ${low} of ${found.length} generations.`;
}
