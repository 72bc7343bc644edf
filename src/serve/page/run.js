// One run: what matters first, then the rest by its families, all over one x with one cursor.

import * as address from "address";
import { el, link, table } from "dom";
import { count, duration, short, time } from "form";
import { get, isReport } from "source";
import { colorOf, plot } from "plot";

const AXES = { step: "step", time: "time", tokens: "tokens", completions: "completions" };

export async function runView(place, id) {
  let run = await get("run", [["run", id]]);
  const charts = new Map(); // title of a plot -> what draws it; none for one that is folded away
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) charts.get(entry.target)?.draw();
  }), { rootMargin: "300px" });

  const view = () => {
    const { params } = address.read();
    const number = (name) => (params.has(name) && Number.isFinite(Number(params.get(name))) ? Number(params.get(name)) : null);
    const x = run.axes.includes(params.get("x")) ? params.get("x") : "step";
    return { x, smooth: Math.min(0.99, Math.max(0, number("smooth") ?? 0)), log: params.get("log") === "1", from: number("from"), to: number("to"),
      table: params.get("table") === "1", q: params.get("q") ?? "", open: new Set((params.get("open") ?? "").split("|").filter((name) => name !== "")) };
  };

  const set = (changes) => {
    address.set(changes);
    redraw();
  };
  const redraw = () => charts.forEach((chart) => chart.again());

  const head = el("div");
  const search = el("input", { type: "search", placeholder: "search keys (/)", "aria-label": "search keys", value: view().q,
    oninput: () => { address.set({ q: search.value }); sections(); } });
  const smooth = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view().smooth, "aria-label": "smoothing", oninput: () => set({ smooth: Number(smooth.value) || null }) });
  const x = el("select", { "aria-label": "x axis", onchange: () => set({ x: x.value === "step" ? null : x.value, from: null, to: null }) },
    run.axes.map((axis) => el("option", { value: axis, selected: axis === view().x }, AXES[axis])));
  const log = el("input", { type: "checkbox", checked: view().log, onchange: () => set({ log: log.checked ? "1" : null }) });
  const asTable = el("input", { type: "checkbox", checked: view().table, onchange: () => { address.set({ table: asTable.checked ? "1" : null }); sections(); } });
  const whole = el("button", { type: "button", onclick: () => set({ from: null, to: null }) }, "whole run");
  const body = el("div");
  place.append(head, el("div", { class: "bar" }, search, el("label", {}, "over ", x), el("label", {}, "smooth ", smooth),
    el("label", {}, log, " log"), el("label", {}, asTable, " as a table"), whole), body);

  function header() {
    const { overview } = run;
    const facts = [
      overview.last_step === null ? "no step yet" : `steps ${overview.first_step} to ${overview.last_step}`,
      overview.created === null ? null : `began ${time(overview.created)}`,
      overview.took === null ? null : `took ${duration(overview.took)}`,
      overview.experiment, overview.seed === null ? null : `seed ${overview.seed}`,
    ].filter((fact) => fact);
    const latest = overview.last_step === null || isReport ? "" : link(address.of(["run", id, "step", String(overview.last_step)]), "the last step's groups and completions");
    head.replaceChildren(el("h1", {}, el("bdi", {}, overview.name), " ", el("span", { class: `status ${overview.standing}` }, overview.standing)),
      el("p", { class: "facts" }, facts.join(", "), " ", overview.tags.map((tag) => [el("span", { class: "tag" }, el("bdi", {}, tag)), " "])),
      el("p", {}, overview.said === overview.standing ? "" : overview.said, " ", latest), overview.note ? el("p", { class: "note", dir: "auto" }, overview.note) : "",
      run.flags.length === 0 ? "" : el("ul", { class: "flags" }, run.flags.map((flag) => el("li", {}, el("b", {}, flag.key), `: ${flag.reason} (${count(flag.spans.length, "time")})`))),
      el("details", {}, el("summary", {}, "configuration"), el("pre", { class: "text", tabindex: "0" }, JSON.stringify(run.config, null, 2))));
  }

  /// The sections; a search shows what it finds from all of them.
  function sections() {
    charts.forEach((chart) => chart.destroy());
    charts.clear();
    const { q, table: isTable, open } = view();
    const words = q.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const found = (plot) => plot.keys.filter((key) => words.every((word) => key.toLowerCase().includes(word) || (run.keys[key]?.meaning ?? "").toLowerCase().includes(word)));
    const shown = words.length === 0 ? run.sections : run.sections
      .map((section) => ({ ...section, plots: section.plots.flatMap((one) => { const keys = found(one); return keys.length === 0 ? [] : keys.length === one.keys.length ? [one] : [{ ...one, keys, kind: "lines" }]; }) }))
      .filter((section) => section.plots.length > 0);
    if (shown.length === 0) {
      body.replaceChildren(el("p", { class: "empty" }, run.sections.length === 0 ? "no number is stored yet" : `no key has "${q}" in its name or meaning`));
      return;
    }
    body.replaceChildren(...shown.map((section) => {
      const isOpen = words.length > 0 || section.first || open.has(section.title);
      const inner = el("div", { class: "plots" });
      const fill = () => {
        if (inner.childElementCount > 0) return;
        if (isTable) inner.replaceChildren(values(section));
        else inner.append(...section.plots.map(card));
      };
      const folded = el("details", { open: isOpen, ontoggle: () => {
        if (folded.open) fill();
        if (words.length > 0 || section.first) return;
        const next = view().open;
        if (folded.open) next.add(section.title);
        else next.delete(section.title);
        address.set({ open: [...next].join("|") });
      } }, el("summary", {}, el("h2", {}, section.title), ` ${count(section.plots.reduce((sum, one) => sum + one.keys.length, 0), "key")}`), inner);
      if (isOpen) fill();
      return folded;
    }));
  }

  /// A plot with its title and what its keys mean. It asks for its numbers once it is about to be seen.
  function card(one) {
    const host = el("div", { class: "host" });
    const note = el("p", { class: "plot-note" });
    const meaning = one.keys.length === 1 ? run.keys[one.keys[0]] : null;
    const title = one.title ?? one.keys[0];
    const card = el("figure", { class: "plot", "data-plot": title, "aria-label": title },
      el("figcaption", {}, el("bdi", {}, title), meaning ? el("button", { type: "button", class: "meaning", title: explained(meaning), "aria-label": `what ${title} means`,
        onclick: () => { note.textContent = note.textContent === explained(meaning) ? "" : explained(meaning); } }, "?") : ""), host, note);
    let drawn = null;
    let wanted = null;
    let isSeen = false;
    const fill = async () => {
      wanted?.abort();
      wanted = new AbortController();
      const { x: axis, smooth: weight, log: isLog, from, to } = view();
      const asked = [["run", id], ["x", axis], ["width", String(Math.max(220, host.clientWidth))], ...one.keys.map((key) => ["key", key])];
      if (weight > 0 && one.kind !== "fan") asked.push(["smooth", String(weight)]);
      if (from !== null) asked.push(["from", String(from)]);
      if (to !== null) asked.push(["to", String(to)]);
      const { series } = await get("series", asked, wanted.signal);
      const next = { lines: lines(one, series), bands: fanned(one, series), flags: run.flags.flatMap((flag) => flag.spans.map(([a, b]) => ({ from: a[axis], to: b[axis], reason: flag.reason }))),
        isTime: axis === "time", xLabel: AXES[axis], isLog: isLog && series.every((line) => line.value.every((value) => value === null || value > 0)), format: short };
      const infinite = series.reduce((sum, line) => sum + (line.infinite ?? 0), 0);
      const said = [series.length === 0 ? "no numbers" : null, infinite > 0 ? `${count(infinite, "infinite value")} not drawn` : null,
        isLog && !next.isLog ? "not all above 0: no logarithm" : null].filter((text) => text);
      note.textContent = said.join("; ");
      if (series.length === 0) return;
      if (drawn === null) {
        drawn = plot(host, { ...next, onRange: (a, b) => set({ from: a, to: b }), onPick: (at) => pick(series[0], at) });
      } else {
        drawn.change(next);
      }
      card.dataset.drawn = "true";
    };
    const guarded = () => fill().catch((error) => { if (error.name !== "AbortError") note.textContent = error.message; });
    charts.set(card, {
      draw() {
        if (!isSeen) {
          isSeen = true;
          guarded();
        }
      },
      again: () => (isSeen ? guarded() : undefined),
      destroy() {
        wanted?.abort();
        seen.unobserve(card);
        drawn?.destroy();
      },
    });
    seen.observe(card);
    return card;
  }

  function pick(series, at) {
    const i = series.x.indexOf(at);
    if (i >= 0 && !isReport) address.go(address.of(["run", id, "step", String(series.step[i])]));
  }

  /// What a section's keys came to, as a table.
  function values(section) {
    const keys = section.plots.flatMap((one) => one.keys);
    return table(["key", { class: "number", cell: "last" }, { class: "number", cell: "mean" }, { class: "number", cell: "min" }, { class: "number", cell: "max" }, "unit", "meaning"],
      keys.map((key) => {
        const { last, mean, min, max, unit, meaning } = run.keys[key];
        return [el("bdi", {}, key), ...[last, mean, min, max].map((value) => ({ class: "number", cell: short(value), title: String(value ?? "") })), unit ?? "", meaning ?? ""];
      }), { "aria-label": section.title });
  }

  header();
  sections();
  return {
    keys: {
      "/": ["search keys", () => search.focus()],
      l: ["logarithmic axis", () => log.click()],
      v: ["values as a table", () => asTable.click()],
      x: ["next x axis", () => { x.selectedIndex = (x.selectedIndex + 1) % x.options.length; x.dispatchEvent(new Event("change")); }],
      "+": ["smoother", () => { smooth.value = String(Number(smooth.value) + 0.1); smooth.dispatchEvent(new Event("input")); }],
      "-": ["less smooth", () => { smooth.value = String(Number(smooth.value) - 0.1); smooth.dispatchEvent(new Event("input")); }],
      0: ["the whole run", () => whole.click()],
      s: ["the last step", () => { if (run.overview.last_step !== null) address.go(address.of(["run", id, "step", String(run.overview.last_step)])); }],
    },
    async refresh() {
      const before = Object.keys(run.keys).join("\n");
      const isAt = run.overview.written;
      run = await get("run", [["run", id]]);
      header();
      if (Object.keys(run.keys).join("\n") !== before || view().table) sections();
      else if (run.overview.written !== isAt) redraw();
    },
    destroy() {
      seen.disconnect();
      charts.forEach((chart) => chart.destroy());
    },
  };
}

function explained({ unit, reduction, meaning }) {
  return [meaning, unit ? `unit: ${unit}` : null, reduction ? `many samples become one by: ${reduction}` : null].filter((text) => text).join("; ") || "a number of the trainer's own";
}

function lines(one, series) {
  const isFan = one.kind === "fan";
  return series.map((line, i) => ({ label: line.key, color: isFan ? colorOf(0) : colorOf(i), x: line.x, value: line.value, raw: line.raw, faint: isFan && !line.key.endsWith("p50") }));
}

/// A fan: quantiles that belong together enclose a band, the outer ones fainter.
function fanned(one, series) {
  if (one.kind !== "fan") return [];
  const pairs = Math.floor(series.length / 2);
  return Array.from({ length: pairs }, (_, i) => [series.length - 1 - i, i, `${colorOf(0)}${(26 + 20 * i).toString(16)}`]);
}
