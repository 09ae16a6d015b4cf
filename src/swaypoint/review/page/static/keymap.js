// Which key does what. A reviewer may change the letters, or turn single keys off (WCAG 2.1.4); this browser
// remembers it.

import { keep, kept } from "./page.js";

const KEPT = "swaypoint-keys";
const FIRST = {
  correct: "f", mislabeled: "m", boundary: "b", "under-represented": "u", bad: "x", skip: "s",
  undo: "z", note: "n", similar: "g", filter: "/", help: "?",
};
const MOVES = { h: "left", l: "right", k: "up", j: "down", " ": "zoom" };
const NAMED = {
  ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down",
  Enter: "open", Escape: "leave", Home: "first", End: "last", PageUp: "back", PageDown: "on",
};
const settings = { off: false, ...kept(KEPT, {}) };
const keys = { ...FIRST, ...settings.keys };

/** The command of a key press; a digit is its own. Caps Lock makes no other key of a letter, Shift does. */
export function commandOf({ key, shiftKey }) {
  if (key.length > 1) return NAMED[key];
  if (settings.off) return undefined;
  if (/^[1-9]$/.test(key)) return key;
  const plain = key.toLowerCase();
  const command = MOVES[plain] ?? Object.keys(keys).find((name) => keys[name] === plain);
  const letter = plain !== key.toUpperCase();
  if (!letter || !shiftKey || plain in MOVES) return command;
  return command === "undo" ? "redo" : undefined;
}

/** Say on the buttons within `root` which key they have now. */
export function hint(root = document) {
  document.documentElement.dataset.keys = settings.off ? "off" : "on";
  for (const node of root.querySelectorAll("kbd[data-key]")) {
    const { key } = node.dataset;
    const named = key === "redo" ? keys.undo.toUpperCase() : keys[key] ?? key;
    node.textContent = named;
    const button = node.closest("button");
    if (!button) continue;
    if (settings.off) button.removeAttribute("aria-keyshortcuts");
    else button.setAttribute("aria-keyshortcuts", key === "redo" ? `Shift+${keys.undo}` : named);
  }
}

function change(field, told) {
  const { command } = field.dataset;
  const wish = field.value.toLowerCase();
  const other = Object.keys(keys).find((name) => name !== command && keys[name] === wish);
  const taken = other ? `${wish} is the key of “${other}”.` : wish in MOVES || /^\d$/.test(wish) ? `${wish} has its own meaning.` : "";
  if (!wish.trim() || taken) {
    told.textContent = taken;
    return;
  }
  keys[command] = wish;
  told.textContent = `${wish}: ${command}`;
  store();
}

function store() {
  keep(KEPT, { off: settings.off, keys });
  hint();
  for (const field of document.querySelectorAll("input[data-command]")) field.value = keys[field.dataset.command];
  document.getElementById("keys-on").checked = !settings.off;
}

const told = document.getElementById("keys-told");
for (const field of document.querySelectorAll("input[data-command]")) {
  field.addEventListener("focus", () => field.select());
  field.addEventListener("input", () => field.value && change(field, told));
  field.addEventListener("blur", () => (field.value = keys[field.dataset.command]));
}
document.getElementById("keys-on").addEventListener("change", (event) => {
  settings.off = !event.target.checked;
  told.textContent = settings.off ? "Single keys are off: buttons, Tab and Enter do everything." : "Single keys are on.";
  store();
});
document.getElementById("keys-first").addEventListener("click", () => {
  Object.assign(keys, FIRST);
  settings.off = false;
  told.textContent = "The keys are as they were at first.";
  store();
});
store();
