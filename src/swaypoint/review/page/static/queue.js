// Verdicts on their way: kept in this browser until the server has them for good.
//
// One key of localStorage an action, so that two tabs do not overwrite each other's list; sent in
// order, one request at a time; the action's id makes a second sending harmless, also by another tab.
// (Not under navigator.locks: that is not there over plain HTTP from afar, and a verdict waits for it.)

import { csrf, post, reviewer, run, toast, uuid } from "./page.js";

const PREFIX = `swaypoint:${run}:${reviewer}:`;
const BATCH = 16; // sixteen longest notes fit the server's limit
const SLOWEST = 3000;
const TRIES = 4; // of what the server fails on

export const queue = new EventTarget();
const decisions = new Map(); // item -> {decision, pending}
const unkept = new Map(); // key -> action, where localStorage is full or closed
const failures = new Map(); // action's id -> how often the server failed on it
const parked = new Set(); // keys of those that are not sent again before a reload
let saved = 0;
let sending = false;
let wait = 0;
let timer = 0;
let counter = 0;

/** What this tab knows of an item beyond what the server told: {decision, pending}, or undefined. */
export const known = (item) => decisions.get(item);
export const forget = () => {
  for (const [item, { pending }] of decisions) if (!pending) decisions.delete(item);
};

export function pendingKeys() {
  const keys = [...unkept.keys()];
  for (let i = 0; i < localStorage.length; i++) {
    const key = localStorage.key(i);
    if (key.startsWith(PREFIX)) keys.push(key);
  }
  return keys.sort();
}

const read = (key) => unkept.get(key) ?? JSON.parse(localStorage.getItem(key));

/** Take `action` (without id) in; it is shown as pending until it is saved. */
export function push(action) {
  const whole = { id: uuid(), ...action };
  const key = PREFIX + String(Date.now()).padStart(15, "0") + String(counter++ % 1e6).padStart(6, "0") + whole.id;
  try {
    localStorage.setItem(key, JSON.stringify(whole));
  } catch {
    unkept.set(key, whole);
    toast("This browser cannot keep verdicts over a reload: stay on the page until all are saved.");
  }
  overlay(whole);
  changed();
  drain();
  return whole;
}

function overlay(action) {
  if (action.do !== "decide") return;
  const { verdict, label = null, note = "" } = action;
  decisions.set(action.item, { decision: { verdict, label, note }, pending: true, id: action.id });
}

function changed() {
  const pending = pendingKeys().length;
  const state = document.getElementById("state");
  state.dataset.pending = pending;
  state.dataset.saved = saved;
  state.textContent = pending ? `${pending} pending` : "all saved";
  state.classList.toggle("waiting", pending > 0);
  queue.dispatchEvent(new Event("change"));
}

function trouble(reason) {
  const bar = document.getElementById("trouble");
  bar.hidden = !reason && !parked.size;
  bar.textContent = reason
    ? `${reason} Your verdicts are kept here and sent as soon as it works again.`
    : parked.size
      ? `The server fails on ${parked.size} of your verdicts: they are kept in this browser. Tell who runs it, and reload the page to send them again.`
      : "";
}

const unsent = () => pendingKeys().filter((key) => !parked.has(key));

/** Resolves when nothing is on its way. */
export function settled() {
  return new Promise((resolve) => {
    const look = () => {
      if (unsent().length) return;
      queue.removeEventListener("change", look);
      resolve();
    };
    queue.addEventListener("change", look);
    look();
  });
}

export async function drain() {
  if (sending || timer) return;
  sending = true;
  try {
    await sendAll();
  } finally {
    sending = false;
  }
}

async function sendAll() {
  for (;;) {
    const keys = unsent().slice(0, BATCH);
    if (!keys.length) return;
    const actions = keys.map(read).filter((action) => action !== null);
    const answer = await attempt(actions);
    if (answer === null) return; // a later try is set up
    keys.forEach((key, i) => take(key, actions[i], answer[i]));
    changed();
  }
}

/** The results of `actions`, or null: not now. */
async function attempt(actions) {
  let response;
  try {
    response = await post("/actions", { actions });
  } catch {
    return later("No connection to the server.");
  }
  const body = await response.json().catch(() => ({}));
  // A server that dies while it answers has sent "200" and half a body: nothing is known to be saved.
  if (response.ok && !Array.isArray(body.results)) return later("The connection broke off.");
  if (response.ok) {
    wait = 0;
    trouble("");
    return body.results;
  }
  if (response.status === 429) return later("", 1000 * Number(response.headers.get("retry-after") ?? 1));
  if (response.status === 403) return later("Your session has ended: open the review's address again.", 5000);
  if (response.status === 500 && actions.length === 1) {
    const [{ id }] = actions;
    failures.set(id, 1 + (failures.get(id) ?? 0));
    return failures.get(id) < TRIES ? later("The server failed.") : [{ parked: true }];
  }
  if (response.status > 500) return later(`The verdicts cannot be saved just now: ${body.error ?? response.status}.`);
  if (actions.length > 1) {
    const results = []; // one of them is what the server refuses: send each by itself
    for (const action of actions) {
      const single = await attempt([action]);
      if (single === null) return null;
      results.push(single[0]);
    }
    return results;
  }
  return [{ error: body.error ?? `refused (${response.status})` }];
}

function later(reason, pause = 0) {
  trouble(reason);
  wait = Math.min(SLOWEST, Math.max(pause, wait ? 2 * wait : 400));
  timer = setTimeout(again, wait);
  return null;
}

function again() {
  clearTimeout(timer);
  timer = 0;
  drain();
}

function take(key, action, result) {
  if (result.parked) {
    parked.add(key);
    return trouble("");
  }
  unkept.delete(key);
  localStorage.removeItem(key);
  if (result.error) {
    if (decisions.get(action.item)?.id === action.id) decisions.delete(action.item);
    toast(`Refused: ${result.error}`);
  } else {
    saved += 1;
    for (const { id, decision } of result.items) {
      const now = decisions.get(id);
      // A later one on the same item may wait behind this one.
      if (!now || !now.pending || now.id === action.id) decisions.set(id, { decision, pending: false });
    }
  }
  queue.dispatchEvent(new CustomEvent("done", { detail: { action, result } }));
}

addEventListener("online", () => timer && again());
addEventListener("storage", (event) => event.key?.startsWith(PREFIX) && changed());
if (csrf && reviewer) {
  for (const key of pendingKeys()) overlay(read(key));
  queueMicrotask(() => {
    changed();
    drain();
  });
  if (!document.getElementById("trouble").hidden) again();
}
