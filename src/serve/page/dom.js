// Elements. Names, tags and completions are hostile text: it only ever becomes a text node, and nothing here parses HTML.

/// An element; `on*` properties listen, `class` and `aria-*` are attributes, `false` and `undefined` are left out.
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === false || value === null) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
}

/// A link to another view.
export function link(address, text, properties = {}) {
  return el("a", { href: address, ...properties }, text);
}

/// How many characters of a text are shown until all are asked for.
const SHOWN = 4000;

/// A text of which nothing is known, as it is: control characters can be seen, and no direction mark reaches beyond it.
export function hostile(text, properties = {}) {
  const body = el("bdi", {}, visible(text.slice(0, SHOWN)));
  const block = el("pre", { class: "text", dir: "auto", tabindex: "0", ...properties }, body);
  if (text.length > SHOWN) {
    const rest = text.length - SHOWN;
    const more = el("button", { type: "button", onclick: () => { body.textContent = visible(text); more.remove(); } }, `${rest} more characters`);
    return el("div", {}, block, more);
  }
  return block;
}

/// Control characters as pictures of themselves; direction marks as their names.
function visible(text) {
  return text
    .replace(/[\u0000-\u0008\u000b-\u001f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0)))
    .replace(/\u007f/g, "\u2421")
    .replace(/[\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase()}\u27e9`);
}

/// A table with a head; `rows` are lists of cells, a cell is a text, an element, or `{ cell, ...attributes }`.
export function table(head, rows, properties = {}) {
  const cell = (tag, content) => {
    const isPlain = content === null || content === undefined || typeof content !== "object" || content instanceof Node;
    if (isPlain) return el(tag, {}, content ?? "");
    const { cell: inner, ...attributes } = content;
    return el(tag, attributes, inner ?? "");
  };
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": properties["aria-label"] ?? "table" },
    el("table", properties,
      el("thead", {}, el("tr", {}, head.map((content) => cell("th", typeof content === "object" && !(content instanceof Node) ? { scope: "col", ...content } : { scope: "col", cell: content })))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content) => cell("td", content)))))));
}
