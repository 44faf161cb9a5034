// A line chart without axes, the size of a word.

import { isNumber, number } from "../charts/format.js";
import { svg } from "../dom.js";

const [WIDTH, HEIGHT, EDGE] = [96, 24, 2];

/** Mean fitness over generations; screen readers get the first and last values. */
export function sparkline(values) {
  const known = values.filter(isNumber);
  const label = known.length ? `Mean fitness from ${number(known[0])} to ${number(known.at(-1))}` : "No generation yet";
  const root = svg("svg", { class: "sparkline", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": label });
  root.append(svg("title", {}, label));
  if (known.length < 2) {
    if (known.length) root.append(svg("circle", { class: "spark-end", cx: WIDTH / 2, cy: HEIGHT / 2, r: 2 }));
    return root;
  }
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = (n) => EDGE + ((WIDTH - 2 * EDGE) * n) / (known.length - 1);
  const y = (value) => HEIGHT - EDGE - ((HEIGHT - 2 * EDGE) * (value - low)) / (high - low || 1);
  const points = known.map((value, n) => `${x(n).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
  root.append(svg("polyline", { class: "spark-line", points }));
  root.append(svg("circle", { class: "spark-end", cx: x(known.length - 1), cy: y(known.at(-1)), r: 2 }));
  return root;
}
