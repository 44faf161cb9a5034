// The service's complaint, taken apart: one problem per setting.

const LINE = /^([a-z_]\w*(?:\.\w+)*)(?: = (.*?))?: (.*)$/s;

/** `[{field, text}]`; `field` is empty where it is about the whole. */
export function problemsOf(error) {
  const parts = error.message.split(/\n|; (?=[a-z_]\w*(?:\.\w+)*(?: = |: ))/);
  const found = parts.map((part) => {
    const match = part.match(LINE);
    return match ? { field: match[1], text: match[2] === undefined ? match[3] : `${match[2]}: ${match[3]}` } : { field: "", text: part };
  });
  if (error.param && !found.some(({ field }) => field === error.param)) {
    const first = found.find(({ field }) => !field);
    if (first) first.field = error.param;
  }
  return found;
}

/** The field of the form that a setting belongs to: its own, or the nearest around it. */
export function fieldOf(fields, name) {
  const parts = name.split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const field = fields.get(parts.slice(0, length).join("."));
    if (field?.root.isConnected) return field;
  }
  return null;
}
