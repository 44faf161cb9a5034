// Overlays that uPlot lacks: intervals, thresholds, marked generations, shaded ranges.

import { colours, faded } from "./theme.js";

const CLOSEST_PX = 9;

/** 95 % intervals as whiskers, or as a band where whiskers would touch. `rows()`: `[{x, low, high}]`. */
export function intervalPlugin(rows, colour) {
  return drawn("draw", (u, context) => {
    const { min, max } = u.scales.x;
    const shown = rows()
      .filter(({ x }) => x >= min && x <= max)
      .map(({ x, low, high }) => [u.valToPos(x, "x", true), u.valToPos(low, "y", true), u.valToPos(high, "y", true)]);
    const isDense = shown.length > 2 && u.bbox.width / shown.length < CLOSEST_PX * devicePixelRatio;
    if (isDense) drawBand(context, shown, faded(colours()[colour], 0.25));
    else drawWhiskers(context, shown, colours()[colour]);
  });
}

function drawWhiskers(context, places, colour) {
  const cap = 3 * devicePixelRatio;
  context.strokeStyle = colour;
  context.lineWidth = 1.25 * devicePixelRatio;
  context.beginPath();
  for (const [x, low, high] of places) {
    context.moveTo(x, low);
    context.lineTo(x, high);
    for (const end of [low, high]) {
      context.moveTo(x - cap, end);
      context.lineTo(x + cap, end);
    }
  }
  context.stroke();
}

function drawBand(context, places, colour) {
  context.fillStyle = colour;
  context.beginPath();
  for (const [x, low] of places) context.lineTo(x, low);
  for (const [x, , high] of places.toReversed()) context.lineTo(x, high);
  context.fill();
}

/** Horizontal lines with a label. `lines()` yields `{y, label, colour, side}`; `side`, "above" or
 * "below", is the violating side, which is shaded. */
export function thresholdPlugin(lines) {
  return drawn("drawAxes", (u, context) => {
    const { left, top, width, height } = u.bbox;
    for (const { y, label, colour = "bad", side } of lines()) {
      const py = u.valToPos(y, "y", true);
      context.fillStyle = colours()["bad-area"];
      if (side === "above") context.fillRect(left, top, width, py - top);
      if (side === "below") context.fillRect(left, py, width, top + height - py);
      context.strokeStyle = colours()[colour];
      context.lineWidth = devicePixelRatio;
      context.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
      line(context, left, py, left + width, py);
      write(context, label, left + width - 4 * devicePixelRatio, py, "right");
    }
  });
}

/** Vertical lines with a label. `marks()` yields `{x, label, colour}`. */
export function markPlugin(marks) {
  return drawn("draw", (u, context) => {
    const { left, top, width, height } = u.bbox;
    for (const { x, label, colour = "axis" } of marks()) {
      if (x < u.scales.x.min || x > u.scales.x.max) continue;
      const px = u.valToPos(x, "x", true);
      context.strokeStyle = colours()[colour];
      context.lineWidth = devicePixelRatio;
      context.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
      line(context, px, top, px, top + height);
      const isRight = px > left + width / 2;
      const shift = (isRight ? -5 : 5) * devicePixelRatio;
      write(context, label, px + shift, top + 14 * devicePixelRatio, isRight ? "right" : "left");
    }
  });
}

/** Shaded ranges of x. `stretches()` yields `{from, to}`. */
export function stretchPlugin(stretches) {
  return drawn("drawClear", (u, context) => {
    const { left, top, width, height } = u.bbox;
    context.fillStyle = colours()["bad-area"];
    for (const { from, to } of stretches()) {
      const start = Math.max(left, u.valToPos(from, "x", true));
      const end = Math.min(left + width, u.valToPos(to, "x", true));
      if (end > start) context.fillRect(start, top, end - start, height);
    }
  });
}

function drawn(hook, draw) {
  return {
    hooks: {
      [hook]: (u) => {
        const { left, top, width, height } = u.bbox;
        u.ctx.save();
        u.ctx.beginPath();
        u.ctx.rect(left, top, width, height);
        u.ctx.clip();
        draw(u, u.ctx);
        u.ctx.restore();
      },
    },
  };
}

function line(context, x1, y1, x2, y2) {
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x2, y2);
  context.stroke();
}

function write(context, text, x, y, align) {
  if (!text) return;
  context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  context.textAlign = align;
  context.textBaseline = "bottom";
  context.lineWidth = 3 * devicePixelRatio;
  context.setLineDash([]);
  context.strokeStyle = faded(colours().surface, 0.85);
  context.strokeText(text, x, y - 2 * devicePixelRatio);
  context.fillStyle = colours().text;
  context.fillText(text, x, y - 2 * devicePixelRatio);
}
