// Build elements. Text only ever becomes a text node, so model output is never parsed as HTML.

const PROPERTIES = new Set(["value", "checked", "selected", "disabled", "hidden", "indeterminate"]);
const SVG = "http://www.w3.org/2000/svg";

/**
 * Build an element.
 * - `props`: attributes by name; functions named `on…` become listeners; null, undefined and false
 *   are left out; true is an attribute without a value. Inline styles are refused, as the page's
 *   security policy would: use a class, or `element.style` for what is computed.
 * - `children`: nodes, text, numbers or lists of them; null, undefined and false are left out.
 */
export function el(tag, props, ...children) {
  return fill(document.createElement(tag), props, children);
}

/** Build an SVG element, as `el` does. */
export function svg(tag, props, ...children) {
  return fill(document.createElementNS(SVG, tag), props, children);
}

/** Replace the content of a node. */
export function replace(node, ...children) {
  node.replaceChildren(...flat(children));
}

/** Set the text of a node; unchanged text is left alone, which keeps selections and live regions quiet. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

let lastId = 0;

/** An id that no other element has. */
export function freshId(prefix = "id") {
  lastId += 1;
  return `${prefix}-${lastId}`;
}

function fill(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) setProp(node, name, value);
  node.append(...flat(children));
  return node;
}

function setProp(node, name, value) {
  if (name === "style") throw new Error("no inline styles: use a class or element.style");
  if (typeof value === "function" && name.startsWith("on")) {
    node.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (PROPERTIES.has(name) && name in node) {
    node[name] = value ?? "";
  } else if (value === true) {
    node.setAttribute(name, "");
  } else if (value !== null && value !== undefined && value !== false) {
    node.setAttribute(name, value);
  }
}

function flat(children) {
  return children
    .flat(Infinity)
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}
