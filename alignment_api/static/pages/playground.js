// Page: one prompt, up to three models side by side.

import { api } from "../api.js";
import { can } from "../auth.js";
import { el, replace, setText } from "../dom.js";
import { setQuery } from "../router.js";
import { answerColumn } from "./answer_column.js";

const MOST = 3;
const SAMPLING = [
  { name: "max_tokens", label: "Max tokens", value: "128", mode: "numeric" },
  { name: "temperature", label: "Temperature", value: "0", mode: "decimal" },
  { name: "top_p", label: "Top p", value: "1", mode: "decimal" },
  { name: "seed", label: "Seed", value: "", mode: "numeric" },
];
const KINDS = ["base", "warm_start", "aligned"];

/** See router.js. `?models=a,b` or `?job=ID` selects models. */
export async function show(root, params, signal) {
  const { data: models } = await api.get("/v1/models", { signal });
  const wanted = params.query.get("models")?.split(",") ?? modelsOfJob(params.query.get("job"), models);
  const served = models.filter(({ essa }) => !essa.not_served).map(({ id }) => id);
  const chosen = (wanted.length ? wanted : served.slice(0, 1)).filter((id) => served.includes(id)).slice(0, MOST);
  if (!models.length) {
    replace(root, el("h1", {}, "Playground"), el("p", { class: "panel empty" }, "There are no models yet: the base of a job appears here once the job has started."));
    return;
  }
  const columns = el("div", { class: "answers" });
  const board = { columns: [], running: null };
  const drawColumns = (ids) => {
    board.columns = ids.map((id) => answerColumn(models.find((model) => model.id === id)));
    replace(columns, board.columns.map(({ root: column }) => column));
    setQuery({ models: ids.join(","), job: null });
  };
  const picker = modelPicker(models, chosen, drawColumns);
  replace(root, el("div", { class: "head" }, el("h1", {}, "Playground")), el("div", { class: "playground" }, promptForm(board, picker, signal), columns));
  drawColumns(chosen);
}

/** Base, warm start and aligned model of a job, in that order. */
function modelsOfJob(id, models) {
  const own = models.filter(({ essa }) => essa.job === id);
  const base = models.filter((model) => own.some(({ essa }) => essa.base === model.id));
  return [...base, ...own].toSorted((a, b) => KINDS.indexOf(a.essa.kind) - KINDS.indexOf(b.essa.kind)).map((model) => model.id);
}

function modelPicker(models, chosen, onChosen) {
  const ids = [...chosen];
  const boxes = models.map((model) => {
    const box = el("input", { type: "checkbox", checked: ids.includes(model.id), value: model.id });
    box.addEventListener("change", () => {
      if (box.checked) ids.push(model.id);
      else ids.splice(ids.indexOf(model.id), 1);
      limit();
      onChosen(ids);
    });
    return { box, model, root: el("label", { class: "choice model-choice" }, box, modelWords(model)) };
  });
  const limit = () => boxes.forEach(({ box, model }) => (box.disabled = !box.checked && (ids.length >= MOST || Boolean(model.essa.not_served))));
  limit();
  return el("fieldset", { class: "group models" }, el("legend", {}, `Models, up to ${MOST}`), boxes.map(({ root }) => root));
}

function modelWords({ id, essa }) {
  const facts = [essa.kind.replace("_", " "), essa.precision, essa.job_name && `job ${essa.job_name}`, essa.not_served].filter(Boolean);
  return el("span", { class: "wrap" }, id, " ", el("span", { class: "soft small" }, facts.join(", ")));
}

function promptForm(board, picker, signal) {
  const prompt = el("textarea", { id: "play-prompt", rows: 5, placeholder: "Ask something" });
  const system = el("textarea", { id: "play-system", rows: 2 });
  const kind = el("select", { id: "play-kind" }, el("option", { value: "chat" }, "chat, by the model's template"), el("option", { value: "text" }, "plain text"));
  const sampling = SAMPLING.map(({ name, label, value, mode }) => ({ name, input: el("input", { id: `play-${name}`, type: "text", inputmode: mode, value }), label }));
  const run = el("button", { type: "submit", class: "primary", disabled: !can("submit") }, "Run");
  const stop = el("button", { type: "button", disabled: true }, "Stop");
  const note = el("p", { class: "field-error", role: "alert" });
  const systemField = el("div", { class: "field" }, el("label", { for: "play-system" }, "System message"), system);
  kind.addEventListener("change", () => (systemField.hidden = kind.value === "text"));
  const form = el(
    "form",
    { class: "panel stack play-form", novalidate: true },
    picker,
    el("div", { class: "field" }, el("label", { for: "play-prompt" }, "Prompt"), prompt),
    el("details", {}, el("summary", {}, "Settings"), el("div", { class: "stack settings" }, el("div", { class: "field" }, el("label", { for: "play-kind" }, "Sent as"), kind), systemField, el("div", { class: "fields" }, sampling.map(({ input, label }) => el("div", { class: "field" }, el("label", { for: input.id }, label), input))))),
    note,
    el("div", { class: "row" }, run, stop, el("span", { class: "hint" }, can("submit") ? "Ctrl+Enter runs too." : "Your key lacks the scope submit.")),
  );
  const start = async () => {
    const fault = !prompt.value.trim() ? "Write a prompt first." : !board.columns.length ? "Choose a model first." : "";
    setText(note, fault);
    if (fault || board.running) return;
    const controller = (board.running = new AbortController());
    [run.disabled, stop.disabled] = [true, false];
    const request = requestOf(kind.value, prompt.value, system.value, sampling);
    await Promise.all(board.columns.map((column) => column.run(request, AbortSignal.any([signal, controller.signal]))));
    board.running = null;
    const hadFocus = document.activeElement === stop;
    [run.disabled, stop.disabled] = [false, true];
    if (hadFocus) run.focus();
  };
  stop.addEventListener("click", () => board.running?.abort());
  form.addEventListener("submit", (event) => (event.preventDefault(), start()));
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) start();
  });
  return form;
}

function requestOf(kind, prompt, system, sampling) {
  const given = sampling.map(({ name, input }) => [name, input.value.trim()]).filter(([, text]) => text !== "");
  const settings = Object.fromEntries(given.map(([name, text]) => [name, Number.isFinite(Number(text)) ? Number(text) : text]));
  if (kind === "text") return { path: "/v1/completions", body: { prompt, ...settings } };
  const messages = [system.trim() && { role: "system", content: system }, { role: "user", content: prompt }].filter(Boolean);
  return { path: "/v1/chat/completions", body: { messages, ...settings } };
}
