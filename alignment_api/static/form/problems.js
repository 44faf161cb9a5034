// Split the service's complaint into one problem per setting.

const LINE = /^([a-z_]\w*(?:\.\w+)*)(?: = (.*?))?: (.*)$/s;

/** `[{field, text}]`; `field` is empty if the problem is about the whole job. */
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

/** The form field of a setting: its own, or the nearest one around it. */
export function fieldOf(fields, name) {
  const parts = name.split(".");
  for (let length = parts.length; length > 0; length -= 1) {
    const field = fields.get(parts.slice(0, length).join("."));
    if (field?.root.isConnected) return field;
  }
  return null;
}
