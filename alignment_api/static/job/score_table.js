// Test scores of several jobs with their intervals, as numbers and as bars on one scale.

import { interval } from "../charts/format.js";
import { el, svg } from "../dom.js";

const MODELS = [["base", "base"], ["warm_start", "warm start"], ["aligned", "aligned"]];
const [WIDTH, HEIGHT] = [140, 14];

/** A table of all jobs in `groups`. */
export function scoreTable(groups) {
  const entries = groups.flatMap(({ jobs, colour }) => jobs.map((entry) => ({ ...entry, colour })));
  const scale = scaleOf(entries);
  const head = ["Job", "Seed", ...MODELS.map(([, name]) => name), "Method", "Status"];
  const rows = entries.map((entry) => row(entry, scale));
  return el(
    "section",
    { class: "chart" },
    el("h2", { class: "chart-title" }, "Test scores"),
    el("p", { class: "chart-note" }, "Mean with the 95 % interval over test prompts, scored once at the end. Bars share one scale."),
    el(
      "div",
      { class: "chart-table", tabindex: "0", role: "region", "aria-label": "Test scores" },
      el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))), el("tbody", {}, ...rows)),
    ),
  );
}

function row({ job, test, colour }, scale) {
  const link = el("a", { href: `#/jobs/${encodeURIComponent(job.id)}/fitness` }, job.name);
  const key = el("span", { class: `chart-key key-dot colour-${colour}` });
  const scores = MODELS.map(([name]) => scoreCell(test?.[name], scale, colour));
  const rest = [job.method.replaceAll("_", " "), job.status].map((text) => el("td", {}, text));
  return el("tr", {}, el("td", {}, key, " ", link), el("td", {}, job.seed), scores, rest);
}

function scoreCell(score, scale, colour) {
  if (!score) return el("td", {}, "–");
  return el("td", {}, el("span", {}, interval(score.mean, score.ci95)), bar(score, scale, colour));
}

function scaleOf(entries) {
  const ends = entries.flatMap(({ test }) => Object.values(test ?? {}).flatMap(({ mean, ci95 }) => ci95 ?? [mean]));
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  return (value) => 4 + ((WIDTH - 8) * (value - low)) / (high - low || 1);
}

function bar({ mean, ci95 }, scale, colour) {
  const [low, high] = ci95 ?? [mean, mean];
  const middle = HEIGHT / 2;
  return svg(
    "svg",
    { class: `score-bar colour-${colour}`, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, "aria-hidden": "true" },
    svg("line", { x1: scale(low), x2: scale(high), y1: middle, y2: middle, stroke: "currentColor", "stroke-width": 2 }),
    svg("circle", { cx: scale(mean), cy: middle, r: 3.5, fill: "currentColor" }),
  );
}
