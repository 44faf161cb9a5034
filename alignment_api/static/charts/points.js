// Every candidate as a point, drawn under the lines of a uPlot chart. Few points are drawn as discs;
// many as counts in small cells, so that the cost of a redraw does not depend on their number.

import { channels, colours, faded } from "./theme.js";

const DISCS_UP_TO = 3000;
const CELL_PX = 1.5;
const SPREAD = 0.6;

/** Candidates' fitness by generation, in growing arrays, of which the first `count` are shown. */
export class PointCloud {
  x = new Float64Array(1024);
  y = new Float64Array(1024);
  size = 0;
  count = 0;
  #rows = new Map();

  /** Set the candidates of a generation, replacing earlier ones; missing scores draw no point. */
  add(generation, fitness) {
    this.#forget(generation);
    this.#reserve(this.size + fitness.length);
    const start = this.size;
    fitness.forEach((value, candidate) => {
      if (value === null || !Number.isFinite(value)) return;
      const offset = (candidate + 0.5) / fitness.length - 0.5;
      this.x[this.size] = generation + SPREAD * offset;
      this.y[this.size] = value;
      this.size += 1;
    });
    this.#rows.set(generation, { start, end: this.size, fitness });
    this.count += this.size - start;
  }

  /** The candidate of a generation with the fitness nearest to `value`, or null. */
  nearest(generation, value) {
    const fitness = this.#rows.get(generation)?.fitness ?? [];
    let found = null;
    fitness.forEach((y, candidate) => {
      if (y === null || !Number.isFinite(y)) return;
      const distance = Math.abs(y - value);
      if (!found || distance < found.distance) found = { candidate, fitness: y, distance };
    });
    return found;
  }

  #forget(generation) {
    const { start = 0, end = 0 } = this.#rows.get(generation) ?? {};
    this.y.fill(NaN, start, end);
    this.count -= end - start;
  }

  #reserve(size) {
    if (size <= this.x.length) return;
    for (const name of ["x", "y"]) {
      const larger = new Float64Array(2 * size);
      larger.set(this[name].subarray(0, this.size));
      this[name] = larger;
    }
  }
}

/** A uPlot plugin that draws the cloud. */
export function pointsPlugin(cloud) {
  const picture = document.createElement("canvas");
  return { hooks: { drawAxes: (u) => draw(u, cloud, picture) } };
}

function draw(u, cloud, picture) {
  const started = performance.now();
  const { left, top, width, height } = u.bbox;
  if (!cloud.size || width <= 0 || height <= 0) return;
  const frame = { left, top, width, height, ...u.scales };
  u.ctx.save();
  u.ctx.beginPath();
  u.ctx.rect(left, top, width, height);
  u.ctx.clip();
  const shown = countShown(cloud, frame.x);
  if (shown <= DISCS_UP_TO) drawDiscs(u.ctx, cloud, frame);
  else drawCells(u.ctx, cloud, frame, picture);
  u.ctx.restore();
  performance.measure("chart-points", { start: started, detail: { points: shown } });
}

function countShown(cloud, scale) {
  let count = 0;
  for (let n = 0; n < cloud.size; n += 1) {
    if (cloud.x[n] >= scale.min && cloud.x[n] <= scale.max) count += 1;
  }
  return count;
}

function drawDiscs(context, cloud, { left, top, width, height, x, y }) {
  const radius = 2.2 * devicePixelRatio;
  const [kx, ky] = [width / (x.max - x.min), height / (y.max - y.min)];
  context.fillStyle = faded(colours().candidate, 0.55);
  context.beginPath();
  for (let n = 0; n < cloud.size; n += 1) {
    if (cloud.x[n] < x.min || cloud.x[n] > x.max) continue;
    const [px, py] = [left + (cloud.x[n] - x.min) * kx, top + (y.max - cloud.y[n]) * ky];
    context.moveTo(px + radius, py);
    context.arc(px, py, radius, 0, 2 * Math.PI);
  }
  context.fill();
}

function drawCells(context, cloud, { left, top, width, height, x, y }, picture) {
  const cell = Math.max(1, Math.round(CELL_PX * devicePixelRatio));
  const [columns, rows] = [Math.ceil(width / cell), Math.ceil(height / cell)];
  const counts = new Uint16Array(columns * rows);
  const [kx, ky] = [width / cell / (x.max - x.min), height / cell / (y.max - y.min)];
  for (let n = 0; n < cloud.size; n += 1) {
    const column = Math.floor((cloud.x[n] - x.min) * kx);
    const row = Math.floor((y.max - cloud.y[n]) * ky);
    if (column < 0 || column >= columns || row < 0 || row >= rows) continue;
    counts[row * columns + column] += 1;
  }
  picture.width = columns;
  picture.height = rows;
  picture.getContext("2d").putImageData(shaded(counts, columns, rows), 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(picture, left, top, columns * cell, rows * cell);
}

function shaded(counts, columns, rows) {
  const image = new ImageData(columns, rows);
  const [red, green, blue] = channels(colours().candidate);
  for (let n = 0; n < counts.length; n += 1) {
    if (!counts[n]) continue;
    image.data[4 * n] = red;
    image.data[4 * n + 1] = green;
    image.data[4 * n + 2] = blue;
    image.data[4 * n + 3] = Math.min(235, 90 + 55 * Math.log2(counts[n]));
  }
  return image;
}
