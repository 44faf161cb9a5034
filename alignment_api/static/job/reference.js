// The answer to compare a completion with: the same prompt under another model or generation.

const MOST = 200;

/** Finds references and caches them; `load(query)` returns a page of rollouts. */
export class Reference {
  #known = new Map();

  constructor(load) {
    this.load = load;
  }

  /** A promise of `{label, text}`, or null if there is nothing to compare with. */
  find(item, against, generation) {
    if (!against) return null;
    return against === "earlier" ? this.#earlier(item, generation) : this.#model(item, against);
  }

  /** The test set has answers of base and warm start; the validation of generation 0 is the warm start's. */
  async #model(item, model) {
    const isStart = model === "warm_start" && item.set === "validation";
    const rows = await this.#ask({
      set: item.set,
      prompt: item.prompt_index,
      ...(isStart ? { generation: 0 } : { model }),
    });
    const name = model.replace("_", " ");
    if (rows.length) return { label: `the ${name}`, text: rows[0].completion };
    return { label: `no answer of the ${name} to a prompt of the ${item.set} set is kept`, text: null };
  }

  async #earlier(item, generation) {
    const rows = await this.#ask({ set: item.set, prompt: item.prompt_index, generation });
    const earlier = rows.filter((row) => row.generation !== null && row.generation < (item.generation ?? 0));
    const newest = earlier.reduce((latest, row) => Math.max(latest, row.generation), -1);
    const found = earlier.filter((row) => row.generation === newest);
    const chosen = found.find((row) => row.candidate === item.candidate) ?? found[0];
    if (!chosen) return { label: "no earlier answer to this prompt there", text: null };
    return { label: `generation ${newest}`, text: chosen.completion };
  }

  #ask(query) {
    const key = JSON.stringify(query);
    if (!this.#known.has(key)) {
      this.#known.set(key, this.load({ ...query, limit: MOST }).then(({ data }) => data));
    }
    return this.#known.get(key);
  }
}
