// One plot: lines over steps or time, with bands behind them and one cursor through all plots of the page.
/* global uPlot */

const COLORS = 8;

/// The page's colours as they are now; a plot is drawn anew when the theme changes.
function palette() {
  const style = getComputedStyle(document.documentElement);
  const color = (name) => style.getPropertyValue(`--${name}`).trim();
  return { text: color("text"), grid: color("grid"), flag: color("flag"), lines: Array.from({ length: COLORS }, (_, i) => color(`line-${i}`)) };
}

export function colorOf(i) {
  return palette().lines[i % COLORS];
}

/// Draws a plot into `host`, and gives what changes it later.
///
/// `what`: { lines: [{ label, color, x, value, raw, band, dash, faint }], bands: [[upper, lower, color]], flags: [{ from, to, reason }],
/// isTime, isLog, height, onRange(from, to), onPick(x), format(value) }. A line's `value` may hold null. All lines are joined over their x.
export function plot(host, what) {
  let drawn = null;
  const size = () => ({ width: Math.max(220, host.clientWidth), height: what.height ?? 180 });
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
  const themed = matchMedia("(prefers-color-scheme: dark)");
  themed.addEventListener("change", draw);
  addEventListener("theme", draw);
  return {
    change(next) {
      const isSame = next.lines.length === what.lines.length && next.lines.every((line, i) => line.label === what.lines[i].label && !line.raw === !what.lines[i].raw)
        && next.isLog === what.isLog && next.isTime === what.isTime;
      Object.assign(what, next);
      if (isSame) drawn.setData(joined(what));
      else draw();
    },
    destroy() {
      resized.disconnect();
      themed.removeEventListener("change", draw);
      removeEventListener("theme", draw);
      drawn.destroy();
    },
  };
}

/// The lines' columns over one x: a raw line stands before the smooth one, so that it lies behind it.
function columns(what) {
  return what.lines.flatMap((line) => (line.raw ? [{ ...line, value: line.raw, label: `${line.label} (raw)`, isRaw: true }, line] : [line]));
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
  const format = what.format;
  const axis = { stroke: colors.text, grid: { stroke: colors.grid, width: 1 }, ticks: { stroke: colors.grid, width: 1 }, font: "11px system-ui, sans-serif" };
  const series = columns(what).map((line) => ({
    label: line.label,
    stroke: line.isRaw || line.faint ? faint(line.color) : line.color,
    width: line.isRaw || line.faint ? 1 : 1.5,
    dash: line.dash,
    spanGaps: line.spans ?? true,
    points: { show: line.x.length < 3 },
    value: (_, value) => (value === null || value === undefined ? "--" : format(value)),
  }));
  return {
    ...size,
    cursor: { sync: { key: "page", setSeries: false }, drag: { x: true, y: false, setScale: false }, focus: { prox: 24 } },
    legend: { live: true },
    scales: { x: { time: what.isTime }, y: { distr: what.isLog ? 3 : 1 } },
    axes: [
      { ...axis, size: 26, gap: 3 },
      { ...axis, size: 54, gap: 3, values: (_, values) => values.map((value) => (value === null ? "" : format(value))) },
    ],
    series: [{ label: what.isTime ? "time" : what.xLabel ?? "step" }, ...series],
    bands: (what.bands ?? []).map(([upper, lower, color]) => ({ series: [upper + 1, lower + 1], fill: color })),
    hooks: {
      drawClear: [(drawn) => flagged(drawn, what.flags ?? [], colors.flag)],
      setSelect: [(drawn) => {
        if (drawn.select.width < 4) return;
        const at = (x) => drawn.posToVal(x, "x");
        what.onRange?.(at(drawn.select.left), at(drawn.select.left + drawn.select.width));
        drawn.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
      }],
      ready: [(drawn) => {
        drawn.over.addEventListener("click", () => {
          const i = drawn.cursor.idx;
          if (what.onPick && i !== null && i !== undefined && drawn.select.width < 4) what.onPick(drawn.data[0][i]);
        });
        drawn.over.addEventListener("dblclick", () => what.onRange?.(null, null));
      }],
    },
  };
}

/// The same colour (six hexadecimal digits), a third as strong.
function faint(color) {
  return `${color}59`;
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
