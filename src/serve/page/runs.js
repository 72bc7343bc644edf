// All runs: filter, order, choose several to lay over each other.

import * as address from "address";
import { el, link, name, refill, table } from "dom";
import { count, duration, short, time, words } from "form";
import { get } from "source";
import { spark } from "spark";

/// What a column is called, what it is ordered by, and whether the greatest comes first.
const ORDERS = {
  name: ["name", (run) => run.name, false],
  status: ["status", (run) => run.standing, false],
  steps: ["steps", (run) => run.last_step, true],
  reward: ["last reward", (run) => run.reward?.last, true],
  newest: ["started", (run) => run.created, true],
  took: ["took", (run) => run.took, true],
  age: ["last row", (run) => run.last_time, true],
};

export async function runsView(place) {
  let { runs } = await get("runs");
  const { params } = address.read();
  const chosen = new Set(address.list(params, "chosen"));
  const filter = el("input", { type: "search", placeholder: "filter: name, tag, status, experiment (/)", "aria-label": "filter runs", value: params.get("q") ?? "",
    oninput: () => { address.set({ q: filter.value }); draw(); } });
  const compare = el("a", { class: "button" }, "");
  const body = el("div");

  function draw() {
    const { params: now } = address.read();
    const order = Object.hasOwn(ORDERS, now.get("order")) ? now.get("order") : "newest";
    const isTurned = now.get("turned") === "1";
    const typed = words(filter.value);
    const shown = runs.filter((run) => typed.every((word) => searched(run).includes(word))).sort(by(ORDERS[order], isTurned));
    const head = (key) => {
      const [title, , fromGreatest] = ORDERS[key];
      const isThis = key === order;
      const arrow = isThis ? (fromGreatest === isTurned ? " \u2191" : " \u2193") : "";
      return { "aria-sort": isThis ? (fromGreatest === isTurned ? "ascending" : "descending") : null,
        cell: el("button", { type: "button", class: "order", "data-at": `order ${key}`,
          onclick: () => { address.set({ order: key === "newest" ? null : key, turned: isThis && !isTurned ? "1" : null }); draw(); } }, `${title}${arrow}`) };
    };
    compare.textContent = chosen.size < 2 ? "choose two or more to compare" : `compare ${chosen.size} runs (c)`;
    if (chosen.size < 2) compare.removeAttribute("href");
    else compare.setAttribute("href", address.of(["compare"], { runs: JSON.stringify([...chosen]) }));
    if (runs.length === 0) {
      body.replaceChildren(el("p", { class: "empty" }, "There is no run in this store yet. One appears here by itself as soon as a training begins one."));
      return;
    }
    if (shown.length === 0) {
      body.replaceChildren(el("p", { class: "empty" }, `None of the ${count(runs.length, "run")} has "${filter.value}" in its name, tags, status, note or experiment.`));
      return;
    }
    const number = (heading) => ({ ...heading, class: "number" });
    refill(body, table(
      [{ cell: el("span", { class: "unseen" }, "chosen") }, head("name"), head("status"), number(head("steps")), number(head("reward")), "its course", head("newest"), head("took"), head("age"), "tags"],
      shown.map((run) => [
        el("input", { type: "checkbox", "aria-label": `choose ${run.name}`, "data-at": `choose ${run.id}`, checked: chosen.has(run.id), onchange: (event) => choose(run.id, event.target.checked) }),
        link(address.of(["run", run.id]), name(run.name), { "data-at": `run ${run.id}`, title: run.name === run.id ? null : run.id }),
        el("span", { class: `status ${run.standing}`, title: run.said }, run.standing),
        { class: "number", cell: run.last_step ?? "" },
        { class: "number", cell: run.reward ? short(run.reward.last) : "", title: run.reward ? `${run.reward.key} ${run.reward.last}` : "" },
        run.reward ? spark(run.reward.course) : "",
        time(run.created),
        run.took === null ? "" : duration(run.took),
        time(run.last_time),
        run.tags.map((tag) => [el("span", { class: "tag" }, name(tag)), " "]),
      ]), { class: "runs", "aria-label": "runs" }));
  }

  function choose(id, isChosen) {
    if (isChosen) chosen.add(id);
    else chosen.delete(id);
    address.set({ chosen: address.listed([...chosen]) });
    draw();
  }

  place.append(el("h1", {}, "Runs"), el("div", { class: "bar" }, filter, compare), body);
  draw();
  return {
    title: "runs",
    keys: { "/": ["filter", () => filter.focus()], c: ["compare the chosen runs", () => { if (chosen.size > 1) address.go(compare.getAttribute("href")); }] },
    async refresh() {
      ({ runs } = await get("runs"));
      draw();
    },
  };
}

function searched(run) {
  return [run.name, run.id, run.standing, run.experiment, run.group, run.note, ...run.tags].filter((text) => text).join("\n").toLowerCase();
}

/// What has nothing to be ordered by comes last, whichever way.
function by([, key, fromGreatest], isTurned) {
  const sign = fromGreatest === isTurned ? 1 : -1;
  return (a, b) => {
    const [x, y] = [key(a) ?? null, key(b) ?? null];
    if (x === null || y === null) return Number(x === null) - Number(y === null);
    if (x === y) return 0;
    return x < y ? -sign : sign;
  };
}
