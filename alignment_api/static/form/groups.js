// Sections of the form: objects, variants to choose from, and lists of either.

import { el, replace } from "../dom.js";
import { withCode } from "../text.js";
import { dataSetField } from "./data_set.js";
import { framed, hintOf, inputId } from "./field.js";
import { INPUTS } from "./inputs.js";
import { defaultOf, kindOf, resolve, variants, withoutNull, words } from "./schema.js";

/**
 * Build the field of one property.
 *
 * `spec`: `name`; `place` in the draft; `node` of the schema as written; `given`, its default;
 * `tags`, the variants around it; `isRequired`.
 */
export function fieldFor(context, spec) {
  const { node, isNullable } = withoutNull(resolve(spec.node, context.schema), context.schema);
  const kind = kindOf(node, context.schema);
  const known = { ...spec, node };
  if (node.refName === "DatasetSpec") return dataSetField(context, known);
  if (kind === "constant") return null;
  if (kind in INPUTS) return INPUTS[kind](context, known);
  if (isNullable) return optional(context, known, kind);
  return GROUPS[kind](context, known);
}

const GROUPS = { group: plainGroup, variants: variantGroup, list: listGroup };

/** The fields of an object: single values side by side, sections below them. */
export function propertyFields(context, { place, node, given, tags, isTerse, skip = [] }) {
  const required = new Set(node.required ?? []);
  const fields = Object.entries(node.properties ?? {})
    .filter(([name]) => !skip.includes(name))
    .map(([name, raw]) => fieldFor(context, { name, place: [...place, name], node: raw, given: defaultOf(raw, name, given), tags, isTerse, isRequired: required.has(name) }))
    .filter(Boolean);
  const isSection = (field) => field.tagName === "FIELDSET";
  return [el("div", { class: "fields" }, fields.filter((field) => !isSection(field))), fields.filter(isSection)];
}

function section(context, { name, place, node, isRequired, isTerse }, ...children) {
  const hint = isTerse ? "" : hintOf(node);
  const error = el("p", { class: "field-error", hidden: true });
  const legend = el("legend", { title: place.join(".") }, words(name), isRequired && el("span", { class: "soft" }, " (required)"));
  const root = el("fieldset", { class: "group", id: inputId(place) }, legend, hint && el("p", { class: "hint" }, withCode(hint)), error, children);
  const setError = (text) => {
    error.hidden = !text;
    error.textContent = text;
  };
  context.fields.set(place.join("."), { root, setError, focus: () => root.querySelector("input, select, textarea, button")?.focus() });
  return root;
}

function plainGroup(context, spec) {
  return section(context, spec, propertyFields(context, spec));
}

/** A section that can be left out as a whole. */
function optional(context, spec, kind) {
  const body = el("div", {});
  const isThere = () => context.draft.get(spec.place) !== undefined && context.draft.get(spec.place) !== null;
  const draw = () => replace(body, isThere() && inner(context, spec, kind));
  const tick = el("input", { type: "checkbox", checked: isThere() });
  tick.addEventListener("change", () => {
    context.draft.set(spec.place, tick.checked ? (kind === "list" ? [] : {}) : undefined, spec.tags);
    draw();
  });
  draw();
  return section(context, { ...spec, isRequired: false }, el("label", { class: "choice" }, tick, "Set"), body);
}

function inner(context, spec, kind) {
  if (kind === "group") return propertyFields(context, spec);
  if (kind === "variants") return chooser(context, spec);
  return items(context, spec);
}

function variantGroup(context, spec) {
  return section(context, { ...spec, node: { description: spec.node.description } }, chooser(context, spec));
}

/** A select of variants, and the fields of the chosen one. */
function chooser(context, spec) {
  const { place, node, given } = spec;
  const { tag, choices } = variants(node, context.schema);
  const usual = given?.[tag];
  const chosen = () => context.draft.get(place)?.[tag] ?? usual ?? "";
  const select = el("select", {}, usual === undefined && el("option", { value: "" }, "choose"), choices.map(([name]) => el("option", { value: name }, name === usual ? `${name} (default)` : name)));
  select.value = chosen();
  const body = el("div", {});
  const draw = () => {
    const name = chosen();
    const shape = choices.find(([other]) => other === name)?.[1];
    const isUsual = name === usual;
    const tags = [...(spec.tags ?? []), { place, tag, name, isDefault: isUsual && usual !== undefined }];
    replace(body, shape && [!spec.isTerse && el("p", { class: "hint about" }, withCode(hintOf(shape))), propertyFields(context, { place, node: shape, isTerse: spec.isTerse, given: isUsual ? given : undefined, tags, skip: [tag] })]);
  };
  select.addEventListener("change", () => {
    const shape = choices.find(([name]) => name === select.value)?.[1];
    const old = Object.entries(context.draft.get(place) ?? {}).filter(([name]) => name !== tag && shape?.properties[name]);
    const next = select.value === "" || (select.value === usual && !old.length) ? undefined : { [tag]: select.value, ...Object.fromEntries(old) };
    context.draft.set(place, next, spec.tags);
    draw();
  });
  draw();
  return [framed(context, { ...spec, name: tag, place: [...place, tag], node: {}, isRequired: false }, select), body];
}

function listGroup(context, spec) {
  return section(context, spec, items(context, spec));
}

/** Items that can be added and removed. */
function items(context, spec) {
  const { name, place, node } = spec;
  const singular = words(name).toLowerCase().replace(/s$/, "");
  const list = el("ol", { class: "items" });
  const add = el("button", { type: "button", class: "small" }, `Add ${singular}`);
  const draw = () => {
    const values = context.draft.get(place) ?? [];
    replace(list, Array.isArray(values) && values.map((_, index) => item(index)));
  };
  const item = (index) => {
    const remove = el("button", { type: "button", class: "small quiet", "aria-label": `Remove ${singular} ${index + 1}` }, "Remove");
    remove.addEventListener("click", () => {
      context.draft.set([...place, index], undefined, spec.tags);
      draw();
      add.focus();
    });
    const at = { ...spec, isTerse: spec.isTerse || index > 0, name: String(index), place: [...place, index], node: resolve(node.items, context.schema), given: undefined };
    const union = variants(at.node, context.schema);
    return el("li", { class: "item" }, el("div", { class: "head" }, el("span", { class: "soft small" }, `${singular} ${index + 1}`), remove), union ? chooser(context, at) : propertyFields(context, at));
  };
  add.addEventListener("click", () => {
    const count = (context.draft.get(place) ?? []).length;
    context.draft.set([...place, count], {}, spec.tags);
    draw();
    list.lastChild.querySelector("input, select, textarea")?.focus();
  });
  draw();
  return [list, add];
}
