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
    if (value !== undefined && value !== null && value !== "" && value !== false) query.set(name, value);
  }
  const text = query.toString();
  return `#/${path.map(encodeURIComponent).join("/")}${text === "" ? "" : `?${text}`}`;
}

/// Changes some of the view's parameters in place: no step of the browser's history. `null` takes one away.
export function set(changes) {
  const { path, params } = read();
  const next = { ...Object.fromEntries(params), ...changes };
  history.replaceState(null, "", of(path, next));
  dispatchEvent(new CustomEvent("address"));
}

export function go(address) {
  location.hash = address;
}
