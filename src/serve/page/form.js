// How numbers and times are written.

/// A number in at most six characters or so; the whole of it stands in titles and tables.
export function short(value) {
  if (value === null || value === undefined) return "";
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "" : value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(2);
  if (Number.isInteger(value)) return String(value);
  return String(Number(value.toPrecision(4)));
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
