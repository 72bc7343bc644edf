// Runs laid over each other: the same keys of each, or the mean of those that differ by their seed alone, with what they came to and
// how they were configured.

import * as address from "address";
import { el, link, table } from "dom";
import { short } from "form";
import { get } from "source";
import { colorOf, plot } from "plot";

export async function compareView(place) {
  const { params } = address.read();
  const ids = chosen(params);
  if (ids.length < 2) {
    place.append(el("h1", {}, "Compare"), el("p", { class: "empty" }, "Choose two runs or more among ", link("#/", "all runs"), "."));
    return {};
  }
  const asked = ids.map((id) => ["run", id]);
  let compared = await get("compare", asked);
  const charts = new Map();
  const view = () => {
    const now = address.read().params;
    return { x: now.get("x") === "time" ? "time" : "step", smooth: Math.min(0.99, Math.max(0, Number(now.get("smooth")) || 0)), together: now.get("by") === "seed", q: now.get("q") ?? "",
      from: now.has("from") ? Number(now.get("from")) : null, to: now.has("to") ? Number(now.get("to")) : null };
  };
  const set = (changes) => {
    address.set(changes);
    charts.forEach((chart) => chart.again());
  };
  const seen = new IntersectionObserver((entries) => entries.forEach((entry) => { if (entry.isIntersecting) charts.get(entry.target)?.draw(); }), { rootMargin: "300px" });

  const search = el("input", { type: "search", placeholder: "search keys (/)", "aria-label": "search keys", value: view().q, oninput: () => { address.set({ q: search.value }); draw(); } });
  const smooth = el("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: view().smooth, "aria-label": "smoothing", oninput: () => set({ smooth: Number(smooth.value) || null }) });
  const together = el("input", { type: "checkbox", checked: view().together, onchange: () => { set({ by: together.checked ? "seed" : null }); legend(); } });
  const whole = el("button", { type: "button", onclick: () => set({ from: null, to: null }) }, "whole runs");
  const names = el("p", { class: "facts" });
  const plots = el("div", { class: "plots" });
  const numbers = el("div");
  const configured = el("div");
  place.append(el("h1", {}, "Compare"), names, el("div", { class: "bar" }, search, el("label", {}, "smooth ", smooth),
    el("label", {}, together, " seeds together: their mean, and a band from the least to the greatest"), whole), plots,
  el("h2", {}, "What they came to"), numbers, el("h2", {}, "What was configured differently"), configured);

  /// What is laid over each other: each run, or the runs that are of one kind but for their seed.
  function parties() {
    if (!view().together) return compared.runs.map((run) => ({ label: run.label, runs: [run.id] }));
    const kinds = new Map();
    compared.runs.forEach((run) => kinds.set(run.kind, [...(kinds.get(run.kind) ?? []), run]));
    return [...kinds.values()].map((runs) => ({ label: runs.length === 1 ? runs[0].label : `${runs[0].label} and ${runs.length - 1} more`, runs: runs.map((run) => run.id) }));
  }

  function legend() {
    names.replaceChildren(...parties().flatMap((party, i) => {
      const swatch = el("span", { class: "swatch" });
      swatch.style.background = colorOf(i);
      return [swatch, party.runs.length === 1 ? link(address.of(["run", party.runs[0]]), el("bdi", {}, party.label)) : el("bdi", {}, party.label), " "];
    }));
  }

  function draw() {
    charts.forEach((chart) => chart.destroy());
    charts.clear();
    const words = view().q.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const keys = compared.keys.filter((one) => (words.length === 0 ? one.first : words.every((word) => one.key.toLowerCase().includes(word)))).slice(0, 60);
    plots.replaceChildren(...(keys.length === 0 ? [el("p", { class: "empty" }, "no key that is looked at first is in them; search for another")] : keys.map((one) => card(one.key))));
    numbers.replaceChildren(table(["key", ...compared.runs.map((run) => ({ class: "number", cell: el("bdi", {}, run.label) })), "better"],
      keys.map((one) => [el("bdi", {}, one.key), ...one.runs.map((outcome) => ({ class: "number", ...said(outcome) })), one.better ?? ""]), { "aria-label": "last and best numbers" }));
    configured.replaceChildren(compared.differences.length === 0 ? el("p", { class: "empty" }, "nothing that was stored of them")
      : table(["setting", ...compared.runs.map((run) => el("bdi", {}, run.label))],
        compared.differences.map(([place_, ...values]) => [el("bdi", {}, place_), ...values.map((value) => (value === null ? "" : el("bdi", {}, typeof value === "string" ? value : JSON.stringify(value))))]), { "aria-label": "configurations" }));
  }

  function card(key) {
    const host = el("div", { class: "host" });
    const note = el("p", { class: "plot-note" });
    const figure = el("figure", { class: "plot", "data-plot": key, "aria-label": key }, el("figcaption", {}, el("bdi", {}, key)), host, note);
    let drawn = null;
    let isSeen = false;
    let wanted = null;
    const fill = async () => {
      wanted?.abort();
      wanted = new AbortController();
      const { x, smooth: weight, from, to } = view();
      const rest = [["x", x], ["width", String(Math.max(220, host.clientWidth))], ["key", key], ...(weight > 0 ? [["smooth", String(weight)]] : []),
        ...(from === null ? [] : [["from", String(from)]]), ...(to === null ? [] : [["to", String(to)]])];
      const all = await Promise.all(parties().map((party) => get("series", [...party.runs.map((run) => ["run", run]), ...(party.runs.length > 1 ? [["together", "1"]] : []), ...rest], wanted.signal)));
      const lines = [];
      const bands = [];
      all.forEach(({ series }, i) => series.forEach((line) => {
        const color = colorOf(i);
        const label = parties()[i].label;
        if (line.low) {
          bands.push([lines.length, lines.length + 1, `${color}33`]);
          lines.push({ label: `${label}: greatest`, color: `${color}66`, x: line.x, value: line.high }, { label: `${label}: least`, color: `${color}66`, x: line.x, value: line.low });
        }
        lines.push({ label, color, x: line.x, value: line.value });
      }));
      note.textContent = lines.length === 0 ? "no numbers" : "";
      if (lines.length === 0) return;
      const next = { lines, bands, isTime: x === "time", xLabel: x, format: short };
      if (drawn === null) drawn = plot(host, { ...next, onRange: (a, b) => set({ from: a, to: b }) });
      else drawn.change(next);
      figure.dataset.drawn = "true";
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

  legend();
  draw();
  return {
    keys: { "/": ["search keys", () => search.focus()], b: ["seeds together", () => together.click()], 0: ["whole runs", () => whole.click()] },
    async refresh() {
      compared = await get("compare", asked);
      charts.forEach((chart) => chart.again());
    },
    destroy() {
      seen.disconnect();
      charts.forEach((chart) => chart.destroy());
    },
  };
}

function chosen(params) {
  try {
    const ids = JSON.parse(params.get("runs") ?? "[]");
    return Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
  } catch {
    return [];
  }
}

function said(outcome) {
  if (outcome === null) return { cell: "" };
  const best = outcome.best === null ? "" : `, best ${short(outcome.best.value)} at step ${outcome.best.step}`;
  return { cell: `${short(outcome.last)}${best}`, title: `last ${outcome.last}` };
}
