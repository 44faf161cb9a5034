// A job's reported numbers as columns that charts read. Events may arrive in any order: as a page of
// past generations, or one by one while the job runs.

import { PointCloud } from "../charts/points.js";

/** Columns over generations: row n of each belongs to `column("generation")[n]`. */
export class History {
  points = new PointCloud();
  ladder = null;
  result = null;
  generations = [];
  validations = [];
  #columns = new Map();
  #rows = new Map();
  #listeners = new Set();
  #isWaiting = false;

  /** Add the data of one event; kinds without a chart are ignored. */
  add(event) {
    const take = {
      generation: () => this.#addGeneration(event),
      validation: () => this.#addValidation(event),
      ladder: () => (this.ladder = event),
      result: () => (this.result = event),
    }[event.type];
    if (!take) return;
    take();
    this.#notify();
  }

  /** Call `listener` after changes, at most once per frame; returns a function that unsubscribes it. */
  onChange(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** One column: a generation event's field, `generation`, `q25`, `q75`, or `validation`. */
  column(name) {
    if (!this.#columns.has(name)) {
      const length = this.#columns.get("generation")?.length ?? 0;
      this.#columns.set(name, new Array(length).fill(null));
    }
    return this.#columns.get(name);
  }

  get length() {
    return this.column("generation").length;
  }

  /** The newest generation event, or undefined. */
  get last() {
    return this.generations.at(-1);
  }

  /** The last validation marked as best, or undefined. */
  get bestValidation() {
    return this.validations.findLast(({ is_best: isBest }) => isBest);
  }

  /** Names of constraints, in the job's order. */
  get constraints() {
    return (this.last ?? this.validations.at(-1))?.constraints?.map(({ component }) => component) ?? [];
  }

  #addGeneration(event) {
    const { type, generation, fitness, validation, ...sent } = event;
    const row = this.#row(generation);
    for (const [name, value] of Object.entries(sent)) {
      if (value === null || typeof value !== "object") this.column(name)[row] = finite(value);
    }
    const [q25, q75] = quartiles(fitness);
    this.column("q25")[row] = q25;
    this.column("q75")[row] = q75;
    for (const [name, value] of Object.entries(event.components ?? {})) {
      this.column(`component ${name}`)[row] = finite(value);
    }
    for (const [name, value] of Object.entries(event.training ?? {})) {
      this.column(`training ${name}`)[row] = finite(value);
    }
    this.#addConstraints("", row, event.constraints);
    this.points.add(generation, fitness);
    replace(this.generations, { ...event, validation: undefined });
    if (validation) this.#addValidation({ ...validation, generation });
  }

  #addValidation(event) {
    const row = this.#row(event.generation);
    this.column("validation")[row] = finite(event.score);
    for (const [name, value] of Object.entries(event.components ?? {})) {
      this.column(`validation component ${name}`)[row] = finite(value);
    }
    this.#addConstraints("validation ", row, event.constraints);
    replace(this.validations, event);
  }

  #addConstraints(prefix, row, constraints = []) {
    for (const { component, value, multiplier, violation } of constraints) {
      this.column(`${prefix}value ${component}`)[row] = finite(value);
      this.column(`${prefix}violation ${component}`)[row] = finite(violation);
      if (!prefix) this.column(`multiplier ${component}`)[row] = finite(multiplier);
    }
  }

  #row(generation) {
    if (this.#rows.has(generation)) return this.#rows.get(generation);
    const generations = this.column("generation");
    if (generations.length && generation < generations.at(-1)) {
      this.#insert(generation);
    } else {
      for (const [name, column] of this.#columns) column.push(name === "generation" ? generation : null);
      this.#rows.set(generation, generations.length - 1);
    }
    return this.#rows.get(generation);
  }

  #insert(generation) {
    const at = this.column("generation").findIndex((other) => other > generation);
    for (const [name, column] of this.#columns) column.splice(at, 0, name === "generation" ? generation : null);
    this.#rows = new Map(this.column("generation").map((generation, row) => [generation, row]));
  }

  #notify() {
    if (this.#isWaiting) return;
    this.#isWaiting = true;
    requestAnimationFrame(() => {
      this.#isWaiting = false;
      for (const listener of this.#listeners) listener();
    });
  }
}

/** The number, or null: JSON encodes NaN as a string. */
export function finite(value) {
  return typeof value === "number" && Number.isFinite(value) ? value : null;
}

/** First and third quartile of the non-missing values, linear between ranks. */
export function quartiles(values) {
  const sorted = Float64Array.from(values.filter((value) => finite(value) !== null)).sort();
  if (!sorted.length) return [null, null];
  return [0.25, 0.75].map((share) => {
    const rank = share * (sorted.length - 1);
    const below = Math.floor(rank);
    const above = Math.min(sorted.length - 1, below + 1);
    return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
  });
}

function replace(events, event) {
  const at = events.findLastIndex(({ generation }) => generation <= event.generation);
  const isSame = at >= 0 && events[at].generation === event.generation;
  events.splice(isSame ? at : at + 1, isSame ? 1 : 0, event);
}
