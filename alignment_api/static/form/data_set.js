// The field of a data set: an uploaded file, a new upload, or a path on the server.

import { api } from "../api.js";
import { el, replace, setText } from "../dom.js";
import { framed, inputId } from "./field.js";

const PATH = " path";

/** See `fieldFor`. `context.files` are the uploaded files, newest first. */
export function dataSetField(context, spec) {
  const { place, tags } = spec;
  const select = el("select", {});
  const path = el("input", { type: "text", placeholder: "/data/train.jsonl", spellcheck: "false", "aria-label": `Path of ${place.at(-1)} on the server` });
  const limit = el("input", { type: "text", inputmode: "numeric", class: "right-aligned", placeholder: "all", "aria-label": `Rows of ${place.at(-1)} that are used` });
  const pathRow = el("div", {}, path);
  const now = () => context.draft.get(place) ?? {};
  let isPath = false;
  const draw = () => {
    const { file_id: fileId, path: given, limit: rows } = now();
    if (given !== undefined) isPath = true;
    const isUnknown = fileId && !context.files.some(({ id }) => id === fileId);
    replace(select, el("option", { value: "" }, spec.isRequired ? "choose" : "cut from train"), isUnknown && el("option", { value: fileId }, fileId), context.files.map((file) => el("option", { value: file.id }, `${file.filename} · ${file.rows} rows · ${file.id.slice(-6)}`)), el("option", { value: PATH }, "a path on the server"));
    select.value = fileId ?? (isPath ? PATH : "");
    path.value = given ?? "";
    limit.value = rows ?? "";
    pathRow.hidden = select.value !== PATH;
  };
  const put = (value) => context.draft.set(place, Object.keys(value).length ? value : undefined, tags);
  const withLimit = (value) => (now().limit === undefined ? value : { ...value, limit: now().limit });
  select.addEventListener("change", () => {
    isPath = select.value === PATH;
    put(select.value === "" || isPath ? {} : withLimit({ file_id: select.value }));
    draw();
    if (isPath) path.focus();
  });
  path.addEventListener("input", () => put(path.value.trim() ? withLimit({ path: path.value.trim() }) : {}));
  limit.addEventListener("input", () => {
    const { limit: _, ...rest } = now();
    const text = limit.value.trim();
    put(text ? { ...rest, limit: Number.isFinite(Number(text)) ? Number(text) : text } : rest);
  });
  const upload = uploadButton(context, place, (file) => {
    isPath = false;
    put(withLimit({ file_id: file.id }));
    context.redrawDataSets();
  });
  context.dataSets.set(place.join("."), draw);
  draw();
  const limitField = el("label", { class: "choice small soft" }, "rows", limit);
  const input = el("div", { class: "data-set" }, select, upload.root, limitField, pathRow);
  const root = framed(context, { ...spec, node: {} }, input, { control: select, isWide: true });
  root.append(upload.note);
  for (const name of ["path", "file_id", "limit"]) context.fields.set([...place, name].join("."), context.fields.get(place.join(".")));
  return root;
}

function uploadButton(context, place, onUploaded) {
  const id = `${inputId(place)}-upload`;
  const file = el("input", { type: "file", id, class: "visually-hidden", accept: ".jsonl,.json,.ndjson,application/jsonl", "aria-label": `Upload a file for ${place.at(-1)}` });
  const note = el("p", { class: "upload-note small", role: "status" });
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    note.className = "upload-note small soft";
    setText(note, `Uploading ${chosen.name}.`);
    try {
      const made = await uploaded(context, chosen);
      setText(note, `${made.filename}: ${made.rows} rows, every line read.`);
      onUploaded(made);
    } catch (error) {
      note.className = "upload-note small field-error";
      // One fault per line: the service joins them, each with its line number.
      setText(note, error.message.replaceAll("; ", "\n"));
    }
    file.value = "";
  });
  return { root: el("span", { class: "upload" }, file, el("label", { class: "button", for: id }, "Upload")), note };
}

/** Upload a file and remember it, unless one of the same name and size is already there. */
export async function uploaded(context, file) {
  const known = context.files.find(({ filename, bytes }) => filename === file.name && bytes === file.size && context.isSample(file.name));
  if (known) return known;
  const made = await api.upload("/v1/files", file, { purpose: "fine-tune" }, { signal: context.signal });
  context.files.unshift(made);
  return made;
}
