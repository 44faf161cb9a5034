// Format the service's values as text.

import { el } from "./dom.js";

/** Format Unix seconds as local date and time, with the full time in the title. */
export function dateTime(seconds) {
  if (!seconds) return "–";
  const moment = new Date(seconds * 1000);
  const isToday = moment.toDateString() === new Date().toDateString();
  const time = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const day = moment.toLocaleDateString([], { day: "numeric", month: "short" });
  return el("time", { datetime: moment.toISOString(), title: moment.toLocaleString() }, isToday ? time : `${day}, ${time}`);
}

/** The last part of a path; hub and package names unchanged. */
export function modelName(model) {
  return model.startsWith("/") ? (model.split("/").filter(Boolean).at(-1) ?? model) : model;
}

/** Format 1234567 as 1.23 MB. */
export function bytes(count) {
  if (typeof count !== "number") return "–";
  for (const [unit, size] of [["GB", 1e9], ["MB", 1e6], ["kB", 1e3]]) {
    if (count >= size) return `${Number((count / size).toPrecision(3))} ${unit}`;
  }
  return `${count} bytes`;
}

/** Turn `back-quoted` parts of a text into code elements. */
export function withCode(text) {
  return text.split("`").map((part, n) => (n % 2 ? el("code", {}, part) : part));
}

/** An id that nobody can guess. */
export function randomId() {
  const numbers = crypto.getRandomValues(new Uint8Array(16));
  return [...numbers].map((value) => value.toString(16).padStart(2, "0")).join("");
}
