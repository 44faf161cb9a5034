// The tabs of a job that draw. Their modules know events and answers, not the page: what they need
// from it is handed to them here.

import { api } from "../api.js";
import { go, setQuery } from "../router.js";

const OF_A_SEARCH = ["fitness", "search", "values"];
/** Charts of a job by its method; one that is not named here is a search. */
const OF_METHOD = {
  constrained_evolution: [...OF_A_SEARCH, "constraints"],
  grpo: ["fitness", "training"],
  best_of_n: [],
};

/**
 * In order. `open({jobId, job, history, query, signal})` answers `{root, destroy}`:
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

/** Whether single generations can be looked at: where all weights of the adapter move, they are not kept. */
function keepsVectors(job) {
  return hasChart(job, "values") && job.essa.spec.search?.target !== "weights";
}

async function openFitness({ jobId, job, history }) {
  const { fitnessTab } = await import("./fitness.js");
  // A point of a training is a prompt, whose answers are many.
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
