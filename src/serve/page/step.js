// One step: where its rewards lie among those of the other steps, its groups (those without spread first), and its completions with
// their texts where samples were stored.

import * as address from "address";
import { el, hostile, link, name, refill, table } from "dom";
import { count, short } from "form";
import { get } from "source";
import { heat } from "heat";

export async function stepView(place, id, at) {
  const asked = [["run", id], ["step", at]];
  let found;
  let run;
  let spread;
  [run, found, spread] = await Promise.all([get("run", [["run", id]]), get("step", asked), get("distribution", [["run", id], ["width", String(Math.max(220, place.clientWidth))]])]);
  const to = (other) => address.of(["run", id, "step", String(other)]);
  const go = (other) => { if (other !== null) address.go(to(other)); };
  const bar = el("div", { class: "bar" });
  place.append(el("h1", {}, link(address.of(["run", id]), name(run.overview.name)), `, step ${at}`), bar,
    heat(spread.steps, spread.quantiles, { marked: nearest(spread.steps, Number(at)), onPick: go }));

  /// Where one may go from here: a training that runs adds to it.
  function ways() {
    const way = (other, text) => (other === null ? el("span", { class: "button off" }, text) : link(to(other), text, { class: "button", "data-at": text }));
    const samples = (other, text) => (other === null ? "" : way(other, text));
    refill(bar, way(found.previous, "earlier (\u2190)"), way(found.next, "later (\u2192)"),
      samples(found.previous_samples, "earlier with completions (p)"), samples(found.next_samples, "later with completions (n)"));
  }

  ways();
  if (found.groups.length === 0) {
    place.append(el("p", { class: "empty" }, found.missing));
  } else {
    place.append(el("p", {}, `${count(found.groups.length, "group")}, ${count(found.completions, "completion")}${found.source ? `, from ${found.source}` : ""}`));
    place.append(...found.groups.map(group));
  }
  if (found.metrics.length > 0) {
    place.append(el("details", {}, el("summary", {}, el("h2", {}, "All numbers of the step"), ` ${found.metrics.length}`),
      table(["key", { class: "number", cell: "value" }], found.metrics.map(([key, value]) => [name(key), { class: "number", cell: short(value), title: String(value ?? "") }]), { "aria-label": "numbers of the step" })));
  }
  return {
    title: `${run.overview.name}, step ${at}`,
    keys: {
      ArrowLeft: ["the step before", () => go(found.previous)], ArrowRight: ["the step after", () => go(found.next)],
      p: ["the step before with completions", () => go(found.previous_samples)], n: ["the step after with completions", () => go(found.next_samples)],
      u: ["the run", () => address.go(address.of(["run", id]))],
    },
    async refresh() {
      if (found.next !== null && found.next_samples !== null) return;
      const { next, next_samples: nextSamples } = await get("step", asked);
      found = { ...found, next, next_samples: nextSamples };
      ways();
    },
  };
}

function nearest(steps, step) {
  return steps.reduce((best, at) => (best === null || Math.abs(at - step) < Math.abs(best - step) ? at : best), null);
}

/// A group: its prompt, then each completion with its reward, components, advantage, length and text.
function group(one) {
  const spread = one.spread === null ? null : one.spread === 0 ? "no spread: it teaches nothing" : `reward std ${short(one.spread)}`;
  const components = [...new Set(one.completions.flatMap((completion) => Object.keys(completion.components)))];
  const number = (label, value) => ({ class: "number", cell: short(value), title: value === null || value === undefined ? "" : String(value), "data-label": label });
  const hasTexts = one.completions.some((completion) => completion.text !== null);
  const rows = one.completions.map((completion) => [
    { cell: completion.rank ?? "", "data-label": "rank" }, number("reward", completion.reward), ...components.map((component) => number(component, completion.components[component])),
    number("advantage", completion.advantage), number("length", completion.length),
    ...(hasTexts ? [completion.text === null ? el("i", {}, "not stored") : hostile(completion.text, { "aria-label": "completion" })] : [])]);
  return el("details", { class: "group", open: true },
    el("summary", {}, el("h2", {}, "Group ", name(one.name)), ` ${[count(one.completions.length, "completion"), spread, hasTexts ? null : "texts not stored"].filter((text) => text).join(", ")}`),
    one.prompt === null ? "" : [el("h3", {}, "prompt"), hostile(one.prompt, { "aria-label": "prompt" })],
    table(["rank", { class: "number", cell: "reward" }, ...components.map((component) => ({ class: "number", cell: name(component) })),
      { class: "number", cell: "advantage" }, { class: "number", cell: "length" }, ...(hasTexts ? ["completion"] : [])], rows, { class: "completions", "aria-label": `completions of group ${one.name}` }));
}
