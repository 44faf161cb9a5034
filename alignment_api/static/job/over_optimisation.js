// Generations to shade: violated constraints, or training fitness rising while validation falls.

import { change, number } from "../charts/format.js";

/** `{stretches: [{from, to}], text}`: generations to shade, and the reason in one sentence. */
export function partings(history) {
  return history.constraints.length ? brokenConstraints(history) : fallingValidation(history);
}

function brokenConstraints(history) {
  const stretches = [];
  for (const { generation, constraints } of history.generations) {
    if (constraints.every(({ is_held: isHeld }) => isHeld)) continue;
    const last = stretches.at(-1);
    if (last && last.to === generation - 0.5) last.to = generation + 0.5;
    else stretches.push({ from: generation - 0.5, to: generation + 0.5 });
  }
  const count = stretches.reduce((sum, { from, to }) => sum + to - from, 0);
  if (!count) return { stretches, text: "Every constraint held in every generation." };
  const total = history.generations.length;
  return { stretches, text: `A constraint was missed in ${count} of ${total} generations (shaded).` };
}

function fallingValidation(history) {
  const [best, last] = [history.bestValidation, history.validations.at(-1)];
  const nothing = { stretches: [], text: "" };
  if (!best || last.generation <= best.generation || last.score >= best.ci95[0]) return nothing;
  const then = history.generations.find(({ generation }) => generation === best.generation);
  const now = history.last;
  if (!then || now.mean <= then.mean) return nothing;
  const text =
    `Over-optimised since generation ${best.generation} (shaded): the mean fitness of candidates ` +
    `rose from ${number(then.mean)} to ${number(now.mean)}, the validation score fell from ` +
    `${number(best.score)} to ${number(last.score)} (${change(last.score / best.score - 1)}), below its interval.`;
  return { stretches: [{ from: best.generation, to: now.generation + 0.5 }], text };
}
