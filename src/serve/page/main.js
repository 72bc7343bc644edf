// The page: which view the address asks for, what stands above every view, and what happens when rows are stored.

import * as address from "address";
import { el, link, name } from "dom";
import { duration, time } from "form";
import { follow, get, isReport, report } from "source";
import { compareView } from "compare";
import { runView } from "run";
import { runsView } from "runs";
import { stepView } from "step";

const main = document.getElementById("main");
const said = document.getElementById("said");
let view = null; // { title, refresh(), keys: { k: [what, action] }, destroy() }; null while none is shown
let drawing = 0;

function viewOf({ path }) {
  if (path[0] === "run" && path.length === 2) return [runView, path[1]];
  if (path[0] === "run" && path[2] === "step" && path.length === 4) return [stepView, path[1], path[3]];
  if (path[0] === "compare") return [compareView];
  return [runsView];
}

/// Draws the view that the address asks for. Where it changes meanwhile, what comes late is not shown.
async function show() {
  drawing += 1;
  const mine = drawing;
  view?.destroy?.();
  view = null;
  const place = el("div", { class: "view" });
  main.replaceChildren(place);
  main.setAttribute("aria-busy", "true");
  try {
    const [make, ...of] = viewOf(address.read());
    const made = await make(place, ...of);
    if (mine === drawing) view = made;
    else made.destroy?.();
  } catch (error) {
    if (mine === drawing) place.replaceChildren(failure(error));
  }
  if (mine !== drawing) return;
  main.removeAttribute("aria-busy");
  titled();
  document.body.dataset.drawn = String(mine);
}

function failure(error) {
  return el("section", { class: "failure" }, el("h1", {}, "This cannot be shown"), el("p", {}, error.message),
    el("p", {}, link("#/", "all runs"), " ", el("button", { type: "button", onclick: show }, "try again")));
}

/// Says something at the foot of the page, once.
function say(text) {
  if (said.textContent !== text) said.textContent = text;
}

// What stands above every view.
const live = el("span", { class: "live" }, isReport ? `a report of ${time(report.made)}` : "connecting");
const theme = el("button", { type: "button", title: "dark or light (t)", onclick: changeTheme }, "theme");
let storeName = "";
function titled() {
  document.title = [view?.title, storeName, "grpo-metrics"].filter((part) => part).join(" - ");
}
document.getElementById("top").append(
  link("#/", "grpo-metrics", { class: "home" }), el("span", { id: "store" }), live,
  el("button", { type: "button", class: "for-keyboards", title: "keys (?)", onclick: help }, "keys"), theme);

function changeTheme() {
  const root = document.documentElement;
  const isDark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = isDark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // without storage the choice lasts until the page is left
  }
  dispatchEvent(new Event("theme"));
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => dispatchEvent(new Event("theme")));

try {
  const kept = localStorage.getItem("theme");
  if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
} catch {
  // as the system has it
}

// Keys: those of every view, and the view's own.
const keys = {
  t: ["dark or light", changeTheme],
  h: ["all runs", () => address.go("#/")],
  "?": ["these keys", help],
};

function help() {
  const open = document.querySelector("dialog");
  if (open) return open.close();
  const all = { ...keys, ...view?.keys };
  const shown = el("dialog", { "aria-label": "keys", onclose: (event) => event.target.remove() },
    el("dl", {}, Object.entries(all).map(([key, [what]]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, what)])),
    el("button", { type: "button", onclick: () => shown.close() }, "close"));
  document.body.append(shown);
  return shown.showModal();
}

addEventListener("keydown", (event) => {
  const isTyping = event.target instanceof HTMLElement && event.target.matches("input:not([type=range]):not([type=checkbox]), select, textarea");
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape" && isTyping) return event.target.blur();
  if (isTyping) return;
  const found = view?.keys?.[event.key] ?? keys[event.key];
  if (found) {
    event.preventDefault();
    found[1]();
  }
});

// Rows that are stored appear without a reload, and with what was chosen left as it is. What comes while a refresh is under way waits for it.
let refreshing = false;
let again = false;
async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  try {
    if (view === null && main.getAttribute("aria-busy") === null) await show();
    else await view?.refresh?.();
    say("");
  } catch (error) {
    if (error.name !== "AbortError") say(error.message);
  }
  refreshing = false;
  if (again) {
    again = false;
    refresh();
  }
}

let lastChange = null;
function told() {
  if (isReport || live.dataset.state !== "on") return;
  live.textContent = lastChange === null ? "live" : `live, newest row ${duration(Date.now() - lastChange)} ago`;
}
setInterval(told, 1000);

follow(
  (change) => {
    if (change.error) {
      say(change.error);
      return;
    }
    lastChange = change.newest ?? lastChange;
    told();
    refresh();
  },
  (isConnected) => {
    const wasOff = live.dataset.state === "off";
    live.dataset.state = isConnected ? "on" : "off";
    if (isConnected) told();
    else live.textContent = "not connected: the server does not answer";
    if (isConnected && wasOff) refresh();
  },
);

addEventListener("hashchange", show);
get("store").then((store) => {
  storeName = store.name;
  document.getElementById("store").replaceChildren(name(storeName));
  titled();
}, (error) => say(error.message));

// The link past what stands above every view is none of the addresses of a view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
show();
