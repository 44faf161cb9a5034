// Page: write a job. A form built from the job's JSON Schema, the same job as JSON beside it, and
// the service's check of it as it is written.

import { api, isAbort } from "../api.js";
import { can } from "../auth.js";
import { el, replace } from "../dom.js";
import { Draft } from "../form/draft.js";
import { jobForm } from "../form/job_form.js";
import { jsonEditor } from "../form/json_editor.js";
import { withoutDefaults } from "../form/schema.js";
import { checkPanel } from "../form/check_panel.js";
import { jobPath } from "../job_actions.js";
import { setQuery } from "../router.js";

const BLANK = { name: "blank", title: "Blank", about: "Every setting is yours.", needs: "", spec: {}, samples: {} };

/** See router.js. `?template=NAME` starts from a template, `?from=ID` from a job. */
export async function show(root, params, signal) {
  const [schema, files, gallery] = await Promise.all([
    api.get(jobPath("schema"), { signal }),
    api.get("/v1/files", { query: { limit: 100 }, signal }),
    api.get("/static/templates/index.json", { signal }),
  ]);
  const draft = new Draft();
  const stage = el("div", {});
  const cards = [...gallery.data, BLANK];
  const open = async (name) => {
    const template = name === BLANK.name ? BLANK : await api.get(`/static/templates/${encodeURIComponent(name)}.json`, { signal });
    setQuery({ template: name, from: null });
    mark(name);
    draft.value = structuredClone(template.spec);
    editor(stage, { draft, schema, files: files.data, template, signal });
  };
  const { root: galleryRoot, mark } = templateGallery(cards, (name) => open(name).catch((error) => isAbort(error) || replace(stage, el("p", { class: "problem", role: "alert" }, error.message))));
  replace(root, el("div", { class: "head" }, el("h1", {}, "New job")), !can("submit") && el("p", { class: "caution" }, "Your key lacks the scope submit: jobs can be written and checked here, not started."), galleryRoot, stage);
  const from = params.query.get("from");
  if (from) {
    const job = await api.get(jobPath(from), { signal });
    draft.value = cloned(job, schema);
    editor(stage, { draft, schema, files: files.data, template: { ...BLANK, title: job.essa.name }, signal });
    return;
  }
  const wanted = params.query.get("template");
  if (cards.some(({ name }) => name === wanted)) await open(wanted);
}

function templateGallery(cards, onPick) {
  const buttons = new Map(
    cards.map(({ name, title, about, needs }) => [
      name,
      el("button", { type: "button", class: "template", "aria-pressed": "false", onclick: () => onPick(name) }, el("span", { class: "template-title" }, title), el("span", { class: "small" }, about), needs && el("span", { class: "small soft" }, needs)),
    ]),
  );
  const mark = (chosen) => buttons.forEach((button, name) => button.setAttribute("aria-pressed", String(name === chosen)));
  return { root: el("section", { "aria-label": "Templates" }, el("p", { class: "soft" }, "Start from an example:"), el("div", { class: "gallery" }, [...buttons.values()])), mark };
}

/** The initial value of a clone: the parts of its job that differ from the defaults. */
function cloned(job, schema) {
  const spec = withoutDefaults(job.essa.spec, schema, schema, undefined) ?? {};
  return { ...spec, ...(job.user_provided_suffix && { suffix: job.user_provided_suffix }), ...(job.metadata && { metadata: job.metadata }) };
}

function editor(stage, { draft, schema, files, template, signal }) {
  const controller = new AbortController();
  editor.last?.abort();
  editor.last = controller;
  const inner = AbortSignal.any([signal, controller.signal]);
  const form = jobForm({ draft, schema, files, samples: template.samples, signal: inner });
  const json = jsonEditor(draft, () => form.redraw(), inner);
  const check = checkPanel({ draft, form, json, signal: inner });
  replace(stage, el("div", { class: "writer" }, form.root, el("div", { class: "writer-side" }, check.root, json.root)));
}
