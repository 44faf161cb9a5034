// The tabs of a job that have charts. Their modules know events and answers, but not the page: they
// receive from here whatever they need of it.

import { api } from "../api.js";
import { go, setQuery } from "../router.js";

const OF_A_SEARCH = ["fitness", "search", "values"];
/** Tabs by method; a method that is not listed is a search. */
const OF_METHOD = {
  constrained_evolution: [...OF_A_SEARCH, "constraints"],
  grpo: ["fitness", "training"],
  best_of_n: [],
};

/**
 * In display order. `open({jobId, job, history, query, signal})` returns `{root, destroy}`:
 * - `history` is the job's `History`, fed by the page;
 * - `query` is the URLSearchParams of the address; `signal` aborts when the tab is left.
 */
export const CHART_TABS = [
  { name: "fitness", title: "Fitness", open: openFitness, isShown: (job) => hasChart(job, "fitness") },
  {
    name: "search",
    title: "Search",
    open: async (given) => (await import("./search_state.js")).searchTab(given),
    isShown: (job) => hasChart(job, "search"),
  },
  {
    name: "training",
    title: "Training",
    open: async (given) => (await import("./training.js")).trainingTab(given),
    isShown: (job) => hasChart(job, "training"),
  },
  { name: "values", title: "Singular values", open: openSingularValues, isShown: keepsVectors },
  {
    name: "constraints",
    title: "Constraints",
    open: async (given) => (await import("./constraints.js")).constraintsTab(given),
    isShown: (job) => hasChart(job, "constraints"),
  },
  { name: "completions", title: "Completions", open: openCompletions },
  { name: "workers", title: "Workers", open: openTimeline },
];

function hasChart(job, name) {
  return (OF_METHOD[job.method.type] ?? OF_A_SEARCH).includes(name);
}

/** Whether single generations are kept: not if the method moves all weights of the adapter. */
function keepsVectors(job) {
  return hasChart(job, "values") && job.essa.spec.search?.target !== "weights";
}

async function openFitness({ jobId, job, history }) {
  const { fitnessTab } = await import("./fitness.js");
  // In training, a point is a prompt, with the mean over its answers.
  const point = hasChart(job, "training") ? "prompt" : "candidate";
  const onPick = (generation, candidate) => {
    const picked = point === "candidate" && candidate !== null && { candidate };
    const query = new URLSearchParams({ set: "train", generation, ...picked });
    go(`/jobs/${encodeURIComponent(jobId)}/completions?${query}`);
  };
  return fitnessTab({ history, onPick, point });
}

async function openSingularValues({ jobId, history, signal }) {
  const { singularValuesTab } = await import("./singular_values.js");
  return singularValuesTab({ history, load: (generation) => record("singular_values", jobId, { generation }, signal) });
}

async function openCompletions({ jobId, query, signal }) {
  const { completionsTab } = await import("./completions.js");
  let shown = Object.fromEntries(query);
  return completionsTab({
    load: (wanted) => record("rollouts", jobId, wanted, signal),
    filters: shown,
    onFilters: (filters) => {
      const gone = Object.fromEntries(Object.keys(shown).map((name) => [name, null]));
      setQuery({ ...gone, ...filters });
      shown = filters;
    },
  });
}

async function openTimeline({ jobId, history, signal }) {
  const { timelineTab } = await import("./timeline.js");
  return timelineTab({ history, load: (after) => record("timeline", jobId, { after }, signal) });
}

function record(name, jobId, query, signal) {
  return api.get(`/v1/fine_tuning/jobs/${encodeURIComponent(jobId)}/${name}`, { query, signal });
}
