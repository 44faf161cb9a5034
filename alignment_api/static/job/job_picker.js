// The compared jobs: a chip for each, and a list to add another.

import { api } from "../api.js";
import { el } from "../dom.js";
import { go } from "../router.js";

const MOST = 20;
const OFFERED = 100;

/** A bar for the jobs `ids`; every choice opens a new address. */
export async function jobPicker(ids, signal) {
  const { data } = await api.get("/v1/fine_tuning/jobs", { query: { limit: OFFERED }, signal });
  const names = new Map(data.map(({ id, seed, essa }) => [id, `${essa.name} · seed ${seed}`]));
  const select = el(
    "select",
    { disabled: ids.length >= MOST, onchange: () => select.value && open([...ids, select.value]) },
    el("option", { value: "" }, "choose"),
    data
      .filter(({ id }) => !ids.includes(id))
      .map(({ id, status, seed, essa }) => el("option", { value: id }, `${essa.name} · seed ${seed} · ${status} · ${tail(id)}`)),
  );
  const chips = ids.map((id) => {
    const name = names.get(id) ?? tail(id);
    const drop = el("button", { type: "button", "aria-label": `Leave out ${name}`, onclick: () => open(ids.filter((other) => other !== id)) }, "×");
    return el("span", { class: "picked-job" }, name, " ", drop);
  });
  return el("div", { class: "chart-controls" }, chips, el("label", {}, "Add a job", select));
}

function open(ids) {
  const query = new URLSearchParams(location.hash.split("?")[1]);
  query.set("jobs", ids.join(","));
  go(`/compare?${query.toString().replaceAll("%2C", ",")}`);
}

function tail(id) {
  return id.slice(-6);
}
