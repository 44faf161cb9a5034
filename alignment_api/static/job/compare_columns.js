// Curves of several jobs on one x axis: jobs that differ only in their seed become a mean and a band.

import { finite } from "./history.js";

/**
 * `groups`: `[{name, jobs: [{points}]}]`. Returns `{xs, groups: [{jobs: [column], mean, low, high}]}`,
 * with nulls for unknown values; mean and band only for groups of several jobs, and only over the
 * range that all of them cover.
 */
export function compareColumns(groups, xName, yName) {
  const curves = groups.map(({ jobs }) => jobs.map(({ points }) => curve(points, xName, yName)));
  const xs = [...new Set(curves.flat().flatMap(({ x }) => x))].sort((a, b) => a - b);
  return { xs, groups: curves.map((jobs) => groupColumns(jobs, xs)) };
}

function curve(points, xName, yName) {
  const known = points
    .filter((point) => finite(point[xName]) !== null && finite(point[yName]) !== null)
    .sort((a, b) => a[xName] - b[xName]);
  return { x: known.map((point) => point[xName]), y: known.map((point) => point[yName]) };
}

function groupColumns(jobs, xs) {
  const columns = jobs.map(({ x, y }) => {
    const found = new Map(x.map((value, n) => [value, y[n]]));
    return xs.map((value) => found.get(value) ?? null);
  });
  if (jobs.length < 2) return { jobs: columns, mean: null, low: null, high: null };
  const [mean, low, high] = [[], [], []];
  for (const x of xs) {
    const values = jobs.map((job) => interpolated(job, x));
    const isWhole = values.every((value) => value !== null);
    mean.push(isWhole ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
    low.push(isWhole ? Math.min(...values) : null);
    high.push(isWhole ? Math.max(...values) : null);
  }
  return { jobs: columns, mean, low, high };
}

/** The curve at `at`, interpolated linearly; null outside its range. */
export function interpolated({ x, y }, at) {
  if (!x.length || at < x[0] || at > x.at(-1)) return null;
  let [low, high] = [0, x.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (x[middle] <= at) low = middle;
    else high = middle;
  }
  if (x[high] === x[low]) return y[low];
  return y[low] + ((at - x[low]) / (x[high] - x[low])) * (y[high] - y[low]);
}
