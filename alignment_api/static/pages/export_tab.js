// Tab: export the aligned model.

import { api, isAbort } from "../api.js";
import { can } from "../auth.js";
import { el, replace, setText } from "../dom.js";
import { codeBlock, copyButton, saveBlob } from "../download.js";
import { jobPath } from "../job_actions.js";
import { notify } from "../notices.js";
import { pause } from "../sse.js";
import { bytes } from "../text.js";
import { serveCommands } from "./serve_command.js";

const REFRESH_MS = 2000;
const FORMATS = [
  { format: "adapter", title: "Adapter", about: "A PEFT folder with the aligned factors, a few megabytes. Loads in peft and in vLLM." },
  { format: "merged", title: "Merged model", about: "Base and adapter in one, as safetensors: loads everywhere, without LoRA.", isSlow: true },
  { format: "quantized", precision: "int8", title: "INT8 base with adapter", about: "The base rounded to 8 bits, the adapter kept apart.", isSlow: true },
  { format: "quantized", precision: "int4", title: "INT4 base with adapter", about: "The base rounded to 4 bits, the adapter kept apart.", isSlow: true },
];

/** See `OWN_TABS` in job.js. */
export function exportTab({ jobId, live, signal }) {
  const root = el("div", {});
  let shown = null;
  live.onJob((job) => {
    const isReady = job.status === "succeeded";
    if (shown === isReady) return;
    shown = isReady;
    replace(root, isReady ? ready(jobId, job, signal) : notYet(job));
  }, signal);
  return { root };
}

function notYet(job) {
  const text = { failed: "This job failed; it left nothing to export.", cancelled: "This job was cancelled; it left nothing to export." }[job.status];
  return el("p", { class: "panel empty" }, text ?? "The aligned adapter can be taken away here once the job has succeeded.");
}

function ready(jobId, job, signal) {
  const list = el("div", { class: "export-list" });
  const rows = FORMATS.map((format) => exportRow(jobId, job, format, () => watch(), signal));
  replace(list, rows.map(({ root }) => root));
  const watch = async () => {
    try {
      const made = (await api.get(jobPath(jobId, "/exports"), { signal })).data;
      for (const row of rows) row.set(made);
      if (made.some(({ status }) => isWorking(status))) {
        await pause(REFRESH_MS, signal);
        if (!signal.aborted) watch();
      }
    } catch (error) {
      if (!isAbort(error)) notify(error.message, "bad");
    }
  };
  watch();
  return [
    el("section", { class: "panel" }, el("h2", {}, "Download"), list),
    el("section", { class: "panel stack" }, el("h2", {}, "Serve it"), serveCommands(job).map(({ title, text }) => codeBlock(text, title))),
    modelCard(jobId, job, signal),
  ];
}

function isWorking(status) {
  return ["queued", "running"].includes(status);
}

/** One format: downloaded at once, or started first and downloaded when finished. */
function exportRow(jobId, job, { format, precision, title, about, isSlow }, onStarted, signal) {
  const note = el("span", { class: "small soft", role: "status" });
  const button = el("button", { type: "button", "aria-label": `Download ${title}` }, "Download");
  const query = { format, precision };
  let state = isSlow ? "none" : "succeeded";
  const download = async () => {
    setText(note, "Downloading.");
    const { blob, filename } = await api.download(jobPath(jobId, "/export"), { query, signal });
    saveBlob(blob, filename === "download" ? `${job.essa.name}-${format}.zip` : filename);
    setText(note, `${bytes(blob.size)} saved.`);
  };
  const make = async () => {
    await api.post(jobPath(jobId, "/exports"), precision ? { format, precision } : { format }, { signal });
    state = "queued";
    onStarted();
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await (state === "succeeded" ? download() : make());
    } catch (error) {
      if (!isAbort(error)) setText(note, error.message);
    }
    draw();
  });
  const draw = () => {
    const isThere = state === "succeeded";
    setText(button, isThere ? "Download" : isWorking(state) ? "Being made" : "Make it");
    button.setAttribute("aria-label", `${button.textContent}: ${title}`);
    button.disabled = isWorking(state) || (!isThere && !can("submit"));
  };
  const set = (made) => {
    const found = made.findLast((one) => one.format === format && one.checkpoint === null && (one.precision ?? undefined) === precision);
    if (!found) return;
    state = found.status;
    setText(note, found.error ? (found.error.message ?? found.error) : isWorking(state) ? "This takes minutes on a large model." : found.bytes ? bytes(found.bytes) : "");
    draw();
  };
  draw();
  const root = el("div", { class: "export-row" }, el("div", {}, el("h3", {}, title), el("p", { class: "hint" }, about), note), button);
  return { root, set };
}

function modelCard(jobId, job, signal) {
  const text = el("pre", { tabindex: "0", role: "region", "aria-label": "Model card" }, "Loading.");
  const save = el("button", { type: "button", class: "small", onclick: () => saveBlob(new Blob([text.textContent], { type: "text/markdown" }), `${job.essa.name}-README.md`) }, "Download");
  api
    .text(jobPath(jobId, "/model_card"), { signal })
    .then((card) => setText(text, card))
    .catch((error) => isAbort(error) || setText(text, error.message));
  return el("section", { class: "panel" }, el("div", { class: "head" }, el("h2", {}, "Model card"), el("div", { class: "row" }, copyButton(() => text.textContent), save)), el("div", { class: "code" }, text));
}
