// The tabs of a job that draw. Their modules know events and answers, not the page: what they need
// from it is handed to them here.

import { api } from "../api.js";
import { go, setQuery } from "../router.js";

/**
 * In order. `open({jobId, job, history, query, signal})` answers `{root, destroy}`:
 * - `history` is the job's `History`, fed by the page;
 * - `query` is the URLSearchParams of the address; `signal` aborts when the tab is left.
 */
export const CHART_TABS = [
  { name: "fitness", title: "Fitness", open: openFitness, isShown: (job) => isSearch(job) || isTraining(job) },
  {
    name: "search",
    title: "Search",
    open: async (given) => (await import("./search_state.js")).searchTab(given),
    isShown: isSearch,
  },
  {
    name: "training",
    title: "Training",
    open: async (given) => (await import("./training.js")).trainingTab(given),
    isShown: isTraining,
  },
  { name: "values", title: "Singular values", open: openSingularValues, isShown: keepsVectors },
  {
    name: "constraints",
    title: "Constraints",
    open: async (given) => (await import("./constraints.js")).constraintsTab(given),
    isShown: (job) => job.method.type === "constrained_evolution",
  },
  { name: "completions", title: "Completions", open: openCompletions },
  { name: "workers", title: "Workers", open: openTimeline },
];

function isTraining(job) {
  return job.method.type === "grpo";
}

function isSearch(job) {
  return !["grpo", "best_of_n"].includes(job.method.type);
}

/** Whether single generations can be looked at: where all weights of the adapter move, they are not kept. */
function keepsVectors(job) {
  return isSearch(job) && job.essa.spec.search?.target !== "weights";
}

async function openFitness({ jobId, job, history }) {
  const { fitnessTab } = await import("./fitness.js");
  const onPick = (generation, candidate) => {
    // A point of a training is a prompt; its answers are many.
    const isCandidate = candidate !== null && !isTraining(job);
    const query = new URLSearchParams({ set: "train", generation, ...(isCandidate && { candidate }) });
    go(`/jobs/${encodeURIComponent(jobId)}/completions?${query}`);
  };
  return fitnessTab({ history, onPick, point: isTraining(job) ? "prompt" : "candidate" });
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
