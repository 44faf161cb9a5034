// Tab: the resolved specification, every default filled in.

import { el } from "../dom.js";
import { copyButton, saveBlob } from "../download.js";
import { jsonTree } from "../json_tree.js";

/** See `OWN_TABS` in job.js. */
export function configTab({ job }) {
  const text = JSON.stringify(job.essa.spec, null, 2);
  const save = el("button", { type: "button", class: "small", onclick: () => saveBlob(new Blob([`${text}\n`], { type: "application/json" }), `${job.essa.name}.json`) }, "Download JSON");
  const opening = (isOpen) => () => tree.querySelectorAll("details").forEach((node) => (node.open = isOpen));
  const tree = el("div", { class: "json" }, jsonTree(job.essa.spec, job.essa.name));
  const meta = Object.entries(job.metadata ?? {});
  return {
    root: el(
      "div",
      {},
      el(
        "section",
        { class: "panel" },
        el(
          "div",
          { class: "head" },
          el("h2", {}, "Specification"),
          el("div", { class: "row" }, el("button", { type: "button", class: "small", onclick: opening(true) }, "Open all"), el("button", { type: "button", class: "small", onclick: opening(false) }, "Close all"), copyButton(() => text), save),
        ),
        el("p", { class: "hint" }, "Every default is filled in. ", el("code", {}, "essa run"), " takes the downloaded file as it is."),
        tree,
      ),
      meta.length > 0 && el("section", { class: "panel" }, el("h2", {}, "Metadata"), el("dl", { class: "facts" }, meta.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]))),
    ),
  };
}
