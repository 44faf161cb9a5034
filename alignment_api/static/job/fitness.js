// Tab: fitness per generation and, in constrained jobs, the price paid for it.

import { chartFrame } from "../charts/frame.js";
import { interval, number } from "../charts/format.js";
import { intervalPlugin, markPlugin, stretchPlugin } from "../charts/overlays.js";
import { Plot } from "../charts/plot.js";
import { pointsPlugin } from "../charts/points.js";
import { el } from "../dom.js";
import { componentCharts } from "./components.js";
import { partings } from "./over_optimisation.js";

const COLUMNS = ["q75", "q25", "worst", "mean", "best", "validation"];
const LINES = [
  { label: "quartiles", colour: "band", shape: "area", columns: [1, 2] },
  { label: "worst", colour: "worst", columns: [3] },
  { label: "mean", colour: "mean", columns: [4] },
  { label: "best", colour: "best", columns: [5] },
  { label: "validation (mean vector)", colour: "validation", columns: [6] },
];
const SYNC = "fitness";

/**
 * `onPick(generation, candidate)` is called for a click or Enter on a generation. `point` names what
 * is scored: a candidate, or in training a prompt, by the mean over its answers.
 */
export function fitnessTab({ history, onPick, point = "candidate" }) {
  const frame = chartFrame({
    title: "Fitness per generation",
    note: `${point === "candidate" ? "Every candidate a point" : "Every prompt a point, the mean of its answers"}. Drag to zoom, double-click for all; click a generation to read its completions. Keys: arrows, + − 0, Enter.`,
  });
  const state = { parted: partings(history), pick: null };
  const plot = new Plot(frame.host, options(frame, history, state, onPick));
  frame.legend.setItems([
    { label: "generation" },
    { label: point, colour: "candidate", shape: "dot" },
    ...LINES.map((line) => ({
      ...line,
      onToggle: (isShown) => line.columns.forEach((column) => plot.toggle(column, isShown)),
    })),
  ]);
  frame.setTable(["generation", ...COLUMNS, `${point}s`], () => tableRows(history));
  const below = componentCharts(history, SYNC);
  const update = () => {
    state.parted = partings(history);
    plot.setData([history.column("generation"), ...COLUMNS.map((name) => history.column(name))]);
    frame.setSummary(summary(history, state.parted.text, point));
    below.update();
  };
  update();
  const stop = history.onChange(update);
  return {
    root: el("div", {}, frame.root, below.root),
    destroy: () => {
      stop();
      plot.destroy();
      below.destroy();
    },
  };
}

function options(frame, history, state, onPick) {
  const whiskers = () => history.validations.map(({ generation, ci95 }) => ({ x: generation, low: ci95[0], high: ci95[1] }));
  const best = () => {
    const found = history.bestValidation;
    return found ? [{ x: found.generation, label: "best validation", colour: "validation" }] : [];
  };
  return {
    height: 340,
    sync: SYNC,
    x: { label: "generation", whole: true },
    series: [
      { label: "q75", colour: "mean", width: 1, fade: 0.4 },
      { label: "q25", colour: "mean", width: 1, fade: 0.4 },
      { label: "worst", colour: "worst", width: 1 },
      { label: "mean", colour: "mean", width: 2 },
      { label: "best", colour: "best", width: 1.25 },
      { label: "validation", colour: "validation", width: 2, dots: true },
    ],
    bands: [[1, 2, "band"]],
    plugins: [
      stretchPlugin(() => state.parted.stretches),
      pointsPlugin(history.points),
      intervalPlugin(whiskers, "validation"),
      markPlugin(best),
    ],
    onCursor: (row, u) => {
      state.pick = row === null ? null : nearest(history, row, u);
      frame.legend.setValues(values(history, row ?? history.length - 1, state.pick));
    },
    onMove: (row) => frame.announce(spoken(history, row)),
    onPick: (row, u) => onPick(history.column("generation")[row], u && (nearest(history, row, u)?.candidate ?? null)),
  };
}

function nearest(history, row, u) {
  const found = history.points.nearest(history.column("generation")[row], u.posToVal(u.cursor.top, "y"));
  if (!found) return null;
  return Math.abs(u.valToPos(found.fitness, "y") - u.cursor.top) < 12 ? found : null;
}

function values(history, row, pick) {
  if (row < 0) return [];
  const at = (name) => history.column(name)[row];
  return [
    String(at("generation")),
    pick ? `${pick.candidate}: ${number(pick.fitness)}` : "",
    `${number(at("q25"))} to ${number(at("q75"))}`,
    ...["worst", "mean", "best"].map((name) => number(at(name))),
    validationText(history, at("generation")),
  ];
}

function validationText(history, generation) {
  const found = history.validations.findLast((event) => event.generation <= generation);
  if (!found) return "–";
  const when = found.generation === generation ? "" : ` (${found.generation})`;
  return interval(found.score, found.ci95) + when;
}

function spoken(history, row) {
  const at = (name) => number(history.column(name)[row]);
  return `Generation ${at("generation")}: mean ${at("mean")}, best ${at("best")}, worst ${at("worst")}, validation ${at("validation")}.`;
}

function summary(history, parting, point) {
  const { last, bestValidation: best } = history;
  if (!last) return "No generation has finished yet.";
  const parts = [
    `Generation ${last.generation}: mean ${number(last.mean)}, best ${number(last.best)}, ${history.points.count.toLocaleString("en")} ${point}s so far.`,
    best && `Best validation ${interval(best.score, best.ci95)} at generation ${best.generation}.`,
    parting,
  ];
  return parts.filter(Boolean).join(" ");
}

function tableRows(history) {
  const counts = new Map(history.generations.map(({ generation, fitness }) => [generation, fitness.length]));
  return history.column("generation").map((generation, row) => [
    generation,
    ...COLUMNS.map((name) => history.column(name)[row]),
    counts.get(generation) ?? 0,
  ]);
}
