// Matrices of signed numbers as colours around zero, side by side on one canvas, with a label per row
// and a cursor for mouse and keyboard.

import { channels, colours, onThemeChange } from "./theme.js";

const STOPS = ["low-2", "low-1", "middle", "high-1", "high-2"];
const ROW_PX = [5, 20];
const COLUMN_PX = [2, 56];
const TARGET_HEIGHT = 640;
const FONT = "11px system-ui, sans-serif";
const LABEL_PX = 12;
const HEAD_PX = 18;
const FOOT_PX = 16;
const GAP_PX = 14;

/**
 * A heat map in `host`, a focusable element. `onCell(cell, byKey)` is called with the cursor's cell:
 * `{row, column, panel}`, or null when it leaves; `byKey` says whether a key moved it.
 */
export class HeatMap {
  #panels = [];
  #labels = [];
  #limit = 1;
  #at = null;
  #canvas = document.createElement("canvas");

  constructor(host, { onCell }) {
    this.host = host;
    this.onCell = onCell;
    host.append(this.#canvas);
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => this.#move(null, false));
    host.addEventListener("keydown", (event) => this.#key(event));
    const observer = new ResizeObserver(() => this.#draw());
    observer.observe(host);
    const stop = onThemeChange(() => this.#draw());
    this.destroy = () => {
      stop();
      observer.disconnect();
    };
  }

  /** `panels`: `[{name, values}]` with `values[row][column]`; colours saturate at plus and minus `limit`. */
  set(panels, labels, limit) {
    [this.#panels, this.#labels, this.#limit] = [panels, labels, limit || 1];
    if (this.#at && this.#at.row >= labels.length) this.#at = null;
    this.#draw();
    if (this.#at) this.onCell(this.#at, false);
  }

  get #shape() {
    const widths = this.#panels.map(({ values }) => Math.max(1, ...values.map((row) => row.length)));
    const columns = widths.reduce((sum, width) => sum + width, 0);
    const rowPx = clamp(Math.floor(TARGET_HEIGHT / this.#labels.length), ...ROW_PX);
    const left = Math.min(0.4 * this.host.clientWidth, this.#labelWidth());
    const room = this.host.clientWidth - left - GAP_PX * (widths.length - 1);
    const columnPx = clamp(room / columns, ...COLUMN_PX);
    let from = left;
    const places = widths.map((width) => {
      const place = { left: from, width };
      from += width * columnPx + GAP_PX;
      return place;
    });
    return { rows: this.#labels.length, columns, rowPx, columnPx, left, places, right: from - GAP_PX };
  }

  #labelWidth() {
    const context = this.#canvas.getContext("2d");
    context.font = FONT;
    return 10 + Math.max(0, ...this.#labels.map((label) => context.measureText(label).width));
  }

  #draw() {
    if (!this.#labels.length || !this.host.clientWidth) return;
    const shape = this.#shape;
    const height = HEAD_PX + shape.rows * shape.rowPx + FOOT_PX;
    this.#canvas.width = Math.ceil(shape.right * devicePixelRatio);
    this.#canvas.height = Math.ceil(height * devicePixelRatio);
    this.#canvas.style.width = `${shape.right}px`;
    this.#canvas.style.height = `${height}px`;
    const context = this.#canvas.getContext("2d");
    context.scale(devicePixelRatio, devicePixelRatio);
    this.#drawCells(context, shape);
    this.#drawLabels(context, shape);
    if (this.#at) drawCursor(context, shape, this.#at);
  }

  #drawCells(context, { rowPx, columnPx, places }) {
    const colour = colourScale(this.#limit);
    const [across, down] = [columnPx > 6 ? 1 : 0, rowPx > 6 ? 1 : 0];
    this.#panels.forEach(({ values }, panel) => {
      values.forEach((row, r) => {
        row.forEach((value, c) => {
          context.fillStyle = colour(value);
          const [x, y] = [places[panel].left + c * columnPx, HEAD_PX + r * rowPx];
          context.fillRect(x, y, columnPx - across, rowPx - down);
        });
      });
    });
  }

  #drawLabels(context, { rows, rowPx, columnPx, left, places }) {
    context.font = FONT;
    context.fillStyle = colours().axis;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const every = Math.max(1, Math.ceil(LABEL_PX / rowPx));
    for (let r = 0; r < rows; r += every) {
      context.fillText(this.#labels[r], left - 6, HEAD_PX + (r + 0.5) * rowPx, left - 8);
    }
    const step = [1, 2, 4, 8, 16, 32, 64].find((n) => n * columnPx >= 22) ?? 64;
    this.#panels.forEach(({ name }, panel) => {
      context.textAlign = "left";
      context.fillText(name, places[panel].left, HEAD_PX / 2);
      context.textAlign = "center";
      for (let c = 0; c < places[panel].width; c += step) {
        context.fillText(String(c), places[panel].left + (c + 0.5) * columnPx, HEAD_PX + rows * rowPx + 9);
      }
    });
  }

  #point(event) {
    const { rows, rowPx, columnPx, places } = this.#shape;
    const row = Math.floor((event.offsetY - HEAD_PX) / rowPx);
    const panel = places.findLastIndex(({ left }) => event.offsetX >= left);
    const column = panel < 0 ? -1 : Math.floor((event.offsetX - places[panel].left) / columnPx);
    const isInside = panel >= 0 && column < places[panel].width && row >= 0 && row < rows;
    this.#move(isInside ? { row, column, panel } : null, false);
  }

  #key(event) {
    const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const step = steps[event.key];
    const { rows, columns, places } = this.#shape;
    if (!step || !rows || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (!this.#at) return this.#move({ row: 0, column: 0, panel: 0 }, true);
    const before = places.slice(0, this.#at.panel).reduce((sum, { width }) => sum + width, 0);
    let column = clamp(before + this.#at.column + step[1], 0, columns - 1);
    let panel = 0;
    while (column >= places[panel].width) column -= places[panel++].width;
    this.#move({ row: clamp(this.#at.row + step[0], 0, rows - 1), column, panel }, true);
  }

  #move(at, byKey) {
    this.#at = at;
    this.#draw();
    this.onCell(at, byKey);
  }
}

function drawCursor(context, { rowPx, columnPx, places }, { row, column, panel }) {
  context.strokeStyle = colours().text;
  context.lineWidth = 2;
  context.strokeRect(places[panel].left + column * columnPx, HEAD_PX + row * rowPx, columnPx, rowPx);
}

/** The colour of a value: neutral at 0, saturated at plus and minus `limit`. */
export function colourScale(limit) {
  const stops = STOPS.map((name) => channels(colours()[name]));
  return (value) => {
    if (value === null || !Number.isFinite(value)) return colours().surface;
    const place = (clamp(value / limit, -1, 1) + 1) * ((stops.length - 1) / 2);
    const n = Math.min(stops.length - 2, Math.floor(place));
    const mixed = stops[n].map((from, k) => Math.round(from + (place - n) * (stops[n + 1][k] - from)));
    return `rgb(${mixed.join(" ")})`;
  };
}

function clamp(value, low, high) {
  return Math.max(low, Math.min(high, value));
}
