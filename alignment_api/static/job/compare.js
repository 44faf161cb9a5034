// Page: several jobs side by side, by cost and by result.

import { chartFrame } from "../charts/frame.js";
import { compact, duration, number } from "../charts/format.js";
import { Plot } from "../charts/plot.js";
import { SERIES_COLOURS } from "../charts/theme.js";
import { el } from "../dom.js";
import { compareColumns } from "./compare_columns.js";
import { scoreTable } from "./score_table.js";

const XS = {
  wall_s: { label: "wall-clock time", format: duration },
  device_s: { label: "device-seconds", format: duration },
  tokens: { label: "generated tokens", format: compact },
  samples: { label: "scored completions", format: compact },
  generation: { label: "generation", whole: true, format: number },
};
const YS = { validation: "validation score", mean: "mean fitness", best: "best fitness" };

/** `axes`: the initial `{x, y}`. `set(jobs)` shows the answer of the compare endpoint. */
export function comparison({ axes, onAxes }) {
  const state = { jobs: [], x: axes.x in XS ? axes.x : "wall_s", y: axes.y in YS ? axes.y : "validation" };
  const place = el("div", {});
  const scores = el("div", {});
  let chart = null;
  let shape = "";
  let scored = "";
  const draw = () => {
    const groups = grouped(state.jobs);
    const now = JSON.stringify([state.x, state.y, groups.map(({ jobs }) => jobs.map(({ job }) => job.id))]);
    if (now !== shape) {
      chart?.destroy();
      chart = groups.length ? groupChart(groups, state) : null;
      place.replaceChildren(...(chart ? [chart.root] : []));
      shape = now;
    }
    chart?.update(groups);
    const latest = JSON.stringify(state.jobs.map(({ job, test }) => [job, test]));
    if (latest === scored) return;
    scored = latest;
    scores.replaceChildren(scoreTable(groups));
  };
  const choose = (name, choices) => {
    const select = el("select", {}, ...choices.map(([key, text]) => el("option", { value: key }, text)));
    select.value = state[name];
    select.addEventListener("change", () => {
      state[name] = select.value;
      onAxes({ x: state.x, y: state.y });
      draw();
    });
    return select;
  };
  const controls = el(
    "div",
    { class: "chart-controls" },
    el("label", {}, "Over", choose("x", Object.entries(XS).map(([key, { label }]) => [key, label]))),
    el("label", {}, "Show", choose("y", Object.entries(YS))),
  );
  return {
    root: el("div", {}, controls, place, scores),
    set: (jobs) => {
      state.jobs = jobs;
      draw();
    },
    destroy: () => chart?.destroy(),
  };
}

/** Jobs by group, in the order in which they were requested: `[{name, colour, jobs}]`. */
function grouped(jobs) {
  const groups = new Map();
  for (const entry of jobs) {
    if (!groups.has(entry.group)) groups.set(entry.group, []);
    groups.get(entry.group).push(entry);
  }
  return [...groups.values()].map((members, n) => ({
    name: members.length > 1 ? `${members[0].job.name} (${members.length} seeds)` : members[0].job.name,
    colour: `series-${(n % SERIES_COLOURS) + 1}`,
    jobs: members,
  }));
}

function groupChart(groups, { x, y }) {
  const frame = chartFrame({
    title: `${YS[y][0].toUpperCase()}${YS[y].slice(1)} over ${XS[x].label}`,
    note: "Jobs that differ only in their seed: the mean as a thick line, from lowest to highest as a band.",
  });
  const layout = layoutOf(groups);
  const plot = new Plot(frame.host, {
    height: 360,
    x: XS[x],
    series: layout.series,
    bands: layout.bands,
    onCursor: (row) => frame.legend.setValues(row === null ? [] : cursorTexts(plot, layout, x, row)),
    onMove: (row) => frame.announce(spoken(plot, layout, groups, x, row)),
  });
  frame.legend.setItems([
    ...groups.map(({ name, colour }, n) => ({
      label: name,
      colour,
      onToggle: (isShown) => layout.columnsOf[n].forEach((column) => plot.toggle(column, isShown)),
    })),
    { label: XS[x].label },
  ]);
  const update = (latest) => {
    const found = compareColumns(latest, x, y);
    plot.setData([found.xs, ...found.groups.flatMap(columnsOfGroup)]);
    frame.setSummary(latest.map((group) => lastText(group, y)).join(" "));
    frame.setTable([x, ...layout.series.map(({ label }) => label)], () => found.xs.map((_, row) => plot.data.map((column) => column[row])));
  };
  return { root: frame.root, update, destroy: () => plot.destroy() };
}

function columnsOfGroup({ jobs, mean, low, high }) {
  return mean ? [high, low, mean, ...jobs] : jobs;
}

function layoutOf(groups) {
  const [series, bands, columnsOf, lead] = [[], [], [], []];
  for (const { name, colour, jobs } of groups) {
    const first = series.length + 1;
    if (jobs.length > 1) {
      series.push({ label: `${name}, highest`, colour, width: 0 }, { label: `${name}, lowest`, colour, width: 0 });
      series.push({ label: name, colour, width: 2.5 });
      bands.push([first, first + 1, colour, 0.18]);
      lead.push(first + 2);
    } else {
      lead.push(first);
    }
    for (const { job } of jobs) {
      const isAlone = jobs.length === 1;
      series.push({ label: isAlone ? name : `${name}, seed ${job.seed}`, colour, width: isAlone ? 2 : 1, fade: isAlone ? undefined : 0.5 });
    }
    columnsOf.push(Array.from({ length: series.length + 1 - first }, (_, n) => first + n));
  }
  return { series, bands, columnsOf, lead };
}

function cursorTexts(plot, layout, x, row) {
  const values = layout.lead.map((column) => number(nearby(plot.data[column], row)));
  return [...values, XS[x].format(plot.data[0][row])];
}

function spoken(plot, layout, groups, x, row) {
  const texts = cursorTexts(plot, layout, x, row);
  return `${texts.at(-1)}: ${groups.map(({ name }, n) => `${name} ${texts[n]}`).join(", ")}.`;
}

function nearby(column, row) {
  for (let n = row; n >= 0; n -= 1) if (column[n] !== null) return column[n];
  return null;
}

function lastText({ name, jobs }, y) {
  const lasts = jobs.map(({ points }) => points.findLast((point) => typeof point[y] === "number")?.[y]);
  const known = lasts.filter((value) => value !== undefined);
  if (!known.length) return `${name}: nothing yet.`;
  const mean = known.reduce((sum, value) => sum + value, 0) / known.length;
  return `${name}: ${known.length > 1 ? "mean " : ""}${number(mean)} at the end.`;
}
