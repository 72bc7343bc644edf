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

/// A name that somebody gave: no direction mark in it reaches beyond it, and control characters can be seen.
export function name(text) {
  return el("bdi", {}, visible(text));
}

/// Puts new children in place of the old ones. What has the focus keeps it, by its `data-at`, and tables stay scrolled as they were.
export function refill(host, ...children) {
  const at = host.contains(document.activeElement) ? document.activeElement.dataset.at : undefined;
  const scrolled = [...host.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  host.replaceChildren(...children.flat(Infinity).filter((child) => child !== ""));
  [...host.querySelectorAll(".scroll")].forEach((one, i) => { one.scrollLeft = scrolled[i] ?? 0; });
  if (at !== undefined) [...host.querySelectorAll("[data-at]")].find((one) => one.dataset.at === at)?.focus({ preventScroll: true });
}

/// How many characters of a text are shown until all are asked for.
const SHOWN = 4000;

/// A text of which nothing is known, as it is: control characters can be seen, and no direction mark reaches beyond it.
export function hostile(text, properties = {}) {
  const body = el("bdi", {}, visible(text.slice(0, SHOWN)));
  const block = el("pre", { class: "text", dir: "auto", tabindex: "0", role: "group", ...properties }, body);
  if (text.length > SHOWN) {
    const rest = text.length - SHOWN;
    const more = el("button", { type: "button", onclick: () => { body.textContent = visible(text); more.remove(); } }, `${rest} more characters`);
    return el("div", {}, block, more);
  }
  return block;
}

/// Control characters and direction marks as their numbers; tabs and the ends of lines are what they are.
export function visible(text) {
  return text.replace(/\r(?!\n)|[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    (c) => `\u27e8U+${c.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`);
}

/// A table with a head; `rows` are lists of cells, a cell is a text, an element, or `{ cell, ...attributes }`.
export function table(head, rows, properties = {}) {
  const cell = (tag, content) => {
    const isPlain = content === null || content === undefined || typeof content !== "object" || content instanceof Node || Array.isArray(content);
    if (isPlain) return el(tag, {}, content ?? "");
    const { cell: inner, ...attributes } = content;
    return el(tag, attributes, inner ?? "");
  };
  const label = properties["aria-label"] ?? "table";
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label, "data-at": `table ${label}` },
    el("table", properties,
      el("thead", {}, el("tr", {}, head.map((content) => cell("th", typeof content === "object" && !(content instanceof Node) ? { scope: "col", ...content } : { scope: "col", cell: content })))),
      el("tbody", {}, rows.map((row) => el("tr", {}, row.map((content) => cell("td", content)))))));
}
