// All runs: filter, order, choose several to lay over each other.

import * as address from "address";
import { el, link, table } from "dom";
import { count, duration, short, time } from "form";
import { get } from "source";
import { spark } from "spark";

const ORDERS = {
  newest: ["started", (run) => -(run.created ?? 0)],
  name: ["name", (run) => run.name],
  status: ["status", (run) => run.standing],
  steps: ["steps", (run) => -(run.last_step ?? -1)],
  reward: ["last reward", (run) => -(run.reward?.last ?? -Infinity)],
  age: ["last row", (run) => -(run.last_time ?? 0)],
};

export async function runsView(place) {
  let runs = (await get("runs")).runs;
  const { params } = address.read();
  const chosen = new Set((params.get("chosen") ?? "").split(",").filter((id) => id !== ""));
  const filter = el("input", { type: "search", placeholder: "filter: name, tag, status, experiment (/)", "aria-label": "filter runs", value: params.get("q") ?? "",
    oninput: () => { address.set({ q: filter.value }); draw(); } });
  const compare = el("a", { class: "button", href: "#/" }, "");
  const body = el("div");

  function draw() {
    const { params: now } = address.read();
    const order = ORDERS[now.get("order")] ? now.get("order") : "newest";
    const words = filter.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const shown = runs.filter((run) => words.every((word) => searched(run).includes(word))).sort(by(ORDERS[order][1]));
    const head = (key) => el("button", { type: "button", class: "order", "aria-pressed": String(order === key),
      onclick: () => { address.set({ order: key === "newest" ? null : key }); draw(); } }, ORDERS[key][0]);
    compare.textContent = chosen.size < 2 ? "choose two or more to compare" : `compare ${chosen.size} runs (c)`;
    compare.setAttribute("href", chosen.size < 2 ? location.hash || "#/" : address.of(["compare"], { runs: JSON.stringify([...chosen]) }));
    compare.classList.toggle("off", chosen.size < 2);
    if (runs.length === 0) {
      body.replaceChildren(el("p", { class: "empty" }, "There is no run in this store yet. One appears here by itself as soon as a training begins one."));
      return;
    }
    if (shown.length === 0) {
      body.replaceChildren(el("p", { class: "empty" }, `None of the ${count(runs.length, "run")} has "${filter.value}" in its name, tags, status or experiment.`));
      return;
    }
    body.replaceChildren(table(
      ["", head("name"), head("status"), head("steps"), { class: "number", cell: head("reward") }, "its course", head("newest"), "took", head("age"), "tags"],
      shown.map((run) => [
        el("input", { type: "checkbox", "aria-label": `choose ${run.name}`, checked: chosen.has(run.id), onchange: (event) => choose(run.id, event.target.checked) }),
        link(address.of(["run", run.id]), el("bdi", {}, run.name), run.name === run.id ? {} : { title: run.id }),
        el("span", { class: `status ${run.standing}`, title: run.said }, run.standing),
        { class: "number", cell: run.last_step ?? "" },
        { class: "number", cell: run.reward ? short(run.reward.last) : "", title: run.reward ? `${run.reward.key} ${run.reward.last}` : "" },
        run.reward ? spark(run.reward.course) : "",
        time(run.created),
        run.took === null ? "" : duration(run.took),
        run.last_time === null ? "" : time(run.last_time),
        run.tags.map((tag) => [el("span", { class: "tag" }, el("bdi", {}, tag)), " "]),
      ]), { class: "runs", "aria-label": "runs" }));
  }

  function choose(id, isChosen) {
    if (isChosen) chosen.add(id);
    else chosen.delete(id);
    address.set({ chosen: [...chosen].join(",") });
    draw();
  }

  place.append(el("h1", {}, "Runs"), el("div", { class: "bar" }, filter, compare), body);
  draw();
  return {
    keys: { "/": ["filter", () => filter.focus()], c: ["compare the chosen runs", () => { if (chosen.size > 1) address.go(compare.getAttribute("href")); }] },
    async refresh() {
      runs = (await get("runs")).runs;
      draw();
    },
  };
}

function searched(run) {
  return [run.name, run.id, run.standing, run.experiment, run.group, run.note, ...run.tags].filter((text) => text).join("\n").toLowerCase();
}

function by(key) {
  return (a, b) => {
    const [x, y] = [key(a), key(b)];
    if (x < y) return -1;
    return x > y ? 1 : 0;
  };
}
