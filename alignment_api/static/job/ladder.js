// The step sizes tried before the search: the effect of each on fitness, and how far to trust it.

import { chartFrame } from "../charts/frame.js";
import { compact, duration, number } from "../charts/format.js";
import { markPlugin, thresholdPlugin } from "../charts/overlays.js";
import { Plot } from "../charts/plot.js";
import { el } from "../dom.js";
import { finite } from "./history.js";

const FITNESS = [
  { label: "best candidate", column: "best_fitness", colour: "best" },
  { label: "mean", column: "mean_fitness", colour: "mean" },
];
const RELIABILITY = [{ label: "reliability", column: "reliability", colour: "series-5" }];
const COLUMNS = ["sigma", "mean_fitness", "best_fitness", "fitness_std", "reliability"];

/** Both charts, hidden for jobs with a given step size. */
export function ladderCharts(history) {
  const chosen = () => [{ x: history.ladder.chosen_sigma, label: "chosen", colour: "good" }];
  const start = () => [{ y: history.ladder.start_fitness, label: "warm start", colour: "axis" }];
  const floor = () => [{ y: 0.3, label: "floor 0.3", side: "below" }];
  const root = el("section", { hidden: true });
  let charts = null;
  const build = () => {
    charts = [
      rungChart("Step size ladder: fitness", FITNESS, history.ladder, [thresholdPlugin(start), markPlugin(chosen)]),
      rungChart("Step size ladder: reliability", RELIABILITY, history.ladder, [thresholdPlugin(floor), markPlugin(chosen)]),
    ];
    root.append(el("div", { class: "chart-grid" }, ...charts.map((chart) => chart.root)));
  };
  const update = () => {
    root.hidden = !history.ladder;
    if (history.ladder && !charts) build();
    charts?.forEach((chart) => chart.update());
  };
  return { root, update, destroy: () => charts?.forEach((chart) => chart.destroy()) };
}

function rungChart(title, lines, ladder, plugins) {
  const rungs = [...ladder.rungs].sort((a, b) => a.sigma - b.sigma);
  const frame = chartFrame({ title });
  const texts = (rung) => [...lines.map(({ column }) => number(finite(rung[column]))), number(rung.sigma)];
  const plot = new Plot(frame.host, {
    height: 190,
    x: { label: "σ, logarithmic", log: true, format: number, ticks: rungs.map(({ sigma }) => sigma) },
    y: { range: (min, max) => yRange(lines, min, max, ladder) },
    series: lines.map(({ label, colour }) => ({ label, colour, dots: true })),
    plugins,
    onCursor: (row) => frame.legend.setValues(row === null ? [] : texts(rungs[row])),
    onMove: (row) => frame.announce(spoken(lines, rungs[row])),
  });
  frame.legend.setItems([...lines.map(({ label, colour }) => ({ label, colour })), { label: "σ" }]);
  frame.setSummary(
    `Chose σ = ${number(ladder.chosen_sigma)}: ${ladder.rule}. ` +
      `${rungs.length} steps, ${compact(ladder.tokens)} tokens, ${duration(ladder.seconds)}.`,
  );
  frame.setTable(COLUMNS.map((name) => name.replace("_", " ")), () => rungs.map((rung) => COLUMNS.map((name) => finite(rung[name]))));
  const columns = [rungs.map(({ sigma }) => sigma), ...lines.map(({ column }) => rungs.map((rung) => finite(rung[column])))];
  return { root: frame.root, update: () => plot.setData(columns), destroy: () => plot.destroy() };
}

function spoken(lines, rung) {
  const parts = lines.map(({ label, column }) => `${label} ${number(finite(rung[column]))}`);
  return `Sigma ${number(rung.sigma)}: ${parts.join(", ")}.`;
}

function yRange(lines, min, max, ladder) {
  if (lines === RELIABILITY) return [Math.min(0, min ?? 0), Math.max(1, max ?? 1)];
  const [low, high] = [Math.min(min, ladder.start_fitness), Math.max(max, ladder.start_fitness)];
  const margin = 0.1 * (high - low || 1);
  return [low - margin, high + margin];
}
