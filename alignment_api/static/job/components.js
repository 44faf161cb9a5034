// Components of the reward and violated constraints, on the x axis of the fitness chart above them:
// over-optimisation shows where they diverge from fitness.

import { chartFrame } from "../charts/frame.js";
import { number } from "../charts/format.js";
import { Plot } from "../charts/plot.js";
import { SERIES_COLOURS } from "../charts/theme.js";
import { el } from "../dom.js";

/** The charts that this job has data for, built when the data arrives. */
export function componentCharts(history, sync) {
  const root = el("div", {});
  const charts = new Map();
  const wanted = [
    { key: "components", names: () => componentNames(history), make: () => componentsChart(history, sync) },
    { key: "violations", names: () => history.constraints, make: () => violationsChart(history, sync) },
  ];
  const update = () => {
    for (const { key, names, make } of wanted) {
      if (!charts.has(key) && names().length) {
        charts.set(key, make());
        root.append(charts.get(key).root);
      }
      charts.get(key)?.update();
    }
  };
  return { root, update, destroy: () => charts.forEach((chart) => chart.destroy()) };
}

function componentNames(history) {
  return Object.keys(history.last?.components ?? history.validations.at(-1)?.components ?? {});
}

function componentsChart(history, sync) {
  const lines = componentNames(history).flatMap((name, n) => [
    { label: name, column: `component ${name}`, series: n },
    { label: `${name}, validation`, column: `validation component ${name}`, series: n, isValidation: true },
  ]);
  return lineChart({
    title: "Components",
    note: "Mean over candidates as lines, the mean vector on the validation set as dashes with dots.",
    history,
    sync,
    lines,
  });
}

function violationsChart(history, sync) {
  const lines = history.constraints.flatMap((name, n) => [
    { label: name, column: `violation ${name}`, series: n },
    { label: `${name}, validation`, column: `validation violation ${name}`, series: n, isValidation: true },
  ]);
  return lineChart({
    title: "Missed constraints",
    note: "How far each threshold is missed, in units of the component's range; 0 is held.",
    history,
    sync,
    lines,
    range: (min, max) => [0, Math.max(0.05, (max ?? 0) * 1.1)],
  });
}

/** Lines over generations in one frame. `lines`: `[{label, column, series, isValidation}]`. */
export function lineChart({ title, note, history, sync, lines, range, height = 170, plugins, describe }) {
  const frame = chartFrame({ title, note, isSummaryShown: Boolean(describe) });
  const names = lines.map(({ column }) => column);
  const plot = new Plot(frame.host, {
    height,
    sync,
    plugins,
    x: { label: "generation", whole: true },
    y: { range },
    series: lines.map(({ label, series, colour, isValidation }) => ({
      label,
      colour: colour ?? `series-${(series % SERIES_COLOURS) + 1}`,
      dash: isValidation ? [5, 4] : undefined,
      dots: isValidation,
    })),
    onCursor: (row) => frame.legend.setValues(texts(history, names, row ?? history.length - 1)),
    onMove: (row) => frame.announce(spoken(history, lines, row)),
  });
  frame.legend.setItems(
    lines.map(({ label, series, colour, isValidation }, n) => ({
      label,
      colour: colour ?? `series-${(series % SERIES_COLOURS) + 1}`,
      shape: isValidation ? "dash" : "line",
      onToggle: (isShown) => plot.toggle(n + 1, isShown),
    })),
  );
  frame.setTable(["generation", ...lines.map(({ label }) => label)], () =>
    history.column("generation").map((generation, row) => [generation, ...names.map((name) => history.column(name)[row])]),
  );
  const update = () => {
    plot.setData([history.column("generation"), ...names.map((name) => history.column(name))]);
    frame.setSummary(describe ? describe() : lastValues(history, lines));
  };
  return { root: frame.root, update, destroy: () => plot.destroy() };
}

function texts(history, names, row) {
  return row < 0 ? [] : names.map((name) => number(lastUpTo(history.column(name), row)));
}

function lastUpTo(column, row) {
  for (let n = row; n >= 0; n -= 1) if (column[n] !== null) return column[n];
  return null;
}

function lastValues(history, lines) {
  const parts = lines.map(({ label, column }) => {
    const value = lastUpTo(history.column(column), history.length - 1);
    return value === null ? null : `${label} ${number(value)}`;
  });
  const found = parts.filter(Boolean);
  return found.length ? `Latest: ${found.join(", ")}.` : "Nothing measured yet.";
}

function spoken(history, lines, row) {
  const parts = lines.map(({ label, column }) => `${label} ${number(history.column(column)[row])}`);
  return `Generation ${history.column("generation")[row]}: ${parts.join(", ")}.`;
}
