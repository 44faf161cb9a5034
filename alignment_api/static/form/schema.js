// Read a JSON Schema in pydantic's dialect.

/** A node with its reference resolved; keywords beside the reference win. */
export function resolve(node, root) {
  if (!node.$ref) return node;
  const { $ref, ...beside } = node;
  const target = root.$defs[$ref.split("/").at(-1)];
  return { ...resolve(target, root), ...beside, refName: $ref.split("/").at(-1) };
}

/** A node without its null branch, and whether it had one. */
export function withoutNull(node, root) {
  if (!node.anyOf) return { node, isNullable: false };
  const branches = node.anyOf.filter(({ type }) => type !== "null");
  const isNullable = branches.length < node.anyOf.length;
  if (branches.length > 1) return { node: { ...node, anyOf: branches }, isNullable };
  const { anyOf, ...beside } = node;
  return { node: { ...resolve(branches[0], root), ...beside }, isNullable };
}

/** The variants of a discriminated union: its tag, and a `[name, node]` for each, in order. */
export function variants(node, root) {
  if (!node.discriminator) return null;
  const { propertyName: tag, mapping } = node.discriminator;
  const byRef = new Map(Object.entries(mapping).map(([name, ref]) => [ref, name]));
  return { tag, choices: node.oneOf.map((one) => [byRef.get(one.$ref), resolve(one, root)]) };
}

/** The kind of field that shows a node: see inputs.js and groups.js. */
export function kindOf(node, root) {
  if (node.discriminator) return "variants";
  if (node.const !== undefined) return "constant";
  if (node.enum) return "choice";
  if (node.anyOf) return "mixed";
  if (node.type === "object") return node.properties ? "group" : "json";
  if (node.type === "array") return listKind(node, root);
  return { boolean: "switch", integer: "number", number: "number", string: "text" }[node.type] ?? "json";
}

function listKind({ items, prefixItems }, root) {
  if (!items || prefixItems) return "json";
  const item = resolve(items, root);
  const kind = kindOf(item, root);
  if (kind === "number") return "numbers";
  if (kind === "text") return "lines";
  return ["group", "variants"].includes(kind) ? "list" : "json";
}

/** The default of a node; undefined if it has none. */
export function defaultOf(node, name, given) {
  const outer = given && typeof given === "object" ? given[name] : undefined;
  return outer !== undefined ? outer : node.default;
}

/** A value without the parts that equal the defaults; undefined if nothing is left. */
export function withoutDefaults(value, raw, root, given) {
  if (given !== undefined && JSON.stringify(value) === JSON.stringify(given)) return undefined;
  if (value === null || typeof value !== "object" || Array.isArray(value)) return value;
  const { node } = withoutNull(resolve(raw, root), root);
  const union = variants(node, root);
  const shape = union ? union.choices.find(([name]) => name === value[union.tag])?.[1] : node;
  if (!shape?.properties) return value;
  const isSame = !union || given?.[union.tag] === value[union.tag];
  const kept = {};
  for (const [name, inner] of Object.entries(value)) {
    if (union?.tag === name || shape.properties[name]?.const !== undefined) {
      if (union?.tag === name) kept[name] = inner;
      continue;
    }
    const property = shape.properties[name];
    const left = property ? withoutDefaults(inner, property, root, defaultOf(property, name, isSame ? given : undefined)) : inner;
    if (left !== undefined) kept[name] = left;
  }
  return kept;
}

/** The name of a setting in words. */
export function words(name) {
  const text = name.replaceAll("_", " ");
  return (text.charAt(0).toUpperCase() + text.slice(1)).replace(/\b(kl|lora|sft|gib|kv)\b/gi, (part) => ({ gib: "GiB", lora: "LoRA" })[part.toLowerCase()] ?? part.toUpperCase());
}
