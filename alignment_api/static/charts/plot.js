// One uPlot chart: size, theme, keyboard, zoom. The frame describes it in words.

import uPlot from "../vendor/uplot/uPlot.esm.js";
import { number } from "./format.js";
import { colours, faded, onThemeChange } from "./theme.js";

const FONT = "11px system-ui, sans-serif";
const ZOOM = 0.7;
const DOT_ROOM_PX = 9;

/**
 * A chart in `host`, a focusable element.
 *
 * `options`:
 * - `x`: `{label, format, log, whole, ticks}`; `whole` puts ticks on integers only.
 * - `y`: `{range, format, log, ticks}`; `range` is `(min, max) => [min, max]`, `ticks()` an array.
 * - `series`: `[{label, colour, width, dash, dots, hidden, isStepped}]`, the columns of the data after
 *   x; a stepped one holds its value until the next.
 * - `bands`: `[[upper, lower, colour, alpha]]`, column numbers counted from 1.
 * - `height`, `sync` (a name shared by charts that move together), `plugins`.
 * - `onCursor(index or null, u)`; `onPick(index, u)` for clicks, with null for u where a key chose;
 *   `onMove(index)` after keys, for what screen readers say.
 */
export class Plot {
  constructor(host, options) {
    this.options = options;
    this.host = host;
    this.data = [[], ...options.series.map(() => [])];
    this.u = new uPlot(this.#config(), this.data, host);
    this.#stops = [onThemeChange(() => this.u.redraw(false)), this.#followWidth()];
    host.addEventListener("keydown", (event) => this.#key(event));
    this.#followClicks();
  }

  #stops;
  #isZoomed = false;

  /** Show these columns, keeping the zoom. */
  setData(data) {
    this.data = data;
    const { min, max } = this.u.scales.x;
    const cursor = this.u.cursor.idx;
    this.u.batch(() => {
      this.u.setData(data, !this.#isZoomed);
      if (this.#isZoomed) this.u.setScale("x", { min, max });
    });
    if (cursor == null) this.options.onCursor?.(null, this.u);
  }

  /** Redraw the plugins' content. */
  redraw() {
    this.u.redraw(false);
  }

  /** Show or hide one column, counted from 1. */
  toggle(column, isShown) {
    this.u.setSeries(column, { show: isShown });
  }

  destroy() {
    for (const stop of this.#stops) stop();
    this.u.destroy();
  }

  #config() {
    const { series, bands = [], height = 220, sync, plugins = [], x, y = {} } = this.options;
    return {
      width: Math.max(160, this.host.clientWidth),
      height,
      plugins,
      padding: [8, 22, 0, 0],
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: true, y: false },
        sync: sync ? { key: sync, scales: ["x", null] } : undefined,
        points: { size: 7 },
      },
      scales: {
        x: { time: false, distr: x.log ? 3 : 1, range: (u, min, max) => xRange(x, min, max) },
        y: { distr: y.log ? 3 : 1, range: y.range && ((u, min, max) => y.range(min, max)) },
      },
      axes: [xAxis(x), yAxis(y)],
      series: [{}, ...series.map(seriesConfig)],
      bands: bands.map(([upper, lower, colour, alpha]) => ({
        series: [upper, lower],
        fill: () => (alpha ? faded(colours()[colour], alpha) : colours()[colour]),
      })),
      hooks: {
        setCursor: [(u) => this.options.onCursor?.(u.cursor.left >= 0 ? u.cursor.idx : null, u)],
        setScale: [(u, key) => key === "x" && this.#noteZoom()],
      },
    };
  }

  #noteZoom() {
    const xs = this.data[0];
    if (!this.u || !xs.length) return;
    const { min, max } = this.u.scales.x;
    const [low, high] = xRange(this.options.x, xs[0], xs[xs.length - 1]);
    this.#isZoomed = min > low || max < high;
  }

  #followWidth() {
    const observer = new ResizeObserver(() => {
      const width = this.host.clientWidth;
      if (width > 0 && width !== this.u.width) this.u.setSize({ width, height: this.u.height });
    });
    observer.observe(this.host);
    return () => observer.disconnect();
  }

  #followClicks() {
    if (!this.options.onPick) return;
    let downAt = null;
    this.u.over.addEventListener("mousedown", (event) => (downAt = event.clientX));
    this.u.over.addEventListener("click", (event) => {
      const isDrag = downAt !== null && Math.abs(event.clientX - downAt) > 4;
      if (!isDrag && this.u.cursor.idx != null) this.options.onPick(this.u.cursor.idx, this.u);
    });
  }

  #key(event) {
    const last = this.data[0].length - 1;
    if (last < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const at = this.u.cursor.left >= 0 ? this.u.cursor.idx : null;
    const step = event.shiftKey ? 10 : 1;
    const moves = {
      ArrowLeft: () => this.#moveTo(at === null ? last : Math.max(0, at - step)),
      ArrowRight: () => this.#moveTo(at === null ? 0 : Math.min(last, at + step)),
      Home: () => this.#moveTo(0),
      End: () => this.#moveTo(last),
      Escape: () => this.u.setCursor({ left: -10, top: -10 }, true, true),
      Enter: () => at !== null && this.options.onPick?.(at, null),
      "+": () => this.#zoom(ZOOM),
      "-": () => this.#zoom(1 / ZOOM),
      0: () => this.#zoom(Infinity),
    };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    move();
  }

  #moveTo(index) {
    const x = this.data[0][index];
    const { min, max } = this.u.scales.x;
    if (x < min || x > max) {
      this.u.batch(() => this.u.setScale("x", { min: x - (max - min) / 2, max: x + (max - min) / 2 }));
    }
    this.#point(index);
    this.options.onMove?.(index);
  }

  #point(index) {
    const left = this.u.valToPos(this.data[0][index], "x");
    this.u.setCursor({ left, top: this.u.over.clientHeight / 2 }, true, true);
  }

  #zoom(factor) {
    const xs = this.data[0];
    const [low, high] = [xs[0], xs[xs.length - 1]];
    const { min, max } = this.u.scales.x;
    const index = this.u.cursor.left >= 0 ? this.u.cursor.idx : null;
    const middle = index === null ? (min + max) / 2 : xs[index];
    const half = ((max - min) / 2) * factor;
    const isWhole = !(2 * half < high - low);
    const scale = isWhole ? { min: low, max: high } : { min: middle - half, max: middle + half };
    this.u.batch(() => this.u.setScale("x", scale));
    if (index !== null) this.#point(index);
  }
}

function xRange(x, min, max) {
  if (min === null || max === null) return [0, 1];
  if (x.log) return [min / 1.3, max * 1.3];
  if (x.whole) return [Math.floor(min + 0.5) - 0.5, Math.ceil(max - 0.5) + 0.5];
  return min === max ? [min - 0.5, max + 0.5] : [min, max];
}

function xAxis({ label, format, whole, ticks }) {
  return {
    ...axisLook(),
    label,
    labelSize: 16,
    size: 26,
    space: 56,
    splits: ticks && (() => ticks),
    filter: ticks && ((u, splits) => splits),
    incrs: whole ? [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] : undefined,
    values: format && ((u, splits) => splits.map((value) => (value === null ? "" : format(value)))),
  };
}

function yAxis({ format = number, ticks }) {
  return {
    ...axisLook(),
    size: 56,
    space: 32,
    splits: ticks && (() => ticks()),
    values: (u, splits) => splits.map((value) => (value === null ? "" : format(value))),
  };
}

function axisLook() {
  return {
    font: FONT,
    labelFont: FONT,
    labelGap: 0,
    stroke: () => colours().axis,
    grid: { stroke: () => colours().grid, width: 1 },
    ticks: { stroke: () => colours().grid, width: 1, size: 4 },
    gap: 4,
  };
}

function seriesConfig({ label, colour, width = 1.5, dash, dots, hidden, fade, isStepped }) {
  const stroke = () => {
    const found = colours()[colour];
    return fade ? faded(found, fade) : found;
  };
  return {
    label,
    stroke,
    width,
    dash,
    show: !hidden,
    spanGaps: true,
    paths: isStepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
    points: { show: (u, n, from, to) => hasDots(u, dots, u.data[n], from, to), size: 6, stroke, fill: stroke, width: 1 },
  };
}

function hasDots(u, isWanted, column, from, to) {
  if (!isWanted) return u.data[0].length < 3;
  let count = 0;
  for (let n = from; n <= to; n += 1) if (column[n] !== null) count += 1;
  return u.over.clientWidth / count > DOT_ROOM_PX;
}
