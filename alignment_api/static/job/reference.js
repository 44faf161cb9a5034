// The answer that a completion is compared with: the same prompt under another model or generation.

const MOST = 200;

/** Finds references and remembers them; `load(query)` answers a page of rollouts. */
export class Reference {
  #known = new Map();

  constructor(load) {
    this.load = load;
  }

  /** A promise of `{label, text}`, or null where nothing is to be compared. */
  find(item, against, generation) {
    if (against === "earlier") return this.#earlier(item, generation);
    if (!against) return null;
    return this.#ask({ set: item.set, prompt: item.prompt_index, model: against }).then((rows) => {
      const name = against.replace("_", " ");
      if (rows.length) return { label: name, text: rows[0].completion };
      return { label: `no answer of the ${name} to this prompt was kept`, text: null };
    });
  }

  async #earlier(item, generation) {
    const query = { set: item.set, prompt: item.prompt_index, generation };
    const rows = await this.#ask(query);
    const earlier = rows.filter((row) => row.generation !== null && row.generation < (item.generation ?? Infinity));
    const newest = Math.max(...earlier.map((row) => row.generation));
    const found = earlier.filter((row) => row.generation === newest);
    const chosen = found.find((row) => row.candidate === item.candidate) ?? found[0];
    const when = generation ? `generation ${generation} has` : "no earlier generation has";
    if (!chosen) return { label: `${when}${generation ? " no" : " an"} answer to this prompt before this one`, text: null };
    return { label: `generation ${chosen.generation}`, text: chosen.completion };
  }

  #ask(query) {
    const key = JSON.stringify(query);
    if (!this.#known.has(key)) {
      this.#known.set(key, this.load({ ...query, limit: MOST }).then(({ data }) => data));
    }
    return this.#known.get(key);
  }
}
