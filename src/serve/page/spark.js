// A small line for a table's cell.

const NAMESPACE = "http://www.w3.org/2000/svg";

export function spark(values, { width = 120, height = 24 } = {}) {
  const known = values.map((value, i) => [i, value]).filter(([, value]) => value !== null && Number.isFinite(value));
  const picture = document.createElementNS(NAMESPACE, "svg");
  for (const [name, value] of Object.entries({ class: "spark", viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" })) {
    picture.setAttribute(name, value);
  }
  if (known.length === 0) return picture;
  const low = known.reduce((a, [, b]) => Math.min(a, b), Infinity);
  const span = known.reduce((a, [, b]) => Math.max(a, b), -Infinity) - low || 1;
  const last = Math.max(1, values.length - 1);
  const points = known.map(([i, value]) => `${(1 + (i / last) * (width - 2)).toFixed(1)},${(height - 2 - ((value - low) / span) * (height - 4)).toFixed(1)}`);
  const line = document.createElementNS(NAMESPACE, "polyline");
  line.setAttribute("points", points.length === 1 ? `${points[0]} ${points[0]}` : points.join(" "));
  picture.append(line);
  return picture;
}
