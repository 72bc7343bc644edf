// One step: where its rewards lie among those of the other steps, its groups (those without spread first), and its completions with
// their texts where samples were stored.

import * as address from "address";
import { el, hostile, link, table } from "dom";
import { count, short } from "form";
import { get } from "source";
import { heat } from "heat";

export async function stepView(place, id, at) {
  const [run, found, spread] = await Promise.all([
    get("run", [["run", id]]), get("step", [["run", id], ["step", at]]), get("distribution", [["run", id], ["width", String(Math.max(220, place.clientWidth))]])]);
  const step = Number(at);
  const to = (other) => address.of(["run", id, "step", String(other)]);
  const go = (other) => { if (other !== null) address.go(to(other)); };
  place.append(
    el("h1", {}, link(address.of(["run", id]), el("bdi", {}, run.overview.name)), `, step ${at}`),
    el("div", { class: "bar" },
      found.previous === null ? el("span", { class: "button off" }, "earlier (\u2190)") : link(to(found.previous), "earlier (\u2190)", { class: "button" }),
      found.next === null ? el("span", { class: "button off" }, "later (\u2192)") : link(to(found.next), "later (\u2192)", { class: "button" }),
      found.previous_samples !== null ? link(to(found.previous_samples), "earlier with completions", { class: "button" }) : "",
      found.next_samples !== null ? link(to(found.next_samples), "later with completions", { class: "button" }) : ""),
    heat(spread.steps, spread.quantiles, { marked: nearest(spread.steps, step), onPick: go }));

  if (found.groups.length === 0) {
    place.append(el("p", { class: "empty" }, found.missing));
  } else {
    place.append(el("p", {}, `${count(found.groups.length, "group")}, ${count(found.completions, "completion")}${found.source ? `, from ${found.source}` : ""}`));
    place.append(...found.groups.map(group));
  }
  if (found.metrics.length > 0) {
    place.append(el("details", {}, el("summary", {}, el("h2", {}, "All numbers of the step"), ` ${found.metrics.length}`),
      table(["key", { class: "number", cell: "value" }], found.metrics.map(([key, value]) => [el("bdi", {}, key), { class: "number", cell: short(value), title: String(value ?? "infinite") }]))));
  }
  return {
    keys: { ArrowLeft: ["the step before", () => go(found.previous)], ArrowRight: ["the step after", () => go(found.next)], u: ["the run", () => address.go(address.of(["run", id]))] },
  };
}

function nearest(steps, step) {
  return steps.reduce((best, at) => (best === null || Math.abs(at - step) < Math.abs(best - step) ? at : best), null);
}

/// A group: its prompt, then each completion with its reward, components, advantage, length and text.
function group(one) {
  const said = [count(one.completions.length, "completion"), one.spread === null ? null : one.spread === 0 ? "no spread: it teaches nothing" : `reward std ${short(one.spread)}`].filter((text) => text);
  const components = [...new Set(one.completions.flatMap((completion) => Object.keys(completion.components)))];
  const number = (value) => ({ class: "number", cell: short(value), title: value === null || value === undefined ? "" : String(value) });
  const rows = one.completions.map((completion) => [
    completion.rank ?? "", number(completion.reward), ...components.map((name) => number(completion.components[name])), number(completion.advantage), number(completion.length),
    completion.text === null ? el("i", {}, "not stored") : hostile(completion.text, { "aria-label": "completion" })]);
  return el("details", { class: "group", open: true },
    el("summary", {}, el("h2", {}, `Group ${one.name}`), ` ${said.join(", ")}`),
    one.prompt === null ? "" : [el("h3", {}, "prompt"), hostile(one.prompt, { "aria-label": "prompt" })],
    table(["rank", { class: "number", cell: "reward" }, ...components.map((name) => ({ class: "number", cell: el("bdi", {}, name) })),
      { class: "number", cell: "advantage" }, { class: "number", cell: "length" }, "completion"], rows, { "aria-label": `group ${one.name}` }));
}
