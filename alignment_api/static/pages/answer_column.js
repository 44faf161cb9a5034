// One model's answer, shown as it streams in.

import { api, isAbort } from "../api.js";
import { duration } from "../charts/format.js";
import { el, replace, setText } from "../dom.js";
import { copyButton } from "../download.js";

/** `run({path, body}, signal)` queries the model and shows the answer; it never rejects. */
export function answerColumn(model) {
  const text = el("p", { class: "answer", tabindex: "0", role: "region", "aria-label": `Answer of ${model.id}` });
  const state = el("p", { class: "small soft", role: "status" });
  const kind = el("span", { class: "tag" }, model.essa.kind.replace("_", " "));
  const root = el("section", { class: "panel answer-column" }, el("div", { class: "head" }, el("h2", { class: "wrap" }, model.id), el("div", { class: "row" }, kind, copyButton(() => text.textContent))), text, state);
  const run = async ({ path, body }, signal) => {
    replace(text);
    state.className = "small soft";
    setText(state, "Waiting for the engine. A model that is not loaded yet takes a while.");
    const progress = { pieces: 0, reason: null, usage: null, started: performance.now(), first: null };
    try {
      const request = { model: model.id, stream: true, stream_options: { include_usage: true }, ...body };
      for await (const chunk of api.stream(path, request, { signal })) take(chunk, text, state, progress);
      setText(state, ending(progress));
    } catch (error) {
      if (isAbort(error) || signal.aborted) return setText(state, "Stopped.");
      state.className = "small field-error";
      setText(state, error.message);
    }
  };
  setText(text, "");
  return { root, run };
}

function take(chunk, text, state, progress) {
  progress.usage = chunk.usage ?? progress.usage;
  const [choice] = chunk.choices;
  if (!choice) return;
  const piece = choice.delta?.content ?? choice.text ?? "";
  if (piece) {
    progress.first ??= performance.now();
    progress.pieces += 1;
    // Each piece is a text node, so model output stays text whatever it looks like.
    text.append(piece);
    setText(state, "Answering.");
  }
  progress.reason = choice.finish_reason ?? progress.reason;
}

function ending({ pieces, reason, usage, started, first }) {
  const tokens = usage?.completion_tokens ?? pieces;
  const seconds = (performance.now() - started) / 1000;
  const wait = first === null ? null : `first after ${duration((first - started) / 1000)}`;
  const why = { length: "cut off at max tokens", stop: "ended by itself" }[reason] ?? reason;
  return [`${tokens} tokens`, `in ${duration(seconds)}`, wait, why].filter(Boolean).join(", ") + ".";
}
