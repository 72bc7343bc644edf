// Where the numbers come from: the server, or, in a report, the file itself.

const inFile = document.getElementById("data");
const data = inFile === null ? null : JSON.parse(inFile.textContent);

export const isReport = data !== null;

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
  const body = await answer.json().catch(() => ({ error: `status ${answer.status}` }));
  if (!answer.ok) throw new Refused(answer.status, body.error ?? `status ${answer.status}`);
  return body;
}

/// A report has each answer under its name and parameters, and of series what was kept.
function stored(name, params) {
  if (name !== "series") {
    const query = new URLSearchParams(params).toString();
    const found = data.answers[query === "" ? name : `${name}?${query}`];
    if (found === undefined) throw new Refused(404, "this report does not have it");
    return found;
  }
  const asked = new URLSearchParams(params);
  const run = asked.get("run");
  const [from, to] = ["from", "to"].map((end) => (asked.has(end) ? Number(asked.get(end)) : null));
  const x = asked.get("x") ?? "step";
  const smooth = Number(asked.get("smooth") ?? 0);
  return { series: asked.getAll("key").flatMap((key) => {
    const series = data.series[run]?.[key];
    return series === undefined ? [] : [part(series, x, from, to, smooth)];
  }) };
}

function part(series, x, from, to, smooth) {
  const all = series[x] ?? series.step;
  const kept = all.map((at, i) => i).filter((i) => (from === null || all[i] >= from) && (to === null || all[i] <= to));
  const take = (column) => kept.map((i) => column[i]);
  const value = take(series.value);
  return { ...series, x: take(all), step: take(series.step), value: smooth > 0 ? smoothed(value, smooth) : value, raw: smooth > 0 ? value : undefined };
}

/// An exponential mean whose beginning is not pulled towards zero: what docs/SERVE.md has, over the points that a report keeps.
function smoothed(values, weight) {
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    if (value === null) return null;
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return mean / share;
  });
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
