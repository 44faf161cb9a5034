// Work items as bars on one lane an engine: a uPlot plugin, so that time, zoom and cursor are shared
// with the charts beside it.

import { colours } from "./theme.js";

const COLOURS = {
  generation: "series-1",
  validation: "validation",
  test: "series-4",
  warm_start: "series-5",
  ladder: "series-3",
  gate: "series-6",
};

/** Name of the colour of a kind of work. */
export function kindColour(kind) {
  return COLOURS[kind] ?? "series-2";
}

/** Draw the lanes. `lanes()` yields arrays of items, oldest first; each has its band of y = 1. */
export function lanesPlugin(lanes) {
  return { hooks: { draw: (u) => draw(u, lanes()) } };
}

function draw(u, lanes) {
  const { left, top, width, height } = u.bbox;
  const { min, max } = u.scales.x;
  const perSecond = width / (max - min);
  const laneHeight = height / lanes.length;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  lanes.forEach((items, lane) => {
    const y = top + lane * laneHeight + 0.14 * laneHeight;
    u.ctx.fillStyle = colours().idle;
    u.ctx.fillRect(left, y, width, 0.72 * laneHeight);
    for (const { kind, started_s: start, ended_s: end } of items) {
      if (end < min || start > max) continue;
      u.ctx.fillStyle = colours()[kindColour(kind)];
      const px = left + (start - min) * perSecond;
      const wide = (end - start) * perSecond;
      const gap = wide > 4 * devicePixelRatio ? devicePixelRatio : 0;
      u.ctx.fillRect(px, y, Math.max(devicePixelRatio / 2, wide - gap), 0.72 * laneHeight);
    }
  });
  u.ctx.restore();
}

/** The item under a point of time, or null; items are oldest first. */
export function itemAt(items, time) {
  let [low, high] = [0, items.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (items[middle].started_s > time) high = middle - 1;
    else low = middle + 1;
  }
  const found = items[high];
  return found && found.ended_s >= time ? found : null;
}

/** How busy a lane was: `{busy_frac, longest_gap_s, tokens_per_s}` between its first and last item. */
export function laneSummary(items) {
  if (!items.length) return { busy_frac: null, longest_gap_s: null, tokens_per_s: null };
  let [busy, gap, tokens, until] = [0, 0, 0, items[0].started_s];
  for (const { started_s: start, ended_s: end, tokens: made } of items) {
    gap = Math.max(gap, start - until);
    busy += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
    tokens += made ?? 0;
  }
  const span = until - items[0].started_s;
  return { busy_frac: span ? busy / span : 1, longest_gap_s: gap, tokens_per_s: busy ? tokens / busy : null };
}
