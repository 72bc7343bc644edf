// The view is in the address, so that a link shows the same: `#/run/ID?key=value`. What is not in it is as by default.

/// { path: ["run", "ID"], params: URLSearchParams }
export function read(hash = location.hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?", 2);
  return { path: path === "" ? [] : path.split("/").map(decode), params: new URLSearchParams(query) };
}

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // typed by hand, with a lone percent sign
  }
}

export function of(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== null && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/// Changes some of the view's parameters in place: no step of the browser's history. `null` takes one away.
export function set(changes) {
  const { path, params } = read();
  const next = { ...Object.fromEntries(params), ...changes };
  history.replaceState(null, "", of(path, next));
}

export function go(address) {
  location.hash = address;
}

/// Several names in one parameter, whatever is in them; of what is no such list, none.
export function list(params, name) {
  try {
    const names = JSON.parse(params.get(name) ?? "[]");
    return Array.isArray(names) ? names.filter((one) => typeof one === "string") : [];
  } catch {
    return [];
  }
}

export function listed(names) {
  return names.length === 0 ? null : JSON.stringify(names);
}

/// A number in a parameter, else `null`.
export function number(params, name) {
  const text = params.get(name);
  return text !== null && text !== "" && Number.isFinite(Number(text)) ? Number(text) : null;
}
