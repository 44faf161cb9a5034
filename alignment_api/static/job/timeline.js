// Tab: what every engine did when, how long it idled, and how many tokens a second it made.

import { chartFrame } from "../charts/frame.js";
import { compact, duration, number, percent } from "../charts/format.js";
import { itemAt, kindColour, lanesPlugin, laneSummary } from "../charts/lanes.js";
import { Plot } from "../charts/plot.js";
import { el } from "../dom.js";
import { poll } from "./poll.js";
import { throughput } from "./throughput.js";

const SYNC = "timeline";
const LANE_PX = 34;

/** `load(after)` answers `{engines, items}` that are newer than the n-th item. */
export function timelineTab({ history, load }) {
  const root = el("div", {}, el("p", { class: "chart-empty" }, "No work has been recorded yet."));
  const state = { engines: [], items: [], lanes: [] };
  let view = null;
  const take = async () => {
    const found = await load(state.items.length);
    if (!found.items.length) return;
    state.items.push(...found.items);
    const isNew = found.engines.length !== state.engines.length;
    state.engines = found.engines;
    state.lanes = state.engines.map((engine) =>
      state.items.filter((item) => item.engine === engine).sort((a, b) => a.started_s - b.started_s),
    );
    if (isNew) {
      view?.destroy();
      view = build(state);
      root.replaceChildren(view.root);
    }
    view.update();
  };
  const polled = poll(take, history);
  return {
    root,
    destroy: () => {
      polled.stop();
      view?.destroy();
    },
  };
}

function build(state) {
  const lanes = lanesChart(state);
  const speed = speedChart(state);
  return {
    root: el("div", {}, lanes.root, speed.root),
    update: () => [lanes, speed].forEach((chart) => chart.update()),
    destroy: () => [lanes, speed].forEach((chart) => chart.destroy()),
  };
}

function lanesChart(state) {
  const frame = chartFrame({ title: "Work items per engine", note: "One lane an engine; the empty parts are idle time. Drag to zoom, double-click for all." });
  const value = el("p", { class: "heat-value" }, "");
  const kinds = [...new Set(state.items.map(({ kind }) => kind))];
  const height = state.engines.length * LANE_PX + 60;
  const plot = new Plot(frame.host, {
    height,
    sync: SYNC,
    x: { label: "time since the job started", format: duration },
    y: {
      range: () => [0, state.engines.length],
      ticks: () => state.engines.map((_, lane) => lane + 0.5),
      format: (y) => laneName(state.engines, y),
    },
    series: [{ label: "busy", colour: "idle", width: 0 }],
    plugins: [lanesPlugin(() => state.lanes)],
    onCursor: (index, u) => (value.textContent = index === null ? "" : itemText(state, u)),
    onMove: () => frame.announce(itemText(state, plot.u)),
  });
  frame.host.after(value);
  frame.legend.setItems([...kinds.map((kind) => ({ label: kind.replaceAll("_", " "), colour: kindColour(kind), shape: "area" })), { label: "idle", colour: "idle", shape: "area" }]);
  frame.setTable(["engine", "kind", "generation", "started s", "ended s", "candidates", "tokens"], () =>
    state.items.map((item) => [item.engine, item.kind, item.generation, item.started_s, item.ended_s, candidateText(item), item.tokens]),
  );
  const update = () => {
    const times = [...new Set(state.items.flatMap((item) => [item.started_s, item.ended_s]))].sort((a, b) => a - b);
    plot.setData([times, times.map(() => null)]);
    frame.setSummary(state.engines.map((engine, lane) => laneText(engine, state.lanes[lane])).join(" "));
  };
  return { root: frame.root, update, destroy: () => plot.destroy() };
}

function speedChart(state) {
  const frame = chartFrame({ title: "Generated tokens per second", note: "All engines together." });
  const plot = new Plot(frame.host, {
    height: 170,
    sync: SYNC,
    x: { label: "time since the job started", format: duration },
    y: { range: (min, max) => [0, (max || 1) * 1.1], format: compact },
    series: [{ label: "tokens per second", colour: "series-1" }],
    onCursor: (index) => frame.legend.setValues([index === null ? "" : number(plot?.data[1][index])]),
    onMove: (index) => frame.announce(`${duration(plot.data[0][index])}: ${number(plot.data[1][index])} tokens per second`),
  });
  frame.legend.setItems([{ label: "tokens per second", colour: "series-1" }]);
  frame.setTable(["time s", "tokens per second"], () => plot.data[0].map((time, n) => [time, plot.data[1][n]]));
  const update = () => {
    plot.setData(throughput(state.items));
    const tokens = state.items.reduce((sum, item) => sum + (item.tokens ?? 0), 0);
    const until = Math.max(...state.items.map((item) => item.ended_s));
    frame.setSummary(`${compact(tokens)} tokens in ${duration(until)}: ${number(tokens / until)} a second.`);
  };
  return { root: frame.root, update, destroy: () => plot.destroy() };
}

function laneName(engines, value) {
  return String(engines[engines.length - 1 - Math.floor(value)] ?? "");
}

function itemText({ engines, lanes }, u) {
  const lane = Math.min(engines.length - 1, Math.max(0, Math.floor((u.cursor.top / u.over.clientHeight) * engines.length)));
  const time = u.posToVal(u.cursor.left, "x");
  const item = itemAt(lanes[lane], time);
  if (!item) return `${engines[lane]}, ${duration(time)}: idle`;
  const took = item.ended_s - item.started_s;
  const where = item.generation ? `, generation ${item.generation}` : "";
  return `${engines[lane]}, ${duration(time)}: ${item.kind.replaceAll("_", " ")}${where}, ${candidateText(item)} candidates, ${compact(item.tokens)} tokens in ${duration(took)}`;
}

function candidateText({ candidates }) {
  return Array.isArray(candidates) ? candidates.length : candidates;
}

function laneText(engine, items) {
  const { busy_frac: busy, longest_gap_s: gap, tokens_per_s: speed } = laneSummary(items);
  return `${engine}: busy ${percent(busy)}, longest gap ${duration(gap)}, ${number(speed)} tokens/s while busy.`;
}
