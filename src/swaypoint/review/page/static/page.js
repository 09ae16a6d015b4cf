// What every page has: who, which audit, the token of its writes; building nodes; the message line.

const meta = (name) => document.querySelector(`meta[name="${name}"]`)?.content ?? "";
export const run = meta("run");
export const reviewer = meta("reviewer");
export const csrf = meta("csrf");
export const classes = JSON.parse(document.getElementById("classes")?.textContent ?? "[]");

const short = JSON.parse(document.getElementById("short")?.textContent ?? "{}");
/** A class's name where there is little room: "wide" of a button, "narrow" of a thumbnail. */
export const brief = (name, room) => short[name]?.[room] ?? name;
export const lengthy = Object.keys(short).length > 0;

/** An element; text is always a text node, so nothing that a label holds becomes markup. */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const picture = (id, whole = false) => `/${whole ? "picture" : "thumb"}/${id}?r=${run.slice(0, 8)}`;

/** An image whose pixels show as such where they are few, and not where they are many. */
export function smooth(image) {
  const look = () => image.classList.toggle("smooth", image.naturalWidth > 128);
  image?.addEventListener("load", look);
  if (image?.complete) look();
  return image;
}

const SLOTS = 25; // pictures in a sheet
export const sheet = (ids) => `/sheet/${ids.join(",")}?r=${run.slice(0, 8)}`;
export const slotted = (cells, i) => {
  const start = i - (i % SLOTS);
  return { src: sheet(cells.slice(start, start + SLOTS).map((cell) => cell.id)), slot: i - start };
};

/** What this browser keeps under a name, or `otherwise`. */
export function kept(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(name)) ?? otherwise;
  } catch {
    return otherwise; // closed, or not ours
  }
}

/** Keep a value, or forget it: null. Where the browser keeps nothing it holds for this page alone. */
export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, JSON.stringify(value));
  } catch {
    // full or closed
  }
}

/** Mark what was searched for in the texts below `root`; none of it becomes markup. */
export function highlight(root, text) {
  const needle = text.toLowerCase();
  if (!needle || !root) return;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) if (walker.currentNode.data.toLowerCase().includes(needle)) found.push(walker.currentNode);
  for (const node of found) {
    const parts = [];
    let from = 0;
    for (let at; (at = node.data.toLowerCase().indexOf(needle, from)) >= 0; from = at + needle.length)
      parts.push(node.data.slice(from, at), h("mark", { class: "found" }, node.data.slice(at, at + needle.length)));
    node.replaceWith(...parts, node.data.slice(from));
  }
}

/** Call `then` when the page has been painted as it is now. */
export const painted = (then) => requestAnimationFrame(() => requestAnimationFrame(then));

let fading = 0;
export function toast(text) {
  const line = document.getElementById("toast");
  line.textContent = text;
  line.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => line.classList.remove("shown"), 4000);
}

export const named = (decision) =>
  decision === null ? "no verdict" : decision.label !== null && decision.label !== undefined ? `${decision.verdict} → ${decision.label}` : decision.verdict;

/** crypto.randomUUID is not there over plain HTTP from another machine. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}

export async function post(path, body) {
  const headers = { "content-type": "application/json", "x-swaypoint-csrf": csrf };
  return fetch(path, { method: "POST", headers, body: JSON.stringify(body), redirect: "error" });
}
