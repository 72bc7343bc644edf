// The distribution of rewards over steps, from the quantiles that are stored: each column is a step, each row a range of rewards, and the
// darker a cell, the more of the step's completions lie in it.

import { el } from "dom";
import { short } from "form";

const ROWS = 48;

/// `quantiles`: [[p, values over steps]] with p ascending from 0 (the smallest) to 1; `steps`: the step of each; `marked`: one of them.
export function heat(steps, quantiles, { marked = null, onPick = null } = {}) {
  const all = quantiles.flatMap(([, values]) => values).filter((value) => value !== null && Number.isFinite(value));
  if (steps.length === 0 || all.length === 0) return el("p", { class: "empty" }, "No quantiles of the reward are stored, of which its distribution over the steps could be drawn.");
  const low = all.reduce((a, b) => Math.min(a, b));
  const high = all.reduce((a, b) => Math.max(a, b));
  const span = high - low || 1;
  const canvas = el("canvas", { width: steps.length, height: ROWS, class: "heat", role: "img",
    "aria-label": `rewards from ${short(low)} to ${short(high)} over steps ${steps[0]} to ${steps[steps.length - 1]}` });
  const masses = steps.map((_, column) => density(quantiles.map(([p, values]) => [p, values[column]]), low, span));
  const paint = () => {
    // Gone with its view: nothing is left to paint.
    if (canvas.isConnected || !canvas.dataset.drawn) draw(canvas, masses);
    else removeEventListener("theme", paint);
  };
  paint();
  canvas.dataset.drawn = "true";
  addEventListener("theme", paint);
  const over = el("div", { class: "heat-host" }, canvas);
  if (marked !== null) {
    const column = steps.indexOf(marked);
    if (column >= 0) {
      const mark = el("div", { class: "heat-mark" });
      mark.style.left = `${(100 * (column + 0.5)) / steps.length}%`;
      over.append(mark);
    }
  }
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    const column = Math.floor(((event.clientX - box.left) / box.width) * steps.length);
    return steps[Math.max(0, Math.min(steps.length - 1, column))];
  };
  canvas.addEventListener("mousemove", (event) => { canvas.title = `step ${at(event)}`; });
  if (onPick) canvas.addEventListener("click", (event) => onPick(at(event)));
  const line = (...children) => el("div", { class: "heat-ends" }, children.map((child) => el("span", {}, child)));
  return el("figure", {}, el("figcaption", {}, "Rewards over the steps"),
    line(short(high), "the stronger the colour, the more completions"), over, line(short(low)),
    line(`step ${steps[0]}`, `step ${steps[steps.length - 1]}`));
}

function draw(canvas, masses) {
  const context = canvas.getContext("2d");
  const [r, g, b] = channels(getComputedStyle(document.documentElement).getPropertyValue("--line-0").trim());
  const image = context.createImageData(canvas.width, ROWS);
  masses.forEach((mass, column) => mass.forEach((share, row) => {
    image.data.set([r, g, b, Math.round(255 * Math.min(1, Math.sqrt(share * 4)))], 4 * ((ROWS - 1 - row) * canvas.width + column));
  }));
  context.putImageData(image, 0, 0);
}

/// How much of a step's mass lies in each of the rows: between two quantiles it is spread evenly, and lies at one point where they are equal.
function density(points, low, span) {
  const mass = new Array(ROWS).fill(0);
  const known = points.filter(([, value]) => value !== null && Number.isFinite(value));
  const row = (value) => ((value - low) / span) * ROWS;
  for (let i = 1; i < known.length; i += 1) {
    const share = known[i][0] - known[i - 1][0];
    const [from, to] = [row(known[i - 1][1]), row(known[i][1])];
    if (to - from < 1e-9) {
      mass[Math.min(ROWS - 1, Math.floor(from))] += share;
      continue;
    }
    for (let j = Math.floor(from); j < Math.min(ROWS, Math.ceil(to)); j += 1) {
      mass[j] += (share * (Math.min(to, j + 1) - Math.max(from, j))) / (to - from);
    }
  }
  return mass;
}

function channels(color) {
  const hex = /^#(..)(..)(..)$/.exec(color);
  return hex === null ? [80, 120, 200] : hex.slice(1).map((pair) => parseInt(pair, 16));
}
