// One item after the other: verdicts move on to the next, which is there already.

import "./saving.js";
import { h, highlight, keep, kept, named, painted, picture, reviewer, run, smooth, toast } from "./page.js";
import { known, push, queue, settled } from "./queue.js";
import { deciding, hint, listen } from "./keys.js";
import { ask } from "./palette.js";
import { remarking } from "./remarks.js";
import { hide } from "./tips.js";
import { close, view, viewing } from "./viewer.js";

const AHEAD = 3;
const FRAME = 17;
const KEPT = 16;
const ready = new Map(); // id -> promise of an article
const draft = (id) => `swaypoint-note:${run}:${reviewer}:${id}`; // a note on its way
let current = document.getElementById("item");
const { query = "", seq = "" } = current.dataset;

// In these views a point with a verdict is what one came to see.
const again = /(^|&)(status=(reviewed|conflict)|verdict=)/.test(query);
const pause = (time) => new Promise((resolve) => setTimeout(resolve, time));
const way = /(^|&)sample=/.test(query) ? "sample" : "queue"; // by which its points come
const address = (id) => `/item?at=${id}${query ? `&${query}` : ""}`;

/** The article of an item, its picture decoded. */
function article(id) {
  let found = ready.get(id);
  if (!found) {
    found = fetched(id);
    found.catch(() => ready.delete(id));
  }
  ready.delete(id);
  ready.set(id, found); // the last used is the last to go
  if (ready.size > KEPT) ready.delete(ready.keys().next().value);
  return found;
}

async function fetched(id) {
  const response = await fetch(`${address(id)}&seq=${seq}`);
  if (!response.ok) throw new Error(String(response.status));
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  // Imported now, so that its pictures load while it is not shown yet.
  const node = document.importNode(page.getElementById("item"), true);
  smooth(node.querySelector("#picture"));
  find(node);
  // A tab that is not in sight may never decode.
  await Promise.race([node.querySelector("#picture")?.decode().catch(() => {}), pause(300)]);
  return node;
}

/** Mark what the filter searches for. */
function find(node) {
  const text = new URLSearchParams(query).get("text") ?? "";
  for (const part of node.querySelectorAll(".source, .sheet")) highlight(part, text);
}

/** Fetch what comes next; the verdict before it goes first. */
async function ahead(node) {
  await Promise.race([settled(), pause(150)]);
  for (let i = 0; i < AHEAD && node?.dataset.waiting; i++) node = await article(node.dataset.waiting).catch(() => null);
}

async function show(id, { back = false } = {}) {
  let node;
  try {
    node = await article(id);
  } catch {
    toast("The item cannot be loaded: no connection.");
    look();
    return;
  }
  hide();
  current.replaceWith(node);
  current = node;
  history[back ? "pushState" : "replaceState"]({ id }, "", address(id));
  prepare();
  if (viewing()) zoomIn();
  else arrive();
  read();
}

/** The heading has the focus, and the picture is in sight. */
function arrive() {
  if (!document.activeElement.closest("dialog, form")) document.getElementById("title").focus({ preventScroll: true });
  const { top } = current.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) current.scrollIntoView({ block: "start" });
}

/** Read out what is there now. */
function read() {
  const parts = ["#title", ".claim", ".along span"].map((name) => current.querySelector(name).textContent.trim().replace(/\.$/, ""));
  document.getElementById("live").textContent = parts.join(". ");
}

/** A verdict is taken of what has been painted, so that no key decides what nobody saw. */
function look() {
  const node = current;
  painted(() => (node.dataset.painted = "1"));
}

/** Say so where the picture is no larger than what the model saw. */
function tell() {
  const [image, note] = [document.getElementById("picture"), document.getElementById("seen")];
  if (!image?.naturalWidth || !note) return;
  note.hidden = Math.max(image.naturalWidth, image.naturalHeight) > Number(note.dataset.side);
}

/** What this tab knows better than the page as it was fetched. */
function prepare() {
  tell();
  hint(current);
  look();
  document.getElementById("picture")?.addEventListener("load", tell);
  const own = known(current.dataset.id);
  if (own) {
    const line = document.getElementById("own");
    const { decision, pending } = own;
    current.dataset.verdict = decision?.verdict ?? "";
    current.dataset.newLabel = decision?.label ?? "";
    line.replaceChildren(...(decision ? ["Your verdict: ", h("span", { class: `verdict ${decision.verdict}${pending ? " pending" : ""}` }, named(decision))] : []));
    if (decision?.note && !document.getElementById("note").value) document.getElementById("note").value = decision.note;
  }
  const half = kept(draft(current.dataset.id), null);
  if (half !== null) document.getElementById("note").value = half;
  for (const button of current.querySelectorAll(".choices button, .verdicts button"))
    button.setAttribute("aria-pressed", String(isChosen(button)));
  ahead(current);
}

function isChosen(button) {
  const { verdict, newLabel } = current.dataset;
  if (!verdict) return false;
  if (button.dataset.do === "relabel") return verdict === "mislabeled" && newLabel === button.dataset.label;
  return button.dataset.do === verdict && (verdict !== "mislabeled" || !newLabel);
}

function decide(verdict, label = null) {
  const { id, label: given, painted: seen } = current.dataset;
  if (!id || !seen) return;
  delete current.dataset.painted; // decided: the next key is for the next point
  const note = document.getElementById("note").value.trim();
  keep(draft(id), null);
  const resolves = document.getElementById("resolves")?.checked ?? false;
  push({ do: "decide", item: id, verdict, label, note, resolves, way });
  toast(`${given}: ${named({ verdict, label })}`);
  advance();
}

async function advance() {
  const next = current.dataset.waiting;
  // Painting takes every core: on a machine that serves and shows, the log is written sooner before it.
  await Promise.race([settled(), pause(FRAME)]);
  if (next && (again || !known(next)?.decision)) return show(next);
  prepare();
  // The last one: what else waits depends on verdicts that may still be on their way.
  await settled();
  location.assign(`/item${query ? `?${query}` : ""}`);
}

async function relabel() {
  const { id, label: given } = current.dataset;
  if (!id) return;
  const first = [...current.querySelectorAll("[data-do=relabel]")].map((button) => ({
    label: button.dataset.label,
    note: button.querySelector(".share")?.textContent,
  }));
  const label = await ask(first, given);
  if (label !== undefined) decide("mislabeled", label);
}

function number(n) {
  const button = current.querySelectorAll("[data-do=relabel]")[n - 1];
  if (!button) return false;
  decide("mislabeled", button.dataset.label);
}

function zoomIn() {
  const { id } = current.dataset;
  if (!id || !document.getElementById("picture")) return;
  view(picture(id, true), document.getElementById("picture").alt);
}

// A first visit: until it is read once in this browser, or when it is asked for.
const MET = "swaypoint-met";
const first = document.getElementById("first-visit");
const greet = () => (first.hidden = kept(MET, false) && location.hash !== "#first-visit");
function meet() {
  keep(MET, true);
  history.replaceState(history.state, "", location.pathname + location.search);
  greet();
  document.getElementById("title").focus({ preventScroll: true });
}
document.getElementById("met").addEventListener("click", meet);
addEventListener("hashchange", greet);
greet();

const step = (name) => () => (current.dataset[name] ? show(current.dataset[name]) : toast(name === "previous" ? "This is the first." : "This is the last."));
const leave = () => {
  if (viewing()) close();
  else if (!first.hidden) meet();
  else location.assign(`/gallery${query ? `?${query}` : ""}`);
};

listen({
  ...deciding(decide),
  mislabeled: relabel,
  number,
  relabel: (_, button) => decide("mislabeled", button.dataset.label),
  left: step("previous"),
  right: step("following"),
  up: step("previous"),
  down: step("following"),
  previous: step("previous"),
  following: step("following"),
  similar: () => current.dataset.id && location.assign(`/gallery?near=${current.dataset.id}`),
  zoom: () => (viewing() ? close() : zoomIn()),
  leave,
  note: () => document.getElementById("note")?.focus(),
  keep: () => {
    document.activeElement.blur();
    const { verdict, newLabel } = current.dataset;
    if (verdict) decide(verdict, newLabel || null);
  },
});

queue.addEventListener("done", ({ detail: { action, result } }) => {
  if (result.error) return prepare();
  if (action.do === "decide") {
    if (action.item === current.dataset.id) prepare();
    return;
  }
  ready.clear(); // they show what was taken back
  if (!result.count) return;
  const [{ id }] = result.items;
  if (action.do === "undo") show(id);
  else prepare();
});
document.addEventListener("input", ({ target }) => {
  if (target.id === "note") keep(draft(current.dataset.id), target.value || null);
});
remarking((id) => {
  ready.clear();
  if (id === current.dataset.id) show(id);
});
addEventListener("popstate", () => location.reload());
if (current.dataset.id) {
  smooth(document.getElementById("picture"));
  find(current);
  history.replaceState({ id: current.dataset.id }, "", address(current.dataset.id));
  prepare();
  if (document.activeElement === document.body) document.getElementById("title").focus({ preventScroll: true });
}
