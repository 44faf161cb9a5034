// Tab: models' answers with scores, filters and a word diff. Texts are always text nodes.

import { el } from "../dom.js";
import { completionCard } from "./completion_card.js";
import { filterForm } from "./completion_filters.js";
import { Reference } from "./reference.js";

const PAGE = 20;

/**
 * `load(query)` returns a page of rollouts. `filters` are the initial filters; `onFilters` is called
 * with every change, so that the address can be shared.
 */
export function completionsTab({ load, filters, onFilters }) {
  const list = el("div", { class: "completions" });
  const count = el("p", { class: "chart-summary", "aria-live": "polite" });
  const more = el("button", { type: "button", hidden: true }, "Show more");
  const reference = new Reference(load);
  const state = { filters, after: null, ask: 0 };
  const page = async (isFirst) => {
    const ask = (state.ask += 1);
    const { against, against_generation: generation, ...query } = state.filters;
    const found = await load({ ...query, limit: PAGE, after: isFirst ? undefined : state.after });
    if (ask !== state.ask) return;
    const cards = found.data.map((item) => completionCard(item, reference.find(item, against, generation)));
    if (isFirst) list.replaceChildren(...cards);
    else list.append(...cards);
    state.after = found.data.at(-1)?.n ?? state.after;
    more.hidden = !found.has_more;
    count.textContent = countText(found.total, list.childElementCount);
  };
  const refresh = (isFirst) =>
    page(isFirst).catch((error) => {
      count.textContent = error.message;
      if (isFirst) list.replaceChildren();
    });
  const form = filterForm(filters, (changed) => {
    state.filters = changed;
    onFilters(changed);
    refresh(true);
  });
  more.addEventListener("click", () => refresh(false));
  refresh(true);
  return { root: el("div", {}, form, count, list, more), destroy: () => (state.ask = -1) };
}

function countText(total, shown) {
  if (!shown) return "No completion matches.";
  if (total === null) return `${shown} completions of more than can be counted quickly.`;
  return `${shown} of ${total.toLocaleString("en")} completions.`;
}
