// How numbers and times are written.

/// A number in at most six characters or so; the whole of it stands in titles.
export function short(value) {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
}

/// Whole numbers on an axis: 20000 as "20K".
const COMPACT = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });
export function compact(value) {
  return value === null ? "" : Math.abs(value) < 10000 ? String(value) : COMPACT.format(value);
}

/// The numbers along an axis, all with as many decimals as their distance needs; `step` is null where they have no one distance.
export function ticks(values, step) {
  const most = values.reduce((size, value) => Math.max(size, Math.abs(value ?? 0)), 0);
  if (step === null || step <= 0 || step < 1e-4 || most >= 1e6) return values.map(short);
  const decimals = Math.max(0, Math.ceil(-Math.log10(step) - 1e-9) + (needsMore(step) ? 1 : 0));
  return values.map((value) => (value === null ? "" : value.toFixed(decimals)));
}

/// 0.25 and 2.5 have a digit more than 0.1 and 1 have.
function needsMore(step) {
  const digit = step / 10 ** Math.floor(Math.log10(step) + 1e-9);
  return Math.abs(digit - Math.round(digit)) > 1e-6;
}

/// 1500 ms as "1.5 s", 90 min as "1 h 30 min".
export function duration(milliseconds) {
  const seconds = milliseconds / 1000;
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function time(milliseconds) {
  if (milliseconds === null || milliseconds === undefined) return "";
  const iso = new Date(milliseconds - new Date(milliseconds).getTimezoneOffset() * 60000).toISOString();
  return `${iso.slice(0, 10)} ${iso.slice(11, 19)}`;
}

export function count(number, one, several = `${one}s`) {
  return `${number} ${number === 1 ? one : several}`;
}

/// Names that begin alike, without that beginning: `reward/p05`, `reward/p95` as `p05`, `p95`. It ends at a slash.
export function parted(names) {
  if (names.length < 2) return names;
  const shared = names.reduce((start, name) => {
    let end = 0;
    while (end < start.length && start[end] === name[end]) end += 1;
    return start.slice(0, end);
  });
  const cut = shared.lastIndexOf("/") + 1;
  return names.map((name) => name.slice(cut));
}

/// The lower-case words of what was typed.
export function words(text) {
  return text.toLowerCase().split(/\s+/).filter((word) => word !== "");
}
