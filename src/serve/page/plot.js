// One plot: lines over steps or time, with bands behind them and one cursor through all plots of the page.
/* global uPlot */

import { visible } from "dom";
import { compact, short, ticks, time } from "form";

const HUES = 8;

/// The page's colours as they are now; a plot is drawn anew when the theme changes.
function palette() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  return { text: color("text"), grid: color("grid"), flag: color("flag"), lines: Array.from({ length: HUES }, (_, i) => color(`line-${i}`)) };
}

/// The colour of a line for what is no plot, whatever the theme: `background` in a style.
export function hue(i) {
  return `var(--line-${i % HUES})`;
}

/// Draws a plot into `host`, and gives what changes it later.
///
/// `what`: { lines: [{ label, hue, alpha, x, value, raw, faint }], bands: [[upper, lower, hue, alpha]], flags: [{ from, to, reason }],
/// isTime, isLog, xLabel, height, onRange(from, to), onPick(x), onAt(x) }. `alpha` is two hexadecimal digits. A line's `value` may hold
/// null. All lines are joined over their x.
export function plot(host, what) {
  let drawn = null;
  const size = () => ({ width: Math.max(180, host.clientWidth), height: what.height ?? 180 });
  const draw = () => {
    drawn?.destroy();
    drawn = new uPlot(options(what, size()), joined(what), host);
  };
  draw();
  const resized = new ResizeObserver(() => {
    const { width, height } = size();
    if (width !== drawn.width) drawn.setSize({ width, height });
  });
  resized.observe(host);
  addEventListener("theme", draw);
  return {
    change(next) {
      const same = (line, i) => line.label === what.lines[i].label && !line.raw === !what.lines[i].raw;
      const isSame = next.lines.length === what.lines.length && next.lines.every(same) && next.isLog === what.isLog && next.isTime === what.isTime && next.xLabel === what.xLabel;
      Object.assign(what, next);
      if (!isSame) {
        draw();
        return;
      }
      drawn.setData(joined(what));
      if (drawn.cursor.left < 0) drawn.setLegend({ idx: null });
    },
    destroy() {
      resized.disconnect();
      removeEventListener("theme", draw);
      drawn.destroy();
    },
  };
}

/// The lines' columns over one x: a raw line stands before the smooth one, so that it lies behind it.
function columns(what) {
  return what.lines.flatMap((line) => (line.raw ? [{ ...line, value: line.raw, label: `${line.label} (raw)`, faint: true }, line] : [line]));
}

function joined(what) {
  const each = columns(what).map((line) => [line.x, line.value]);
  if (each.length === 0) return [[], []];
  const first = each[0][0];
  if (each.every(([x]) => x === first)) return [first, ...each.map(([, value]) => value)];
  return uPlot.join(each);
}

function options(what, size) {
  const colors = palette();
  const axis = { stroke: colors.text, grid: { stroke: colors.grid, width: 1 }, ticks: { stroke: colors.grid, width: 1 }, font: "11px system-ui, sans-serif" };
  const series = columns(what).map((line) => ({
    label: visible(line.label),
    stroke: `${colors.lines[line.hue % HUES]}${line.alpha ?? (line.faint ? "59" : "")}`,
    width: line.faint ? 1 : 1.5,
    dash: line.hue < HUES ? undefined : [6, 3],
    spanGaps: true,
    points: { show: line.x.length < 3 },
    value: (drawn, value, i, at) => short(at === null ? last(drawn.data[i]) : value) || "--",
  }));
  const xValue = (value) => (value === null || value === undefined ? "--" : what.isTime ? time(value) : String(value));
  const xAxis = what.isTime ? {} : { incrs: WHOLE, values: (_, values) => values.map(compact) };
  return {
    ...size,
    ms: 1,
    cursor: {
      y: false,
      // Only the cursor goes through all plots: a range that is dragged is asked for once.
      sync: { key: "page", setSeries: false, filters: { pub: (type) => type === "mousemove" || type === "mouseleave" } },
      drag: { x: true, y: false, setScale: false }, focus: { prox: 24 }, dataIdx: nearest,
    },
    legend: { live: true, markers: { fill: (drawn, i) => drawn.series[i].stroke(drawn, i) } },
    scales: { x: { time: what.isTime }, y: what.isLog ? { distr: 3 } : { range: around } },
    axes: [
      { ...axis, size: 26, gap: 3, ...xAxis },
      { ...axis, size: 54, gap: 3, values: (_, values, __, ___, step) => ticks(values, what.isLog ? null : step) },
    ],
    series: [{ label: what.xLabel ?? "step", value: (drawn, value, _, at) => xValue(at === null ? last(drawn.data[0]) : value) }, ...series],
    bands: (what.bands ?? []).map(([upper, lower, hued, alpha]) => ({ series: [upper + 1, lower + 1], fill: `${colors.lines[hued % HUES]}${alpha}` })),
    hooks: {
      drawClear: [(drawn) => flagged(drawn, what.flags ?? [], colors.flag)],
      setCursor: [(drawn) => what.onAt?.(drawn.cursor.left < 0 ? null : drawn.posToVal(drawn.cursor.left, "x"))],
      setSelect: [(drawn) => {
        if (drawn.select.width < 4) return;
        const at = (x) => drawn.posToVal(x, "x");
        what.onRange?.(at(drawn.select.left), at(drawn.select.left + drawn.select.width));
        drawn.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
      ready: [(drawn) => {
        drawn.over.addEventListener("click", () => {
          const i = drawn.cursor.idx;
          if (i !== null && i !== undefined) what.onPick?.(drawn.data[0][i]);
        });
        drawn.over.addEventListener("dblclick", () => what.onRange?.(null, null));
        drawn.setLegend({ idx: null });
      }],
    },
  };
}

/// Steps, tokens and completions are whole numbers, and so are their ticks.
const WHOLE = Array.from({ length: 16 }, (_, power) => [1, 2, 5].map((by) => by * 10 ** power)).flat();

/// From the least to the greatest with a little air; a constant lies in the middle.
function around(_, least, greatest) {
  if (least === null) return [0, 1];
  if (least < greatest) return uPlot.rangeNum(least, greatest, 0.1, true);
  const air = Math.abs(least) / 10 || 1;
  return [least - air, greatest + air];
}

function last(column) {
  return column.findLast((value) => value !== null && value !== undefined) ?? null;
}

/// The point of a line next to the cursor: lines that were thinned out for themselves have theirs at other places.
function nearest(drawn, i, closest, x) {
  const [xs, values] = [drawn.data[0], drawn.data[i]];
  const isThere = (at) => values[at] !== null && values[at] !== undefined;
  if (i === 0 || isThere(closest)) return closest;
  for (let away = 1; away < 64; away += 1) {
    const found = [closest - away, closest + away].filter((at) => at >= 0 && at < xs.length && isThere(at));
    if (found.length > 0) return found.reduce((a, b) => (Math.abs(xs[b] - x) < Math.abs(xs[a] - x) ? b : a));
  }
  return closest;
}

/// A flag of health is a band over the steps at which it is up.
function flagged(drawn, flags, color) {
  const { ctx, bbox } = drawn;
  ctx.save();
  ctx.fillStyle = color;
  for (const { from, to } of flags) {
    const left = Math.max(bbox.left, drawn.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, drawn.valToPos(to, "x", true));
    if (right >= left) ctx.fillRect(left, bbox.top, Math.max(2, right - left), bbox.height);
  }
  ctx.restore();
}
