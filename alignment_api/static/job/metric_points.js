// Points of the compare page, updated from events of a running job.

import { finite } from "./history.js";

const SPENT = { elapsed_s: "wall_s", device_s: "device_s", tokens: "tokens", samples: "samples" };

/** Apply an event to a compared job; returns whether anything changed. */
export function addEvent(entry, event) {
  if (event.type === "result") {
    entry.test = event.test;
    return true;
  }
  const scores = scoresOf(event);
  if (!scores) return false;
  const { generation } = event;
  let point = entry.points.find((other) => other.generation === generation);
  if (!point) {
    point = { generation };
    const at = entry.points.findLastIndex((other) => other.generation < generation);
    entry.points.splice(at + 1, 0, point);
  }
  for (const [source, name] of Object.entries(SPENT)) point[name] = finite(event[source]) ?? point[name];
  Object.assign(point, scores);
  return true;
}

function scoresOf({ type, score, best, mean, worst }) {
  if (type === "validation") return { validation: finite(score) };
  if (type === "generation") return { best: finite(best), mean: finite(mean), worst: finite(worst) };
  return null;
}
