// Best validation score so far of each arm against its cost: mean and band over seeds.

import { compact, duration, number } from "../charts/format.js";
import { chartFrame } from "../charts/frame.js";
import { Plot } from "../charts/plot.js";
import { SERIES_COLOURS } from "../charts/theme.js";
import { el } from "../dom.js";
import { bandColumns } from "./band_columns.js";

const AXES = {
  wall_s: { label: "wall-clock time", format: duration },
  device_s: { label: "device-seconds", format: duration },
  tokens: { label: "tokens", format: compact },
  samples: { label: "samples", format: compact },
};
const DASHES = [undefined, [7, 3], [2, 3], [9, 3, 2, 3], [12, 4], [4, 4], [1, 4], [14, 3, 3, 3]];

/** `axis` is the initial axis; `set(arms, curves)` shows the `curves` of a comparison's results. */
export function bandChart({ axis, onAxis }) {
  const state = { axis: axis in AXES ? axis : "wall_s", arms: [], curves: {} };
  const place = el("div", {});
  let chart = null;
  let shape = "";
  const draw = () => {
    const shown = state.arms.filter((arm) => state.curves[arm]?.[state.axis]?.x.length);
    const now = JSON.stringify([state.axis, shown]);
    if (now !== shape) {
      chart?.destroy();
      chart = shown.length ? armChart(state.arms, shown, state.axis) : null;
      place.replaceChildren(chart ? chart.root : el("p", { class: "chart-empty" }, "No validation yet."));
      shape = now;
    }
    chart?.update(shown.map((arm) => state.curves[arm][state.axis]));
  };
  const select = el("select", {}, ...Object.entries(AXES).map(([key, { label }]) => el("option", { value: key }, label)));
  select.value = state.axis;
  select.addEventListener("change", () => {
    state.axis = select.value;
    onAxis(state.axis);
    draw();
  });
  return {
    root: el("div", {}, el("div", { class: "chart-controls" }, el("label", {}, "Over", select)), place),
    set: (arms, curves) => {
      Object.assign(state, { arms, curves });
      draw();
    },
    destroy: () => chart?.destroy(),
  };
}

function armChart(arms, shown, axis) {
  const { label, format } = AXES[axis];
  const frame = chartFrame({
    title: `Best validation score over ${label}`,
    note: "The warm start, which all arms share, is not counted. Mean over seeds, from lowest to highest as a band.",
  });
  const colours = shown.map((arm) => `series-${(arms.indexOf(arm) % SERIES_COLOURS) + 1}`);
  const series = shown.flatMap((arm, n) => [
    { label: `${arm}, highest`, colour: colours[n], width: 0, isStepped: true },
    { label: `${arm}, lowest`, colour: colours[n], width: 0, isStepped: true },
    { label: arm, colour: colours[n], width: 2.5, dash: DASHES[arms.indexOf(arm)], isStepped: true },
  ]);
  const texts = (row) => [...shown.map((_, n) => number(plot.data[3 * n + 3][row])), format(plot.data[0][row])];
  const plot = new Plot(frame.host, {
    height: 340,
    x: { label, format },
    series,
    bands: shown.map((_, n) => [3 * n + 1, 3 * n + 2, colours[n], 0.18]),
    onCursor: (row) => frame.legend.setValues(row === null ? [] : texts(row)),
    onMove: (row) => frame.announce(`${texts(row).at(-1)}: ${shown.map((arm, n) => `${arm} ${texts(row)[n]}`).join(", ")}.`),
  });
  const toggle = (n, isShown) => [1, 2, 3].forEach((column) => plot.toggle(3 * n + column, isShown));
  frame.legend.setItems([
    ...shown.map((arm, n) => ({ label: arm, colour: colours[n], onToggle: (isShown) => toggle(n, isShown) })),
    { label },
  ]);
  const update = (bands) => {
    const { xs, bands: columns } = bandColumns(bands);
    plot.setData([xs, ...columns.flatMap(({ mean, low, high }) => [high, low, mean])]);
    frame.setSummary(shown.map((arm, n) => `${arm} reaches ${number(bands[n].mean.at(-1))} in ${format(bands[n].x.at(-1))}.`).join(" "));
    frame.setTable([label, ...series.map((one) => one.label)], () => xs.map((_, row) => plot.data.map((column) => column[row])));
  };
  return { root: frame.root, update, destroy: () => plot.destroy() };
}
