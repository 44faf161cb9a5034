// Tab: every constraint against its threshold, its cost, and the share of candidates that meet it.

import { number, percent } from "../charts/format.js";
import { intervalPlugin, thresholdPlugin } from "../charts/overlays.js";
import { el } from "../dom.js";
import { lineChart } from "./components.js";

const SYNC = "constraints";
const WRONG_SIDE = { ">=": "below", "<=": "above", "=": undefined };
const SIGN = { ">=": "≥", "<=": "≤", "=": "=" };

export function constraintsTab({ history }) {
  const root = el("div", {});
  let charts = null;
  const update = () => {
    if (!charts && history.constraints.length) {
      charts = build(history);
      root.replaceChildren(el("div", { class: "chart-grid" }, ...charts.map((chart) => chart.root)));
    }
    if (!charts) root.replaceChildren(nothing(history));
    charts?.forEach((chart) => chart.update());
  };
  update();
  const stop = history.onChange(update);
  return {
    root,
    destroy: () => {
      stop();
      charts?.forEach((chart) => chart.destroy());
    },
  };
}

function nothing(history) {
  const text = history.length
    ? "This job has no constraints. A job of method constrained_evolution holds components at thresholds while it raises another."
    : "No generation has finished yet.";
  return el("p", { class: "chart-empty" }, text);
}

function build(history) {
  const first = history.last ?? history.validations.at(-1);
  return [
    ...first.constraints.map((constraint) => constraintChart(history, constraint)),
    multiplierChart(history),
    feasibleChart(history),
  ];
}

function constraintChart(history, { component, direction, threshold }) {
  const now = () => status(history, component) ?? { threshold };
  const mark = () => [{ y: now().threshold, label: `${SIGN[direction]} ${number(now().threshold)}`, side: WRONG_SIDE[direction] }];
  return lineChart({
    title: `${component} ${SIGN[direction]} ${number(threshold)}`,
    history,
    sync: SYNC,
    height: 200,
    lines: [
      { label: "in the search, smoothed", column: `value ${component}`, colour: "mean" },
      { label: "validation", column: `validation value ${component}`, colour: "validation", isValidation: true },
    ],
    range: (min, max) => {
      const ends = whiskers(history, component).flatMap(({ low, high }) => [low, high]);
      const all = [min ?? threshold, max ?? threshold, threshold, ...ends];
      return withMargin(Math.min(...all), Math.max(...all));
    },
    plugins: [thresholdPlugin(mark), intervalPlugin(() => whiskers(history, component), "validation")],
    describe: () => describe(now()),
  });
}

function status(history, component) {
  return history.last?.constraints.find((constraint) => constraint.component === component);
}

function whiskers(history, component) {
  return history.validations.flatMap(({ generation, constraints }) => {
    const ci95 = constraints.find((constraint) => constraint.component === component)?.ci95;
    return ci95 ? [{ x: generation, low: ci95[0], high: ci95[1] }] : [];
  });
}

function describe({ value, violation, is_held: isHeld, multiplier }) {
  if (value === undefined) return "Nothing measured yet.";
  const verdict = isHeld ? "Held" : `Missed by ${number(violation)} of its range`;
  const weight = typeof multiplier === "number" ? `, multiplier ${number(multiplier)}` : "";
  return `${verdict}: ${number(value)}${weight}.`;
}

function multiplierChart(history) {
  return lineChart({
    title: "Multipliers",
    note: "Weight of each constraint in the fitness.",
    history,
    sync: SYNC,
    height: 200,
    lines: history.constraints.map((name, n) => ({ label: name, column: `multiplier ${name}`, series: n })),
  });
}

function feasibleChart(history) {
  return lineChart({
    title: "Feasible candidates",
    note: "Share of candidates that hold every constraint.",
    history,
    sync: SYNC,
    height: 200,
    lines: [{ label: "feasible share", column: "feasible_frac", series: 2 }],
    range: () => [0, 1],
    describe: () => `Latest: ${percent(history.column("feasible_frac").at(-1))}.`,
  });
}

function withMargin(low, high) {
  const margin = 0.1 * (high - low || Math.abs(high) || 1);
  return [low - margin, high + margin];
}
