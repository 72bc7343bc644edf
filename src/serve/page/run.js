// One run: what matters first, then the rest by its families, all over one x with one cursor.

import * as address from "address";
import { el, hostile, link, name, refill, table } from "dom";
import { compact, count, duration, parted, short, time, words } from "form";
import { get, hasStep, report } from "source";
import { plot } from "plot";

const AXES = { step: "step", time: "time", tokens: "tokens", completions: "completions" };

export async function runView(place, id) {
  let run = await get("run", [["run", id]]);
  const charts = new Map(); // the figure of a plot -> what draws it; none for one that is folded away
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => {
    if (entry.isIntersecting) charts.get(entry.target)?.draw();
  }), { rootMargin: "300px" });

  const view = () => {
    const { params } = address.read();
    const number = (of) => address.number(params, of);
    const x = run.axes.includes(params.get("x")) ? params.get("x") : "step";
    return { x, smooth: Math.min(0.99, Math.max(0, number("smooth") ?? 0)), log: params.get("log") === "1", from: number("from"), to: number("to"),
      table: params.get("table") === "1", q: params.get("q") ?? "", open: new Set(address.list(params, "open")) };
  };

  const set = (changes) => {
    address.set(changes);
    redraw();
  };
  const redraw = () => {
    said();
    charts.forEach((chart) => chart.again());
  };

  const search = el("input", { type: "search", placeholder: "search keys (/)", "aria-label": "search keys", value: view().q,
    oninput: () => { address.set({ q: search.value }); sections(); } });
  const smooth = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view().smooth, "aria-label": "smoothing", oninput: () => set({ smooth: Number(smooth.value) || null }) });
  const weight = el("output", {});
  const x = el("select", { "aria-label": "x axis", onchange: () => set({ x: x.value === "step" ? null : x.value, from: null, to: null }) },
    run.axes.map((axis) => el("option", { value: axis, selected: axis === view().x }, AXES[axis])));
  const log = el("input", { type: "checkbox", checked: view().log, onchange: () => set({ log: log.checked ? "1" : null }) });
  const asTable = el("input", { type: "checkbox", checked: view().table, onchange: () => { address.set({ table: asTable.checked ? "1" : null }); sections(); } });
  const whole = el("button", { type: "button", onclick: () => set({ from: null, to: null }) }, "");
  const head = el("div");
  const config = el("details", {}, el("summary", {}, "configuration"));
  const body = el("div");
  place.append(head, config, el("div", { class: "bar" }, search, el("label", {}, "over ", x), el("label", {}, "smooth ", smooth, weight),
    el("label", {}, log, " log"), el("label", {}, asTable, " as a table"), whole),
  el("p", { class: "hint" }, "Drag over a plot for a range, double click for the whole run, click for a step."),
  report?.points ? el("p", { class: "hint" }, `This report keeps at most ${report.points} points of a key, the least and the greatest of each part of the run, and smooths those; last, mean, min and max are of all.`) : "", body);

  /// What the controls say of themselves.
  function said() {
    const { smooth: weighted, from, to, x: axis } = view();
    weight.textContent = weighted === 0 ? "" : weighted.toFixed(2);
    const end = (at) => (at === null ? "" : axis === "time" ? time(at) : compact(Math.round(at)));
    whole.hidden = from === null && to === null;
    whole.textContent = `${AXES[axis]} ${end(from)} to ${end(to)}: show the whole run`;
  }

  function header() {
    const { overview, flags } = run;
    const facts = [
      overview.last_step === null ? "no step yet" : `steps ${overview.first_step} to ${overview.last_step}`,
      overview.created === null ? null : `began ${time(overview.created)}`,
      overview.took === null ? null : `took ${duration(overview.took)}`,
      overview.seed === null ? null : `seed ${overview.seed}`,
    ].filter((fact) => fact);
    const latest = overview.last_step === null || !hasStep(id, String(overview.last_step)) ? "" : link(address.of(["run", id, "step", String(overview.last_step)]), "the last step's groups and completions (s)", { "data-at": "latest" });
    refill(head, el("h1", {}, name(overview.name), " ", el("span", { class: `status ${overview.standing}` }, overview.standing)),
      el("p", { class: "facts" }, facts.join(", "), overview.experiment ? [", experiment ", name(overview.experiment)] : "", " ",
        overview.tags.map((tag) => [el("span", { class: "tag" }, name(tag)), " "])),
      overview.said === overview.standing ? "" : el("p", {}, overview.said), overview.note ? el("p", { class: "note", dir: "auto" }, name(overview.note)) : "", latest,
      flags.length === 0 ? "" : el("ul", { class: "flags" }, flags.map((flag) => el("li", {}, el("b", {}, name(flag.key)), ": ", name(flag.reason), ` (${count(flag.spans.length, "time")})`))));
  }

  function configured() {
    const text = JSON.stringify(run.config ?? {}, null, 2);
    if (config.dataset.text === text) return;
    config.dataset.text = text;
    config.replaceChildren(config.firstChild, hostile(text, { "aria-label": "configuration" }));
  }

  /// The sections; a search shows what it finds from all of them.
  function sections() {
    charts.forEach((chart) => chart.destroy());
    charts.clear();
    const { q, table: isTable, open } = view();
    const typed = words(q);
    const shown = typed.length === 0 ? run.sections : run.sections.map((section) => ({ ...section, plots: section.plots.flatMap((one) => found(one, typed)) })).filter((section) => section.plots.length > 0);
    if (shown.length === 0) {
      body.replaceChildren(el("p", { class: "empty" }, run.sections.length === 0 ? "No number is stored yet. The first appears here by itself." : `no key has "${q}" in its name or meaning`));
      return;
    }
    refill(body, shown.map((section) => {
      const isOpen = typed.length > 0 || section.first || open.has(section.title);
      const isFamily = section.plots.length > 1 && section.plots.every((one) => one.title !== undefined && one.keys.length === 1);
      const inner = el("div", { class: isFamily ? "plots small" : "plots" });
      const fill = () => {
        if (inner.childElementCount > 0) return;
        if (isTable) inner.replaceChildren(values(section));
        else inner.append(...section.plots.map((one) => card(one, isFamily ? 110 : 180)));
      };
      const folded = el("details", { open: isOpen, ontoggle: () => {
        if (folded.open) fill();
        if (typed.length > 0 || section.first) return;
        const next = view().open;
        if (folded.open) next.add(section.title);
        else next.delete(section.title);
        address.set({ open: address.listed([...next]) });
      } }, el("summary", { "data-at": `section ${section.title}` }, el("h2", {}, name(section.title)), ` ${count(section.plots.reduce((sum, one) => sum + one.keys.length, 0), "key")}`), inner);
      if (isOpen) fill();
      return folded;
    }));
  }

  /// The plot of those keys that have every word in their name or meaning; all of them where its title has.
  function found(one, typed) {
    const has = (text) => typed.every((word) => text.toLowerCase().includes(word));
    const keys = has(one.title ?? "") ? one.keys : one.keys.filter((key) => has(`${key}\n${run.keys[key]?.meaning ?? ""}`));
    if (keys.length === 0) return [];
    return keys.length === one.keys.length ? [one] : [{ keys }];
  }

  /// A plot with its title and what its keys mean. It asks for its numbers once it is about to be seen.
  function card(one, height) {
    const host = el("div", { class: "host" });
    const note = el("p", { class: "plot-note" });
    const title = one.title ?? one.keys[0];
    const meaning = el("div", { class: "explained", hidden: true }, one.keys.map((key) => explained(key, run.keys[key])));
    const asks = el("button", { type: "button", class: "meaning", "aria-expanded": "false", "aria-label": `what ${title} means`, title: one.keys.length === 1 ? run.keys[one.keys[0]]?.meaning : null,
      onclick: () => { meaning.hidden = !meaning.hidden; asks.setAttribute("aria-expanded", String(!meaning.hidden)); } }, "?");
    const figure = el("figure", { class: "plot", "data-plot": title, "aria-label": title }, el("figcaption", {}, name(title), asks), meaning, host, note);
    let drawn = null;
    let wanted = null;
    let isSeen = false;
    let always = ""; // what is said of the numbers, whatever the cursor is over
    let flags = [];
    const hovered = (at) => {
      const reasons = at === null ? [] : flags.filter(({ from, to }) => from <= at && at <= to).map(({ reason }) => reason);
      if (note.dataset.at === undefined) note.textContent = [always, ...reasons].filter((text) => text).join("; ");
    };
    const picked = (series) => (at) => {
      const i = series.x.indexOf(at);
      if (i < 0) return;
      const step = String(series.step[i]);
      if (!hasStep(id, step)) return;
      note.dataset.at = step;
      note.replaceChildren(link(address.of(["run", id, "step", step]), `step ${step}: its groups and completions`));
    };
    const fill = async () => {
      wanted?.abort();
      wanted = new AbortController();
      const { x: axis, smooth: weighted, log: isLog, from, to } = view();
      const asked = [["run", id], ["x", axis], ["width", String(Math.max(180, host.clientWidth))], ...one.keys.map((key) => ["key", key])];
      if (weighted > 0 && one.kind !== "fan") asked.push(["smooth", String(weighted)]);
      if (from !== null) asked.push(["from", String(from)]);
      if (to !== null) asked.push(["to", String(to)]);
      const { series } = await get("series", asked, wanted.signal);
      flags = run.flags.flatMap((flag) => flag.spans.map(([a, b]) => ({ from: a[axis], to: b[axis], reason: `${flag.key}: ${flag.reason}` })));
      const isPositive = series.every((line) => line.value.every((value) => value === null || value > 0));
      const next = { lines: lines(one, series), bands: fanned(one, series), flags, isTime: axis === "time", xLabel: AXES[axis], isLog: isLog && isPositive, height };
      const infinite = series.reduce((sum, line) => sum + (line.infinite ?? 0), 0);
      always = [series.every((line) => line.x.length === 0) ? "no numbers here" : null, infinite > 0 ? `${count(infinite, "infinite value")} not drawn` : null,
        isLog && !isPositive ? "not all above 0: no logarithm" : null].filter((text) => text).join("; ");
      if (note.dataset.at === undefined) note.textContent = always;
      figure.dataset.drawn = "true";
      if (series.length === 0) return;
      next.onPick = picked(series[0]);
      if (drawn === null) {
        drawn = plot(host, { ...next, onRange: (a, b) => set({ from: a, to: b }), onAt: hovered });
      } else {
        drawn.change(next);
      }
    };
    const guarded = () => fill().catch((error) => { if (error.name !== "AbortError") note.textContent = error.message; });
    charts.set(figure, {
      draw() {
        if (!isSeen) {
          isSeen = true;
          guarded();
        }
      },
      again: () => (isSeen ? guarded() : undefined),
      destroy() {
        wanted?.abort();
        seen.unobserve(figure);
        drawn?.destroy();
      },
    });
    seen.observe(figure);
    return figure;
  }

  /// What a section's keys came to, as a table.
  function values(section) {
    const keys = section.plots.flatMap((one) => one.keys);
    return table(["key", { class: "number", cell: "last" }, { class: "number", cell: "mean" }, { class: "number", cell: "min" }, { class: "number", cell: "max" }, "unit", "meaning"],
      keys.map((key) => {
        const { last, mean, min, max, unit, meaning } = run.keys[key];
        return [name(key), ...[last, mean, min, max].map((value) => ({ class: "number", cell: short(value), title: String(value ?? "") })), unit ?? "", meaning ?? ""];
      }), { "aria-label": section.title });
  }

  const step = (by) => () => {
    smooth.value = String(Number(smooth.value) + by);
    smooth.dispatchEvent(new Event("input"));
  };
  said();
  header();
  configured();
  sections();
  return {
    title: run.overview.name,
    keys: {
      "/": ["search keys", () => search.focus()],
      l: ["logarithmic axis", () => log.click()],
      v: ["values as a table", () => asTable.click()],
      x: ["next x axis", () => { x.selectedIndex = (x.selectedIndex + 1) % x.options.length; x.dispatchEvent(new Event("change")); }],
      "+": ["smoother", step(0.1)],
      "-": ["less smooth", step(-0.1)],
      0: ["the whole run", () => whole.click()],
      s: ["the last step", () => { if (run.overview.last_step !== null) address.go(address.of(["run", id, "step", String(run.overview.last_step)])); }],
    },
    async refresh() {
      const named = ({ sections: all }) => JSON.stringify(all);
      const [before, written] = [named(run), run.overview.written];
      run = await get("run", [["run", id]]);
      header();
      configured();
      if (named(run) !== before || (view().table && run.overview.written !== written)) sections();
      else if (run.overview.written !== written) redraw();
    },
    destroy() {
      seen.disconnect();
      charts.forEach((chart) => chart.destroy());
    },
  };
}

/// A key's definition, its unit, and how the samples of all ranks become its one number.
function explained(key, { unit, reduction, meaning } = {}) {
  const parts = [unit ? `unit: ${unit}` : null, reduction ? `reduction: ${reduction}` : null].filter((text) => text).join("; ");
  return el("p", {}, el("b", {}, name(key)), " ", meaning ?? "a number of the trainer's own", parts ? ` (${parts})` : "");
}

function lines(one, series) {
  const isFan = one.kind === "fan";
  const labels = parted(series.map((line) => line.key));
  return series.map((line, i) => ({ label: labels[i], hue: isFan ? 0 : i, x: line.x, value: line.value, raw: line.raw, faint: isFan && i !== Math.floor(series.length / 2) }));
}

/// A fan: quantiles that belong together enclose a band, the outer ones fainter.
function fanned(one, series) {
  if (one.kind !== "fan") return [];
  const pairs = Math.floor(series.length / 2);
  return Array.from({ length: pairs }, (_, i) => [series.length - 1 - i, i, 0, (26 + 20 * i).toString(16)]);
}
