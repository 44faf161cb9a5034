// Tab: everything that the job has reported, newest first, updated live.

import { el, replace, setText } from "../dom.js";

const LEVELS = ["info", "warn", "error"];
const SHOWN = 500;
const NO_FILTER = { level: "info", q: "" };

/** See `OWN_TABS` in job.js. */
export function eventsTab({ live, signal }) {
  const wanted = { ...NO_FILTER };
  const list = el("ol", { class: "events", reversed: true });
  const count = el("p", { class: "small soft", role: "status" });
  const state = el("span", { class: "small soft" });
  const fits = (event) => LEVELS.indexOf(event.level) >= LEVELS.indexOf(wanted.level) && event.message.toLowerCase().includes(wanted.q);
  let fresh = [];
  let isWaiting = false;
  const summary = () => {
    const total = live.events.filter(fits).length;
    setText(count, total > SHOWN ? `The newest ${SHOWN} of ${total} events.` : `${total} ${total === 1 ? "event" : "events"}.`);
  };
  const add = () => {
    isWaiting = false;
    if (signal.aborted) return;
    list.prepend(...fresh.splice(0).filter(fits).slice(-SHOWN).reverse().map(line));
    while (list.children.length > SHOWN) list.lastChild.remove();
    summary();
  };
  const redraw = () => {
    replace(list);
    fresh = [...live.events];
    add();
  };
  live.onEvent((event) => {
    fresh.push(event);
    if (isWaiting) return;
    isWaiting = true;
    requestAnimationFrame(add);
  }, signal);
  live.onJob(() => setText(state, STATES[live.state] ?? live.state), signal);
  return { root: el("section", { class: "panel" }, filterForm(wanted, redraw, state), count, list) };
}

const STATES = { connecting: "Connecting.", live: "Live.", waiting: "The connection is lost; trying again.", ended: "The job is over." };

function filterForm(wanted, redraw, state) {
  const level = el("select", { id: "event-level", onchange: () => (Object.assign(wanted, { level: level.value }), redraw()) }, LEVELS.map((name) => el("option", { value: name }, { info: "all", warn: "warnings and errors", error: "errors" }[name])));
  const text = el("input", { id: "event-text", type: "search", autocomplete: "off" });
  text.addEventListener("input", () => {
    wanted.q = text.value.trim().toLowerCase();
    redraw();
  });
  return el(
    "div",
    { class: "row end" },
    el("div", { class: "field" }, el("label", { for: "event-level" }, "Level"), level),
    el("div", { class: "field" }, el("label", { for: "event-text" }, "Message contains"), text),
    state,
  );
}

function line(event) {
  const moment = new Date(event.created_at * 1000);
  const details = el("details", {}, el("summary", {}, el("span", { class: "event-message" }, event.message || event.data.type)));
  details.addEventListener("toggle", () => details.children.length === 1 && details.append(el("pre", {}, JSON.stringify(event.data, null, 2))));
  return el(
    "li",
    { class: `event ${event.level}` },
    el("time", { class: "mono soft small", datetime: moment.toISOString(), title: moment.toLocaleString() }, moment.toLocaleTimeString()),
    el("span", { class: "event-kind small" }, event.level === "info" ? event.data.type : `${event.level}: ${event.data.type}`),
    details,
  );
}
