// The gallery: a hundred nodes show a hundred thousand points.
//
// A node belongs to one place of the view and is kept while that place is in sight; it is never drawn
// anew, only patched, so that its picture does not blink.

import "./saving.js";
import "./together.js";
import { brief, h, highlight, keep, kept, lengthy, named, painted, picture, slotted, toast } from "./page.js";
import { forget, known, push, queue } from "./queue.js";
import { deciding, listen } from "./keys.js";
import { ask } from "./palette.js";
import { close, view, viewing } from "./viewer.js";

const WINDOW = 200;
const NODES = 96;
const ASK_FROM = 500;
const USUAL = 120;
const SIZE = "swaypoint-size";
const LONG = 40; // characters of a value that is a text, not a number or a category
const LONG_PRESS = 450; // ms
const PAUSE = 25; // between two windows, in ms: the server allows fifty requests a second
const main = document.getElementById("main");
const grid = document.getElementById("grid");
const space = document.getElementById("space");
const bar = document.getElementById("selection");
const { query, seq } = main.dataset;
const count = Number(main.dataset.count);
const place = `swaypoint-place:${query}`;
const sought = new URLSearchParams(query).get("text") ?? "";
const size = document.getElementById("size"); // least width of a picture's cell

const windows = new Map(); // number of the window -> cells
const nodes = new Map(); // place in the view -> node
const selection = new Set();
const given = JSON.parse(document.getElementById("window").textContent).cells;
const pictures = given[0]?.picture ?? true;
let several = false;
let held = -1; // the place whose long press has selected it
let anchor = 0;
let focus = 0;
let form = { columns: 1, width: 1, height: 1, across: 0, down: 0 };

// -- cells ------------------------------------------------------------------------------------------

const cellAt = (i) => windows.get(Math.floor(i / WINDOW))?.[i % WINDOW];

let fetching = 0;
let asked = -1;
let idle = 0;
let wanted = [];
let last = 0;

function want(number) {
  if (number < 0 || number * WINDOW >= count || windows.has(number) || number === asked) return;
  wanted = [number, ...wanted.filter((other) => other !== number)].slice(0, 4); // the newest first
  pump();
}

async function pump() {
  if (fetching || !wanted.length) return;
  fetching = 1;
  const rest = last + PAUSE - performance.now();
  if (rest > 0) await new Promise((resolve) => setTimeout(resolve, rest));
  const number = (asked = wanted.shift());
  last = performance.now();
  try {
    const response = await fetch(`/gallery.json?${query ? `${query}&` : ""}seq=${seq}&start=${number * WINDOW}`);
    if (!response.ok) throw new Error(String(response.status));
    windows.set(number, (await response.json()).cells);
    if (windows.size > 40) windows.delete(windows.keys().next().value);
    draw();
  } catch {
    setTimeout(() => draw(), 1000);
  }
  fetching = 0;
  asked = -1;
  pump();
}

// -- the grid ---------------------------------------------------------------------------------------

function measure() {
  const width = grid.clientWidth - 24;
  const height = grid.clientHeight;
  const caption = pictures ? (lengthy ? 46 : 28) : 0;
  const wished = Number(size?.value) || USUAL;
  const least = pictures ? (wished === USUAL ? Math.min(USUAL, Math.max(100, width / 3.2)) : Math.min(wished, width)) : Math.min(250, width);
  let columns = Math.max(1, Math.floor(width / least));
  const tall = (n) => (pictures ? width / n + caption : 186);
  // On a large screen cells grow, so that the number of nodes does not.
  while (columns > 1 && columns * (Math.ceil(height / tall(columns)) + 2) > NODES) columns--;
  form = { columns, width: Math.floor(width / columns), height: Math.floor(tall(columns)), across: grid.clientWidth, down: height };
  space.style.height = `${Math.ceil(count / columns) * form.height + 90}px`;
}

function draw() {
  const first = Math.max(0, (Math.floor(grid.scrollTop / form.height) - 0.5) | 0) * form.columns;
  const rows = Math.ceil(grid.clientHeight / form.height) + 2;
  const stop = Math.min(count, first + rows * form.columns);
  for (const [i, node] of nodes)
    if (i < first || i >= stop) {
      node.remove();
      nodes.delete(i);
    }
  const fresh = [];
  for (let i = first; i < stop; i++) {
    let node = nodes.get(i);
    if (!node) {
      node = h("div", { class: "cell", role: "option", id: `cell-${i}`, "aria-posinset": i + 1, "aria-setsize": count });
      node.style.transform = `translate(${12 + (i % form.columns) * form.width}px, ${10 + Math.floor(i / form.columns) * form.height}px)`;
      node.style.width = `${form.width - 8}px`;
      node.style.height = `${form.height - 8}px`;
      nodes.set(i, node);
      fresh.push(node);
    }
    patch(node, i);
  }
  space.append(...fresh);
  const [low, high] = [Math.floor(first / WINDOW), Math.floor(Math.max(first, stop - 1) / WINDOW)];
  want(high);
  want(low);
  clearTimeout(idle); // the pictures in sight go first
  idle = setTimeout(() => windows.has(high) && want(high + 1), 300);
  grid.setAttribute("aria-activedescendant", nodes.has(focus) ? `cell-${focus}` : "");
}

function patch(node, i) {
  const cell = cellAt(i);
  node.classList.toggle("focused", i === focus);
  node.setAttribute("aria-selected", String(selection.has(i)));
  if (!cell) return;
  if (!node.dataset.id) fill(node, cell, i);
  const { decision, pending, mine } = standing(cell);
  const state = `${decision ? named(decision) : ""}|${pending}|${mine}|${cell.conflict}`;
  if (node.dataset.state === state) return;
  node.dataset.state = state;
  const badge = node.querySelector(".badge");
  badge.className = `badge ${cell.conflict ? "conflict" : decision?.verdict ?? ""}${pending ? " pending" : ""}${mine ? "" : " others"}`;
  badge.textContent = cell.conflict ? "conflict" : decision ? short(decision) : "";
  node.classList.toggle("decided", Boolean(decision));
  const suggestion = cell.suggested !== undefined && cell.suggested !== cell.label ? `, suggested ${cell.suggested}` : "";
  node.setAttribute("aria-label", `rank ${cell.rank}, labelled ${cell.label}${suggestion}, ${decision ? named(decision) : "no verdict"}${pending ? ", not saved yet" : ""}`);
}

const short = ({ verdict, label }) =>
  verdict === "mislabeled" ? (label === null || label === undefined ? "wrong" : `→ ${brief(label, "narrow")}`) : { correct: "✓ fine", "under-represented": "under-repr." }[verdict] ?? verdict;

function fill(node, cell, i) {
  node.dataset.id = cell.id;
  const differs = cell.suggested !== undefined && cell.suggested !== cell.label;
  const caption = h("div", { class: "caption" },
    h("span", { class: "line" }, h("b", { title: cell.label }, brief(cell.label, "narrow")), differs ? h("span", { class: "hot", title: cell.suggested }, ` → ${brief(cell.suggested, "narrow")}`) : null),
    h("span", { class: "rank" }, `#${cell.rank.toLocaleString("en")}`, cell.split === "train" ? null : h("span", { class: "of" }, ` · ${cell.split.replace("_", " ")}`)));
  const { src, slot } = slotted(windows.get(Math.floor(i / WINDOW)), i % WINDOW);
  const body = cell.picture
    ? h("img", { src, class: `slot-${slot}`, alt: "", draggable: "false", decoding: "async" })
    : h("dl", { class: "values" }, ...cell.values.flatMap(([name, value]) => [h("dt", {}, name), h("dd", { class: value.length > LONG ? "text" : "", dir: "auto" }, value)]));
  node.classList.toggle("card", !cell.picture);
  highlight(cell.picture ? null : body, sought);
  const tell = () => painted(() => (node.dataset.painted = "1"));
  if (cell.picture) body.decode().catch(() => {}).then(tell);
  else tell();
  node.append(...(cell.picture ? [h("div", { class: "frame slot" }, body, h("span", { class: "badge" })), caption] : [caption, body, h("span", { class: "badge" })]));
}

/** What stands of a cell: the reviewer's own verdict, else what others said. */
function standing(cell) {
  const here = known(cell.id);
  if (here) return { decision: here.decision, pending: here.pending, mine: true };
  return { decision: cell.own ?? cell.other ?? null, pending: false, mine: Boolean(cell.own) || !cell.other };
}

// -- focus and selection ----------------------------------------------------------------------------

function go(to, event) {
  const next = Math.max(0, Math.min(count - 1, to));
  if (event?.shiftKey) {
    selection.clear();
    for (let i = Math.min(anchor, next); i <= Math.max(anchor, next); i++) selection.add(i);
  } else anchor = next;
  focus = next;
  reveal();
  draw();
  told();
  if (viewing()) zoomIn();
}

function reveal() {
  const top = Math.floor(focus / form.columns) * form.height;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + form.height + 14 > grid.scrollTop + grid.clientHeight - (bar.hidden ? 0 : 52)) grid.scrollTop = top + form.height + 14 - grid.clientHeight + (bar.hidden ? 0 : 52);
}

function told() {
  bar.hidden = !selection.size;
  document.getElementById("selected").textContent = `${selection.size.toLocaleString("en")} selected`;
  bar.querySelector("[data-do=open]").hidden = selection.size !== 1;
}

/** From now on each click or tap adds to the selection, or takes away. */
function gather(on) {
  several = on;
  bar.querySelector("[data-do=several]").setAttribute("aria-pressed", String(on));
}

function toggle(i) {
  selection.has(i) ? selection.delete(i) : selection.add(i);
}

function clear() {
  selection.clear();
  gather(false);
  draw();
  told();
}

function everything() {
  for (let i = 0; i < count; i++) selection.add(i);
  draw();
  told();
}

/** The selection as [from, to) pairs. */
function ranges() {
  const chosen = [...selection].sort((a, b) => a - b);
  const found = [];
  for (const i of chosen) {
    if (found.length && found.at(-1)[1] === i) found.at(-1)[1]++;
    else found.push([i, i + 1]);
  }
  return found;
}

// -- verdicts ---------------------------------------------------------------------------------------

/** Whether the point at `i` has been painted and is in sight. */
function seen(i) {
  const node = nodes.get(i);
  const top = Math.floor(i / form.columns) * form.height - grid.scrollTop;
  return node?.dataset.painted && top > -form.height && top < grid.clientHeight;
}

function decide(verdict, { label = null, suggested = false } = {}) {
  if (!count) return;
  if (selection.size > 1) return decideAll(verdict, label, suggested);
  const i = selection.size ? [...selection][0] : focus;
  const cell = cellAt(i);
  if (!cell) return;
  if (!seen(i)) return go(i); // it is brought in sight first
  const right = suggested ? cell.suggested : label;
  if (suggested && (right === undefined || right === cell.label)) return toast(right === undefined ? "The suggestion is hidden." : "The suggestion is its label.");
  push({ do: "decide", item: cell.id, verdict, label: right, way: "gallery" });
  selection.clear();
  go(i + 1);
}

function decideAll(verdict, label, suggested) {
  const n = selection.size;
  const what = suggested ? "relabelled as suggested" : named({ verdict, label });
  if (n >= ASK_FROM && !confirm(`${n.toLocaleString("en")} points: ${what}?`)) return;
  const pairs = ranges();
  if (pairs.length > 4000) return toast("That selection is too scattered; filter instead.");
  push({ do: "decide-all", query: Object.fromEntries(new URLSearchParams(query)), seq: Number(seq), ranges: pairs, verdict, label, suggested });
  toast(`${n.toLocaleString("en")} points: ${what}`);
  clear();
}

async function relabel() {
  const one = selection.size <= 1 ? cellAt(selection.size ? [...selection][0] : focus) : null;
  if (selection.size <= 1 && !one) return;
  const each = { label: "as suggested", note: "each point its own", value: ask }; // no class is a function
  const likely = one && one.suggested !== undefined && one.suggested !== one.label ? [{ label: one.suggested, note: "suggested" }] : [];
  const label = await ask(one ? likely : [each], one?.label);
  if (label === ask) decide("mislabeled", { suggested: true });
  else if (label !== undefined) decide("mislabeled", { label });
}

async function number(n) {
  if (n === 1) return decide("mislabeled", { suggested: true });
  if (selection.size > 1) return toast("For several points: 1 takes each one's suggestion, m chooses a class.");
  const cell = cellAt(selection.size ? [...selection][0] : focus);
  if (!cell) return;
  const response = await fetch(`/item.json?at=${cell.id}`).catch(() => null);
  const choice = response?.ok ? (await response.json()).choices[n - 1] : null;
  if (choice) decide("mislabeled", { label: choice.label });
}

// -- zoom, opening ----------------------------------------------------------------------------------

function zoomIn() {
  const cell = cellAt(focus);
  if (!cell?.picture) return;
  const text = `#${cell.rank} labelled ${cell.label}${cell.suggested !== undefined && cell.suggested !== cell.label ? `, suggested ${cell.suggested}` : ""}`;
  view(picture(cell.id, true), text);
}

function open() {
  const cell = cellAt(selection.size === 1 ? [...selection][0] : focus);
  if (!cell) return;
  sessionStorage.setItem(place, JSON.stringify({ top: grid.scrollTop, focus }));
  location.assign(`/item?at=${cell.id}${query ? `&${query}` : ""}`);
}

// -- events -----------------------------------------------------------------------------------------

let drawing = 0;
grid.addEventListener("scroll", () => {
  drawing ||= requestAnimationFrame(() => {
    drawing = 0;
    draw();
  });
}, { passive: true });
new ResizeObserver(() => {
  if (grid.clientWidth !== form.across || grid.clientHeight !== form.down) arrange();
}).observe(grid);

/** Lay the grid out anew, with the focus in sight. */
function arrange() {
  for (const node of nodes.values()) node.remove();
  nodes.clear();
  measure();
  reveal();
  draw();
}
size?.addEventListener("input", () => {
  keep(SIZE, Number(size.value));
  arrange();
});
space.addEventListener("click", (event) => {
  const node = event.target.closest(".cell");
  if (!node) return;
  const i = Number(node.id.slice(5));
  if (event.shiftKey) return go(i, event);
  if (held === i) return (held = -1); // the finger that held it was lifted
  if (several || event.ctrlKey || event.metaKey) toggle(i);
  else {
    const only = selection.size === 1 && selection.has(i);
    selection.clear();
    if (!only) selection.add(i);
  }
  go(i);
});

// A finger that rests on a point selects it, and then each tap one more.
let resting = 0;
space.addEventListener("pointerdown", (event) => {
  const node = event.target.closest(".cell");
  clearTimeout(resting);
  held = -1;
  if (event.pointerType !== "touch" || !node) return;
  resting = setTimeout(() => {
    held = Number(node.id.slice(5));
    gather(true);
    selection.add(held);
    go(held);
  }, LONG_PRESS);
});
for (const name of ["pointerup", "pointercancel", "pointerleave"]) space.addEventListener(name, () => clearTimeout(resting));
space.addEventListener("contextmenu", (event) => held >= 0 && event.preventDefault());
space.addEventListener("dblclick", (event) => {
  const node = event.target.closest(".cell");
  if (!node) return;
  if (several) return;
  selection.clear();
  focus = Number(node.id.slice(5));
  open();
});

listen({
  left: (event) => go(focus - 1, event),
  right: (event) => go(focus + 1, event),
  up: (event) => go(focus - form.columns, event),
  down: (event) => go(focus + form.columns, event),
  first: (event) => go(0, event),
  last: (event) => go(count - 1, event),
  back: (event) => go(focus - form.columns * Math.floor(grid.clientHeight / form.height), event),
  on: (event) => go(focus + form.columns * Math.floor(grid.clientHeight / form.height), event),
  ...deciding(decide),
  mislabeled: relabel,
  suggested: () => decide("mislabeled", { suggested: true }),
  number,
  all: everything,
  none: clear,
  open,
  zoom: () => (viewing() ? close() : zoomIn()),
  similar: () => cellAt(focus) && location.assign(`/gallery?near=${cellAt(focus).id}`),
  several: () => gather(!several),
  leave: () => (viewing() ? close() : clear()),
});

queue.addEventListener("done", ({ detail: { action, result } }) => {
  if (action.do !== "decide" && !result.error) {
    if (action.do === "decide-all") toast(`${result.count.toLocaleString("en")} verdicts saved`);
    forget(); // the server's word on every cell is newer
    windows.clear();
  }
  draw();
});
queue.addEventListener("change", draw);

grid.classList.toggle("lengthy", lengthy);
windows.set(0, given);
if (size) size.value = kept(SIZE, USUAL);
measure();
const before = JSON.parse(sessionStorage.getItem(place) ?? "null");
if (before) {
  sessionStorage.removeItem(place);
  focus = anchor = Math.min(before.focus, Math.max(0, count - 1));
  grid.scrollTop = before.top;
}
draw();
grid.focus({ preventScroll: true });
