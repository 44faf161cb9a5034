// A slider over the available generations, with a button that plays them.

import { el } from "../dom.js";

const FRAME_MS = 350;

/** `onChange(generation)`; a slider at its end follows new generations. */
export function generationSlider({ onChange }) {
  let generations = [];
  let timer = null;
  const input = el("input", { type: "range", min: "0", max: "0", value: "0", step: "1" });
  const shown = el("output", {}, "–");
  const play = el("button", { type: "button" }, "Play");
  const say = () => {
    const generation = generations[Number(input.value)];
    shown.textContent = generation === undefined ? "–" : String(generation);
    input.setAttribute("aria-valuetext", `generation ${shown.textContent}`);
    return generation;
  };
  const stop = () => {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  };
  const step = () => {
    if (Number(input.value) >= generations.length - 1) return stop();
    input.value = String(Number(input.value) + 1);
    onChange(say());
  };
  input.addEventListener("input", () => onChange(say()));
  play.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(input.value) >= generations.length - 1) input.value = "0";
    onChange(say());
    play.textContent = "Pause";
    timer = setInterval(step, FRAME_MS);
  });
  return {
    root: el("div", { class: "slider" }, el("label", {}, el("span", {}, "Generation ", shown), input), play),
    isAtEnd: () => Number(input.value) >= generations.length - 1,
    setGenerations: (found, current) => {
      generations = found;
      input.max = String(Math.max(0, found.length - 1));
      input.value = String(Math.max(0, found.indexOf(current)));
      say();
    },
    destroy: stop,
  };
}
