// Tab: updates of a gradient method, step by step, and where the time went.

import { duration, percent } from "../charts/format.js";
import { el } from "../dom.js";
import { lineChart } from "./components.js";

const SYNC = "training";
const SHARE = (min, max) => [0, Math.max(0.05, (max ?? 0) * 1.1)];

const CHARTS = [
  { title: "Loss", lines: ["training loss"], note: "Of the policy, averaged over the updates of a step. It is near 0 by construction; its sign says little." },
  { title: "Gradient norm", lines: ["training grad_norm"], note: "Before clipping. Zero where no group had answers of different scores." },
  { title: "Entropy", lines: ["training entropy"], note: "Of the next token, in nats. Where it falls to 0, answers of a group are all alike." },
  { title: "KL divergence", lines: ["training kl"], note: "From the warm start, in nats a token." },
  { title: "Clipped ratios", lines: ["training clip_ratio"], note: "Share of tokens whose probability ratio was clipped; 0 with one update a step.", range: SHARE },
  { title: "Groups without signal", lines: ["training groups_without_signal_frac"], note: "Share of prompts whose answers all have one score, and teach nothing.", range: SHARE },
  { title: "Unfinished answers", lines: ["training unfinished_frac"], note: "Share of answers cut off at rollout.max_tokens.", range: SHARE },
  { title: "Answer length", lines: ["training mean_length"], note: "Mean tokens of an answer." },
  { title: "Learning rate", lines: ["training learning_rate"], note: "Averaged over the updates of a step." },
  { title: "Step norm", lines: ["step_norm"], note: "How far the adapter's weights moved in the step." },
  { title: "Distance from start", lines: ["distance"], note: "Of the adapter from the warm start; every weight counts in units of its factor's root mean square there." },
];

/** See `CHART_TABS`. */
export function trainingTab({ history }) {
  const grid = el("div", { class: "chart-grid" });
  const seconds = secondsChart(history);
  const charts = new Map();
  const update = () => {
    for (const { title, lines, note, range } of CHARTS) {
      // Without a KL coefficient there is no divergence, and so on: no empty frames.
      if (!charts.has(title) && lines.some((name) => history.column(name).some((value) => value !== null))) {
        charts.set(title, lineChart({ title, note, range, history, sync: SYNC, lines: lines.map((column) => ({ label: words(column), column, series: CHARTS.findIndex((one) => one.title === title) })) }));
        replaceOrdered(grid, charts);
      }
    }
    [...charts.values(), seconds].forEach((chart) => chart.update());
  };
  update();
  const stop = history.onChange(update);
  return {
    root: el("div", {}, seconds.root, grid),
    destroy: () => {
      stop();
      [...charts.values(), seconds].forEach((chart) => chart.destroy());
    },
  };
}

/** Charts keep the order of `CHARTS`, whenever their data arrives. */
function replaceOrdered(grid, charts) {
  grid.replaceChildren(...CHARTS.filter(({ title }) => charts.has(title)).map(({ title }) => charts.get(title).root));
}

function secondsChart(history) {
  const parts = [
    { label: "rollouts", column: "rollout_s" },
    { label: "reward", column: "reward_s" },
    { label: "training", column: "train_s" },
    { label: "everything else", column: "coordinator_s" },
  ];
  return lineChart({
    title: "Seconds of a step",
    note: "Rollouts and training in turn; validation is not in it.",
    history,
    sync: SYNC,
    lines: parts.map((part, series) => ({ ...part, series })),
    range: (min, max) => [0, Math.max(0.1, (max ?? 0) * 1.1)],
    describe: () => describeSeconds(history, parts),
  });
}

function describeSeconds(history, parts) {
  const sums = parts.map(({ column }) => history.column(column).reduce((sum, value) => sum + (value ?? 0), 0));
  const all = sums.reduce((sum, value) => sum + value, 0);
  if (!all) return "No step has finished yet.";
  const shares = parts.map(({ label }, n) => `${label} ${percent(sums[n] / all)}`);
  return `${duration(all)} so far: ${shares.join(", ")}.`;
}

function words(column) {
  return column.replace("training ", "").replaceAll("_", " ").replace(" frac", "");
}
