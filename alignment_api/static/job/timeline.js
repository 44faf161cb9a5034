// Tab: what each engine did and when, its idle time, and its tokens per second.

import { chartFrame } from "../charts/frame.js";
import { compact, duration, number, percent } from "../charts/format.js";
import { itemAt, kindColour, lanesPlugin, laneSummary, packed } from "../charts/lanes.js";
import { Plot } from "../charts/plot.js";
import { el, replace } from "../dom.js";
import { poll } from "./poll.js";
import { throughput } from "./throughput.js";

const SYNC = "timeline";
const LANE_PX = 46;
const COLUMNS = ["engine", "kind", "generation", "started_s", "ended_s", "candidates", "tokens"];

/** `load(after)` returns `{engines, items, has_more}` after the n-th item; -1 means all. */
export function timelineTab({ history, load }) {
  const root = el("div", {}, el("p", { class: "chart-empty" }, "No work has been recorded yet."));
  const state = { engines: [], items: [], byEngine: [], lanes: [] };
  let view = null;
  const take = async () => {
    let found;
    do {
      found = await load(state.items.at(-1)?.n ?? -1);
      state.items.push(...found.items);
      if (found.items.length) refresh(found.engines);
    } while (found.has_more && found.items.length);
  };
  const refresh = (engines) => {
    const isNew = engines.length !== state.engines.length;
    state.engines = engines;
    state.byEngine = engines.map((engine) => itemsOf(state.items, engine));
    state.lanes = state.byEngine.map(packed);
    if (isNew) {
      view?.destroy();
      view = build(state);
      replace(root, view.root);
    }
    view.update();
  };
  const polled = poll(take, history, (error) => !view && replace(root, el("p", { class: "chart-empty" }, error.message)));
  return {
    root,
    destroy: () => {
      polled.stop();
      view?.destroy();
    },
  };
}

function itemsOf(items, engine) {
  return items.filter((item) => item.engine === engine).sort((a, b) => a.started_s - b.started_s);
}

function build(state) {
  const charts = [lanesChart(state), speedChart(state)];
  return {
    root: el("div", {}, charts.map(({ root }) => root)),
    update: () => charts.forEach((chart) => chart.update()),
    destroy: () => charts.forEach((chart) => chart.destroy()),
  };
}

function lanesChart(state) {
  const frame = chartFrame({
    title: "Work items per engine",
    note: "One lane an engine, one row for each item it has at a time; what is empty is idle. Drag to zoom, double-click for all.",
  });
  const value = el("p", { class: "heat-value" });
  const plot = new Plot(frame.host, {
    height: state.engines.length * LANE_PX + 60,
    sync: SYNC,
    x: { label: "time since the job started", format: duration },
    y: {
      range: () => [0, state.engines.length],
      ticks: () => state.engines.map((_, lane) => lane + 0.5),
      format: (y) => `engine ${state.engines[state.engines.length - 1 - Math.floor(y)]}`,
    },
    series: [{ label: "busy", colour: "idle", width: 0 }],
    plugins: [lanesPlugin(() => state.lanes)],
    onCursor: (index, u) => (value.textContent = index === null ? "" : itemText(state, u)),
    onMove: () => frame.announce(itemText(state, plot.u)),
  });
  frame.host.after(value);
  frame.setTable(COLUMNS.map((name) => name.replace("_s", " s")), () =>
    state.items.map((item) => COLUMNS.map((name) => (name === "candidates" ? item.candidates.length : item[name]))),
  );
  const update = () => {
    const kinds = [...new Set(state.items.map(({ kind }) => kind))];
    frame.legend.setItems([
      ...kinds.map((kind) => ({ label: kind, colour: kindColour(kind), shape: "area" })),
      { label: "idle", colour: "idle", shape: "area" },
    ]);
    const times = [...new Set(state.items.flatMap((item) => [item.started_s, item.ended_s]))].sort((a, b) => a - b);
    plot.setData([times, times.map(() => null)]);
    frame.setSummary(state.engines.map((engine, lane) => laneText(engine, state.byEngine[lane])).join(" "));
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
    onCursor: (index, u) => frame.legend.setValues([index === null ? "" : number(u.data[1][index])]),
    onMove: (index) => frame.announce(`${duration(plot.data[0][index])}: ${number(plot.data[1][index])} tokens per second`),
  });
  frame.legend.setItems([{ label: "tokens per second", colour: "series-1" }]);
  frame.setTable(["time s", "tokens per second"], () => plot.data[0].map((time, n) => [time, plot.data[1][n]]));
  const update = () => {
    plot.setData(throughput(state.items));
    const tokens = state.items.reduce((sum, item) => sum + item.tokens, 0);
    const until = state.items.reduce((latest, item) => Math.max(latest, item.ended_s), 0);
    frame.setSummary(`${compact(tokens)} tokens in ${duration(until)}: ${number(tokens / until)} a second.`);
  };
  return { root: frame.root, update, destroy: () => plot.destroy() };
}

function itemText({ engines, lanes }, u) {
  const place = (u.cursor.top / u.over.clientHeight) * engines.length;
  const lane = Math.min(engines.length - 1, Math.max(0, Math.floor(place)));
  const time = u.posToVal(u.cursor.left, "x");
  const item = itemAt(lanes[lane], time, place - lane);
  if (!item) return `Engine ${engines[lane]}, ${duration(time)}: nothing in this row`;
  const { kind, generation, candidates, tokens, started_s: start, ended_s: end } = item;
  const where = generation === null ? "" : `, generation ${generation}`;
  const who = candidates.length ? `candidates ${candidates.join(", ")}` : "base model";
  return `Engine ${item.engine}, ${duration(start)}: ${kind}${where}, ${who}, ${compact(tokens)} tokens in ${duration(end - start)}`;
}

function laneText(engine, items) {
  const { busy_frac: busy, longest_gap_s: gap, tokens_per_s: speed } = laneSummary(items);
  return `Engine ${engine}: busy ${percent(busy)}, longest gap ${duration(gap)}, ${number(speed)} tokens/s while busy.`;
}
