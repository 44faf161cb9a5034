// Colours of the charts, read from CSS variables: a canvas cannot resolve `var()` or `light-dark()`.

const NAMES = [
  "grid", "axis", "text", "surface", "candidate", "band", "mean", "best", "worst", "validation",
  "bad", "bad-area", "good", "idle",
  "series-1", "series-2", "series-3", "series-4", "series-5", "series-6",
  "low-2", "low-1", "middle", "high-1", "high-2",
];
export const SERIES_COLOURS = 6;

let cached = null;

/** Every chart colour as `rgb(...)`, by name without the prefix `--chart-`. */
export function colours() {
  cached ??= resolve();
  return cached;
}

/** The colour of the n-th of many series, counted from 0. */
export function seriesColour(n) {
  return colours()[`series-${(n % SERIES_COLOURS) + 1}`];
}

/** Parse a colour into `[red, green, blue]`. */
export function channels(colour) {
  return colour.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/** The same colour with opacity `alpha`. */
export function faded(colour, alpha) {
  return `rgb(${channels(colour).join(" ")} / ${alpha})`;
}

const listeners = new Set();

/** Call `redraw` whenever the theme changes; returns a function that stops it. */
export function onThemeChange(redraw) {
  listeners.add(redraw);
  return () => listeners.delete(redraw);
}

function resolve() {
  const probe = document.createElement("span");
  probe.hidden = true;
  document.body.append(probe);
  const found = {};
  for (const name of NAMES) {
    probe.style.color = `var(--chart-${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

function changed() {
  cached = null;
  for (const redraw of listeners) redraw();
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
new MutationObserver(changed).observe(document.documentElement, {
  attributes: true,
  attributeFilter: ["data-theme", "class"],
});
