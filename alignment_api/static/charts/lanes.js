// Work items as bars, one lane per engine: a uPlot plugin, so that time, zoom and cursor are shared
// with the charts beside it. A lane has several rows, because an engine's items overlap.

import { colours } from "./theme.js";

const MOST_ROWS = 16;
const LANE_SHARE = 0.8;
const COLOURS = { train: "series-1", validation: "validation", ladder: "series-3", test: "series-4" };

/** The colour name of a kind of work. */
export function kindColour(kind) {
  return COLOURS[kind] ?? "series-5";
}

/** Distribute items, sorted by start, over rows so that no two in a row overlap. */
export function packed(items) {
  const rows = [];
  for (const item of items) {
    const free = rows.find((row) => row.at(-1).ended_s <= item.started_s);
    if (free) free.push(item);
    else if (rows.length < MOST_ROWS) rows.push([item]);
    else rows.at(-1).push(item);
  }
  return rows;
}

/** Draw the lanes. `lanes()` yields one array of rows per engine, from top to bottom. */
export function lanesPlugin(lanes) {
  return { hooks: { draw: (u) => draw(u, lanes()) } };
}

function draw(u, lanes) {
  const { left, top, width, height } = u.bbox;
  const laneHeight = height / lanes.length;
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  lanes.forEach((rows, lane) => {
    const y = top + (lane + (1 - LANE_SHARE) / 2) * laneHeight;
    const tall = LANE_SHARE * laneHeight;
    u.ctx.fillStyle = colours().idle;
    u.ctx.fillRect(left, y, width, tall);
    rows.forEach((row, n) => drawRow(u, row, y + (n * tall) / rows.length, tall / rows.length));
  });
  u.ctx.restore();
}

function drawRow(u, items, y, tall) {
  const { left, width } = u.bbox;
  const { min, max } = u.scales.x;
  const perSecond = width / (max - min);
  const gap = tall > 5 * devicePixelRatio ? devicePixelRatio : 0;
  for (const { kind, started_s: start, ended_s: end } of items) {
    if (end < min || start > max) continue;
    u.ctx.fillStyle = colours()[kindColour(kind)];
    const wide = (end - start) * perSecond;
    const between = wide > 4 * devicePixelRatio ? devicePixelRatio : 0;
    u.ctx.fillRect(left + (start - min) * perSecond, y, Math.max(devicePixelRatio / 2, wide - between), tall - gap);
  }
}

/** The item at a time and at `height` within the lane, from its top (0 to 1), or null. */
export function itemAt(rows, time, height) {
  const within = (height - (1 - LANE_SHARE) / 2) / LANE_SHARE;
  const row = rows[Math.floor(within * rows.length)];
  if (!row) return null;
  let [low, high] = [0, row.length - 1];
  while (low <= high) {
    const middle = (low + high) >> 1;
    if (row[middle].started_s > time) high = middle - 1;
    else low = middle + 1;
  }
  const found = row[high];
  return found && found.ended_s >= time ? found : null;
}

/**
 * Utilisation of an engine between its first and last item, from items sorted by start:
 * `{busy_frac, longest_gap_s, tokens_per_s}`; tokens are counted over busy time.
 */
export function laneSummary(items) {
  if (!items.length) return { busy_frac: null, longest_gap_s: null, tokens_per_s: null };
  let [busy, gap, tokens, until] = [0, 0, 0, items[0].started_s];
  for (const { started_s: start, ended_s: end, tokens: made } of items) {
    gap = Math.max(gap, start - until);
    busy += Math.max(0, end - Math.max(start, until));
    until = Math.max(until, end);
    tokens += made;
  }
  const span = until - items[0].started_s;
  return { busy_frac: span ? busy / span : 1, longest_gap_s: gap, tokens_per_s: busy ? tokens / busy : null };
}
