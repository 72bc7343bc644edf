// Runs laid over each other: the same keys of each, or the mean of those that differ by their seed alone, with what they came to and
// how they were configured.

import * as address from "address";
import { el, link, name, refill, table } from "dom";
import { short, words } from "form";
import { get } from "source";
import { hue, plot } from "plot";

const MOST_PLOTS = 60;

export async function compareView(place) {
  const ids = address.list(address.read().params, "runs");
  if (ids.length < 2) {
    place.append(el("h1", {}, "Compare"), el("p", { class: "empty" }, "Choose two runs or more among ", link("#/", "all runs"), "."));
    return { title: "compare" };
  }
  const asked = ids.map((id) => ["run", id]);
  let compared = await get("compare", asked);
  const charts = new Map();
  const view = () => {
    const { params } = address.read();
    const number = (of) => address.number(params, of);
    return { x: params.get("x") === "time" ? "time" : "step", smooth: Math.min(0.99, Math.max(0, number("smooth") ?? 0)), log: params.get("log") === "1",
      together: params.get("by") === "seed", q: params.get("q") ?? "", from: number("from"), to: number("to") };
  };
  const set = (changes) => {
    address.set(changes);
    said();
    charts.forEach((chart) => chart.again());
  };
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) charts.get(entry.target)?.draw(); }), { rootMargin: "300px" });

  const search = el("input", { type: "search", placeholder: "search keys (/)", "aria-label": "search keys", value: view().q, oninput: () => { address.set({ q: search.value }); draw(); } });
  const smooth = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view().smooth, "aria-label": "smoothing", oninput: () => set({ smooth: Number(smooth.value) || null }) });
  const weight = el("output", {});
  const x = el("select", { "aria-label": "x axis", onchange: () => set({ x: x.value === "step" ? null : x.value, from: null, to: null }) },
    ["step", "time"].map((axis) => el("option", { value: axis, selected: axis === view().x }, axis)));
  const log = el("input", { type: "checkbox", checked: view().log, onchange: () => set({ log: log.checked ? "1" : null }) });
  const together = el("input", { type: "checkbox", checked: view().together, onchange: () => { set({ by: together.checked ? "seed" : null }); legend(); } });
  const whole = el("button", { type: "button", onclick: () => set({ from: null, to: null }) }, "show the whole runs");
  const names = el("p", { class: "legend" });
  const plots = el("div", { class: "plots" });
  const more = el("p", { class: "empty" });
  const numbers = el("div");
  const configured = el("div");
  place.append(el("h1", {}, "Compare"), names, el("div", { class: "bar" }, search, el("label", {}, "over ", x), el("label", {}, "smooth ", smooth, weight), el("label", {}, log, " log"),
    el("label", {}, together, " seeds of one experiment as their mean, in a band from least to greatest"), whole), plots, more,
  el("h2", {}, "What they came to"), numbers, el("h2", {}, "What was configured differently"), configured);

  function said() {
    const { smooth: weighted, from, to } = view();
    weight.textContent = weighted === 0 ? "" : weighted.toFixed(2);
    whole.hidden = from === null && to === null;
  }

  /// What is laid over each other: each run, or the runs that are of one kind but for their seed.
  function parties() {
    if (!view().together) return compared.runs.map((run) => ({ label: run.label, runs: [run.id] }));
    const kinds = new Map();
    compared.runs.forEach((run) => kinds.set(run.kind, [...(kinds.get(run.kind) ?? []), run]));
    return [...kinds.values()].map((runs) => ({ label: runs.length === 1 ? runs[0].label : `${runs[0].label} and ${runs.length - 1} more`, runs: runs.map((run) => run.id) }));
  }

  function legend() {
    refill(names, parties().map((party, i) => {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = hue(i);
      const label = name(party.label);
      return [swatch, party.runs.length === 1 ? link(address.of(["run", party.runs[0]]), label, { "data-at": party.runs[0] }) : label, " "];
    }).flat());
  }

  /// The keys that are shown: those that are looked at first, or those that are searched for.
  function shown() {
    const typed = words(view().q);
    return compared.keys.filter((one) => (typed.length === 0 ? one.first : typed.every((word) => one.key.toLowerCase().includes(word))));
  }

  function draw() {
    charts.forEach((chart) => chart.destroy());
    charts.clear();
    const keys = shown();
    plots.replaceChildren(...(keys.length === 0 ? [el("p", { class: "empty" }, view().q === "" ? "No key that is looked at first is in them; search for another." : `no key has "${view().q}" in its name`)]
      : keys.slice(0, MOST_PLOTS).map((one) => card(one.key))));
    more.textContent = keys.length > MOST_PLOTS ? `${keys.length - MOST_PLOTS} more keys are in the table alone.` : "";
    tables();
  }

  function tables() {
    refill(numbers, table(["key", ...compared.runs.map((run) => ({ class: "number", cell: name(run.label) })), "better"],
      shown().map((one) => [name(one.key), ...one.runs.map((outcome) => ({ class: "number", ...cameTo(outcome) })), one.better ?? ""]), { "aria-label": "last and best numbers" }));
    refill(configured, compared.differences.length === 0 ? el("p", { class: "empty" }, "Nothing, of what was stored with them.")
      : table(["setting", ...compared.runs.map((run) => name(run.label))],
        compared.differences.map(([setting, ...values]) => [name(setting), ...values.map((value) => (value === null ? "" : name(typeof value === "string" ? value : JSON.stringify(value))))]), { "aria-label": "configurations" }));
  }

  function card(key) {
    const host = el("div", { class: "host" });
    const note = el("p", { class: "plot-note" });
    const figure = el("figure", { class: "plot", "data-plot": key, "aria-label": key }, el("figcaption", {}, name(key)), host, note);
    let drawn = null;
    let isSeen = false;
    let wanted = null;
    const fill = async () => {
      wanted?.abort();
      wanted = new AbortController();
      const { x: axis, smooth: weighted, log: isLog, from, to } = view();
      const rest = [["x", axis], ["width", String(Math.max(180, host.clientWidth))], ["key", key], ...(weighted > 0 ? [["smooth", String(weighted)]] : []),
        ...(from === null ? [] : [["from", String(from)]]), ...(to === null ? [] : [["to", String(to)]])];
      const each = parties();
      const all = await Promise.all(each.map((party) => get("series", [...party.runs.map((run) => ["run", run]), ...(party.runs.length > 1 ? [["together", "1"]] : []), ...rest], wanted.signal)));
      const lines = [];
      const bands = [];
      all.forEach(({ series }, i) => series.forEach((line) => {
        const { label } = each[i];
        if (line.low) {
          bands.push([lines.length, lines.length + 1, i, "33"]);
          lines.push({ label: `${label}: greatest`, hue: i, alpha: "66", x: line.x, value: line.high }, { label: `${label}: least`, hue: i, alpha: "66", x: line.x, value: line.low });
        }
        lines.push({ label: line.low ? `${label}: mean` : label, hue: i, x: line.x, value: line.value });
      }));
      const isPositive = lines.every((line) => line.value.every((value) => value === null || value > 0));
      note.textContent = lines.length === 0 ? "no numbers here" : isLog && !isPositive ? "not all above 0: no logarithm" : "";
      figure.dataset.drawn = "true";
      if (lines.length === 0) return;
      const next = { lines, bands, isTime: axis === "time", isLog: isLog && isPositive, xLabel: axis };
      if (drawn === null) drawn = plot(host, { ...next, onRange: (a, b) => set({ from: a, to: b }) });
      else drawn.change(next);
    };
    const guarded = () => fill().catch((error) => { if (error.name !== "AbortError") note.textContent = error.message; });
    charts.set(figure, {
      draw() { if (!isSeen) { isSeen = true; guarded(); } },
      again: () => (isSeen ? guarded() : undefined),
      destroy() { wanted?.abort(); seen.unobserve(figure); drawn?.destroy(); },
    });
    seen.observe(figure);
    return figure;
  }

  said();
  legend();
  draw();
  return {
    title: "compare",
    keys: {
      "/": ["search keys", () => search.focus()], b: ["seeds together", () => together.click()], l: ["logarithmic axis", () => log.click()],
      x: ["next x axis", () => { x.selectedIndex = (x.selectedIndex + 1) % x.options.length; x.dispatchEvent(new Event("change")); }],
      0: ["whole runs", () => whole.click()],
    },
    async refresh() {
      const before = shown().length;
      compared = await get("compare", asked);
      legend();
      if (shown().length !== before) draw();
      else {
        tables();
        charts.forEach((chart) => chart.again());
      }
    },
    destroy() {
      seen.disconnect();
      charts.forEach((chart) => chart.destroy());
    },
  };
}

function cameTo(outcome) {
  if (outcome === null) return { cell: "" };
  const best = outcome.best === null ? "" : `, best ${short(outcome.best.value)} at step ${outcome.best.step}`;
  return { cell: `${short(outcome.last)}${best}`, title: `last ${outcome.last}` };
}
