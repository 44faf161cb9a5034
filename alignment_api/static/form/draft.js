// The job being written: plain data that holds only what differs from the defaults.

/** Places are lists of names and numbers, such as `["reward", "components", 0, "weight"]`. */
export class Draft {
  #listeners = new Set();

  constructor(value = {}) {
    this.value = value;
  }

  get(place) {
    return place.reduce((here, part) => (here === null || here === undefined ? undefined : here[part]), this.value);
  }

  /**
   * Set the value at a place; undefined removes it, and every section that becomes empty.
   * `tags` are the variants around the place, outermost first, such as
   * `{place: ["search"], tag: "type", name: "snes", isDefault: false}`: a variant is named once a
   * value in it is set; the default variant is dropped again when none is.
   */
  set(place, value, tags = []) {
    if (value === undefined) this.#remove(place);
    else this.#put(place, value);
    for (const { place: section, tag, name, isDefault } of tags.toReversed()) {
      const there = this.get(section);
      if (there === null || typeof there !== "object") continue;
      const isBare = Object.keys(there).every((key) => key === tag);
      if (isBare && isDefault) this.#remove(section);
      else if (there[tag] === undefined) this.#put(section, { [tag]: name, ...there });
    }
    this.#tell();
  }

  /** Replace the whole job. */
  replace(value) {
    this.value = value;
    this.#tell();
  }

  onChange(listener) {
    this.#listeners.add(listener);
  }

  #put(place, value) {
    if (!place.length) return void (this.value = value);
    let here = this.value;
    place.slice(0, -1).forEach((part, n) => {
      if (here[part] === null || typeof here[part] !== "object") here[part] = typeof place[n + 1] === "number" ? [] : {};
      here = here[part];
    });
    here[place.at(-1)] = value;
  }

  #remove(place) {
    const parent = this.get(place.slice(0, -1));
    if (parent === null || typeof parent !== "object") return;
    if (Array.isArray(parent)) parent.splice(place.at(-1), 1);
    else delete parent[place.at(-1)];
    const isEmpty = !Array.isArray(parent) && Object.keys(parent).length === 0;
    // An empty item of a list stays: it was added on purpose.
    if (isEmpty && place.length > 1 && typeof place.at(-2) !== "number") this.#remove(place.slice(0, -1));
  }

  #tell() {
    for (const listener of this.#listeners) listener(this.value);
  }
}
