// Tab: how far every singular value moved from the warm start, as a heat map over generations.

import { chartFrame } from "../charts/frame.js";
import { change, percent } from "../charts/format.js";
import { colourScale, HeatMap } from "../charts/heat_map.js";
import { onThemeChange } from "../charts/theme.js";
import { el } from "../dom.js";
import { finite } from "./history.js";
import { generationSlider } from "./generation_slider.js";

const WAIT_MS = 60;
const NO_CELL = "Point at a cell, or move with the arrow keys.";

/** `load(generation or null)` returns the singular values of a generation, null for the newest. */
export function singularValuesTab({ history, load }) {
  const frame = chartFrame({ title: "Change of singular values", note: "Module × index, relative to the warm start." });
  const view = new View(frame);
  const known = new Map();
  let wanted;
  let newest;
  const show = async (generation) => {
    wanted = generation;
    await new Promise((done) => setTimeout(done, WAIT_MS));
    if (wanted !== generation) return;
    const found = known.get(generation) ?? (await load(generation));
    known.set(found.generation, found);
    if (wanted !== generation) return;
    slider.setGenerations(found.generations, found.generation);
    view.set(found);
  };
  const ask = (generation) => show(generation).catch((error) => frame.setSummary(error.message));
  const slider = generationSlider({ onChange: ask });
  const follow = () => {
    const latest = history.last?.generation ?? null;
    if (latest === newest) return;
    newest = latest;
    if (slider.isAtEnd()) ask(null);
  };
  follow();
  const stop = history.onChange(follow);
  return {
    root: el("div", {}, el("div", { class: "chart-controls" }, slider.root, view.choice), frame.root),
    destroy: () => {
      wanted = undefined;
      stop();
      slider.destroy();
      view.destroy();
    },
  };
}

/** The heat map with its colour bar, the value under the cursor, and a choice of modules. */
class View {
  #shown = null;
  #rows = [];
  #limit = 0;
  #value = el("p", { class: "heat-value" }, NO_CELL);
  #bar = colourBar();
  #kinds = el("select", {});

  constructor(frame) {
    this.frame = frame;
    this.choice = el("label", {}, "Modules", this.#kinds);
    this.#kinds.addEventListener("change", () => this.#draw());
    frame.host.after(this.#value, this.#bar.root);
    this.map = new HeatMap(frame.host, { onCell: (cell, byKey) => this.#say(cell, byKey) });
    this.stop = onThemeChange(() => this.#bar.draw());
  }

  /** The colour scale only grows, so that generations stay visually comparable. */
  set(found) {
    this.#shown = found;
    const sizes = Object.values(found.relative_change).flat(2).map((value) => Math.abs(finite(value) ?? 0));
    this.#limit = sizes.reduce((most, size) => Math.max(most, size), this.#limit);
    this.#setKinds([...new Set(found.modules.map(kindOf))]);
    this.#draw();
  }

  destroy() {
    this.stop();
    this.map.destroy();
  }

  #setKinds(kinds) {
    if (this.#kinds.childElementCount === kinds.length + 1) return;
    this.#kinds.replaceChildren(...["all", ...kinds].map((kind) => el("option", { value: kind }, kind)));
  }

  #draw() {
    const { modules, parts, relative_change: changes, generation } = this.#shown;
    const kind = this.#kinds.value;
    this.#rows = modules.flatMap((module, n) => (kind === "all" || kindOf(module) === kind ? [n] : []));
    const panels = parts.map((part) => ({
      name: part === "product" ? "B·A" : `factor ${part}`,
      values: this.#rows.map((n) => changes[part][n].map(finite)),
    }));
    this.map.set(panels, this.#rows.map((n) => shortName(modules[n])), this.#limit);
    this.#bar.set(this.#limit);
    const cells = panels.flatMap(({ name, values }) =>
      values.flatMap((row, r) => row.map((value, index) => ({ value, name, index, module: modules[this.#rows[r]] }))),
    );
    this.frame.setSummary(summary(generation, cells));
    this.frame.setTable(["module", "factor", "index", "relative change"], () =>
      cells.map(({ module, name, index, value }) => [module, name, index, value]),
    );
  }

  #say(cell, byKey) {
    const text = cell ? this.#cellText(cell) : NO_CELL;
    this.#value.textContent = text;
    if (byKey) this.frame.announce(text);
  }

  #cellText({ row, column, panel }) {
    const { modules, parts, relative_change: changes } = this.#shown;
    const n = this.#rows[row];
    return `${modules[n]}, ${parts[panel]}, index ${column}: ${change(finite(changes[parts[panel]][n][column]))}`;
  }
}

/** Shorten `model.layers.3.self_attn.q_proj` to `q_proj`. */
function kindOf(module) {
  return module.split(".").at(-1);
}

/** Shorten `model.layers.3.self_attn.q_proj` to `3 q_proj`. */
function shortName(module) {
  const layer = module.match(/\.(\d+)\./)?.[1];
  return layer === undefined ? kindOf(module) : `${layer} ${kindOf(module)}`;
}

function summary(generation, cells) {
  const known = cells.filter(({ value }) => value !== null);
  if (!known.length) return "No singular values recorded.";
  const sum = known.reduce((total, { value }) => total + Math.abs(value), 0);
  const most = known.reduce((best, cell) => (Math.abs(cell.value) > Math.abs(best.value) ? cell : best));
  return (
    `Generation ${generation}: ${percent(sum / known.length)} on average over ${known.length} values; ` +
    `most at ${most.module}, ${most.name}, index ${most.index}: ${change(most.value)}.`
  );
}

function colourBar() {
  const canvas = el("canvas", { width: "160", height: "1", "aria-hidden": "true" });
  const [low, high] = [el("span", {}), el("span", {})];
  let limit = 1;
  const draw = () => {
    const colour = colourScale(1);
    const context = canvas.getContext("2d");
    for (let x = 0; x < 160; x += 1) {
      context.fillStyle = colour((x - 79.5) / 79.5);
      context.fillRect(x, 0, 1, 1);
    }
    low.textContent = change(-limit);
    high.textContent = change(limit);
  };
  return { root: el("div", { class: "colour-bar" }, low, canvas, high), draw, set: (value) => draw((limit = value)) };
}
