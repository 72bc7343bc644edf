// Where the numbers come from: the server, or, in a report, the file itself.

const inFile = document.getElementById("data");
const data = inFile === null ? null : JSON.parse(inFile.textContent);

export const isReport = data !== null;

/// When a report was made, in milliseconds since 1970, and how many points of a series it has at most; null for all.
export const report = isReport ? { made: data.made, points: data.points } : null;

/// What the server says, and what it said when it refuses.
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/// GET api/NAME?params; `params` is a list of pairs, since keys come several times.
export async function get(name, params = [], signal = undefined) {
  if (isReport) return stored(name, params);
  const query = new URLSearchParams(params).toString();
  let answer;
  try {
    answer = await fetch(`api/${name}${query === "" ? "" : `?${query}`}`, { signal, headers: { accept: "application/json" } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "the server does not answer");
  }
  const body = await answer.json().catch((error) => {
    if (error.name === "AbortError") throw error;
    return { error: `status ${answer.status}` };
  });
  if (!answer.ok) throw new Refused(answer.status, body.error ?? `status ${answer.status}`);
  return body;
}

/// Whether there is a step to go to: a report has few.
export function hasStep(run, step) {
  return !isReport || data.answers[called("step", [["run", run], ["step", step]])] !== undefined;
}

/// What a report has an answer under: what it is asked for, but for how wide it is drawn.
function called(name, params) {
  const query = new URLSearchParams(params.filter(([of]) => of !== "width")).toString();
  return query === "" ? name : `${name}?${query}`;
}

function stored(name, params) {
  if (name === "series") return drawn(new URLSearchParams(params));
  if (name === "compare") return compared(data.answers.compare, params.map(([, run]) => run));
  const found = data.answers[called(name, params)];
  if (found === undefined) throw new Refused(404, name === "step" ? "This report has no more of that step than its points in the plots." : "This report does not have it.");
  return found;
}

/// What was compared of all runs, for these.
function compared(all, ids) {
  const at = ids.map((id) => all?.runs.findIndex((run) => run.id === id) ?? -1);
  if (at.includes(-1)) throw new Refused(404, "This report does not have all of these runs.");
  const differences = all.differences.map(([place, ...values]) => [place, ...at.map((i) => values[i])]);
  return {
    runs: at.map((i) => all.runs[i]),
    keys: all.keys.map((one) => ({ ...one, runs: at.map((i) => one.runs[i]) })).filter((one) => one.runs.some((outcome) => outcome !== null)),
    differences: differences.filter(([, first, ...rest]) => rest.some((value) => JSON.stringify(value) !== JSON.stringify(first))),
  };
}

function drawn(asked) {
  const number = (name) => (asked.has(name) ? Number(asked.get(name)) : null);
  const how = { x: asked.get("x") ?? "step", from: number("from"), to: number("to"), weight: number("smooth") ?? 0 };
  const of = (run) => asked.getAll("key").map((key) => part(run, key, how)).filter((line) => line !== null);
  const series = asked.getAll("run").flatMap(of);
  if (asked.get("together") !== "1") return { series };
  return { series: asked.getAll("key").map((key) => together(series.filter((line) => line.key === key))).filter((line) => line !== null) };
}

/// The sums of distances, which stand in a report for what grows; what is null there is null here.
function sums(distances) {
  let at = 0;
  return distances.map((distance) => {
    if (distance === null) return null;
    at += distance;
    return at;
  });
}

const axes = new Map();
function axis(run, name) {
  const place = JSON.stringify([run, name]);
  if (!axes.has(place)) axes.set(place, sums(data.series[run].axes[name]));
  return axes.get(place);
}

/// A series between two ends, as the server would answer it.
function part(run, key, { x, from, to, weight }) {
  if (!Object.hasOwn(data.series[run]?.series ?? {}, key)) return null;
  const course = data.series[run].series[key];
  const rows = sums(course.rows);
  const [places, steps] = [axis(run, x), axis(run, "step")];
  const smooth = weight > 0 ? smoothed(course.value, weight) : course.value;
  const kept = rows.map((row, i) => [places[row], i]).filter(([at]) => at !== null && (from === null || at >= from) && (to === null || at <= to));
  const take = (column) => kept.map(([, i]) => column[i]);
  return { key, run, x: kept.map(([at]) => at), step: kept.map(([, i]) => steps[rows[i]]), value: take(smooth), raw: weight > 0 ? take(course.value) : undefined, infinite: course.infinite };
}

/// An exponential mean whose beginning is not pulled towards zero: what docs/SERVE.md has, over the points that a report keeps.
function smoothed(values, weight) {
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return mean / share;
  });
}

/// Several runs' mean, least and greatest, wherever any of them has a point: between two of its own points a run lies on the line that
/// joins them, and beyond them nowhere.
function together(lines) {
  if (lines.length < 2) return lines[0] ?? null;
  const all = [...new Set(lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const columns = lines.map((line) => {
    let next = 0;
    return all.map((x) => {
      while (next < line.x.length && line.x[next] < x) next += 1;
      if (line.x[next] === x) return line.value[next];
      if (next === 0 || next === line.x.length) return null;
      const share = (x - line.x[next - 1]) / (line.x[next] - line.x[next - 1]);
      return line.value[next - 1] + share * (line.value[next] - line.value[next - 1]);
    });
  });
  const over = (fold) => all.map((_, i) => fold(columns.map((column) => column[i]).filter((value) => value !== null)));
  return { key: lines[0].key, x: all, step: all, value: over((values) => values.reduce((a, b) => a + b, 0) / values.length), low: over((values) => Math.min(...values)), high: over((values) => Math.max(...values)), infinite: 0 };
}

/// Calls `changed` with what is new whenever a row was stored, and `connected` with whether anybody would say so.
///
/// A browser has six connections to a server, and who listens holds one: with six pages open, a seventh would wait for ever. Of the pages
/// in one browser one listens therefore, and tells the others; when it is closed, the next one does.
export function follow(changed, connected) {
  if (isReport) return;
  // Without TLS, and not on loopback, a browser has no locks.
  if (navigator.locks === undefined) {
    listen(changed, connected);
    return;
  }
  const others = new BroadcastChannel("events");
  let isOn = null; // known to who listens
  others.addEventListener("message", ({ data }) => {
    if (data.change !== undefined) changed(data.change);
    if (data.isConnected !== undefined) connected(data.isConnected);
    if (data.asks && isOn !== null) others.postMessage({ isConnected: isOn });
  });
  others.postMessage({ asks: true });
  navigator.locks.request("events", () => new Promise(() => {
    // Until the page is closed.
    listen(
      (change) => {
        others.postMessage({ change });
        changed(change);
      },
      (isConnected) => {
        isOn = isConnected;
        others.postMessage({ isConnected });
        connected(isConnected);
      },
    );
  }));
}

function listen(changed, connected) {
  const events = new EventSource("api/events");
  events.addEventListener("open", () => connected(true));
  events.addEventListener("error", () => {
    connected(false);
    // It connects again by itself, unless it was refused.
    if (events.readyState === EventSource.CLOSED) setTimeout(() => listen(changed, connected), 2000);
  });
  events.addEventListener("change", (event) => changed(JSON.parse(event.data)));
}
