// Keys to commands; each page brings its own commands, by name.

import "./tips.js";
import { push, queue, settled } from "./queue.js";
import { commandOf, hint } from "./keymap.js";
import { named, post, toast } from "./page.js";

const MOVING = new Set(["left", "right", "up", "down", "back", "on"]); // what a held key may go on with
const TYPING = "input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";

const shared = {
  undo: () => push({ do: "undo" }),
  redo: () => push({ do: "redo" }),
  help: () => document.getElementById("keys").showModal(),
  filter: () => {
    const field = document.getElementById("text");
    if (field) document.getElementById("filters-shown").checked = true; // of a narrow window
    field?.focus();
    field?.select();
  },
};

/** The commands that decide, by what `decide` does with a verdict. */
export const deciding = (decide) =>
  Object.fromEntries(["correct", "boundary", "under-represented", "bad", "skip"].map((verdict) => [verdict, () => decide(verdict)]));

/** Handle the page's keys. A command gets the event; it returns false where the key is not its own. */
export function listen(commands) {
  const all = { ...shared, ...commands };
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") || event.altKey || event.isComposing) return;
    const typing = event.target.closest(TYPING);
    if (typing) {
      if (event.key === "Escape") typing.blur();
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && typing.id === "note") act(all.keep, event);
      return;
    }
    if (event.ctrlKey || event.metaKey) {
      if (event.key === "a") act(all.all, event);
      return;
    }
    const control = event.target.closest("button, a, summary, input");
    if (control && (event.key === "Enter" || event.key === " ")) return; // presses it
    const command = commandOf(event);
    if (event.repeat && !MOVING.has(command)) return event.preventDefault();
    if (/^[1-9]$/.test(command)) act(all.number && ((e) => all.number(Number(e.key), e)), event);
    else act(all[command], event);
  });
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-do]");
    if (button) (all[`button-${button.dataset.do}`] ?? all[button.dataset.do])?.(event, button);
  });
  document.getElementById("undo").addEventListener("click", shared.undo);
  document.getElementById("redo").addEventListener("click", shared.redo);
  document.getElementById("help").addEventListener("click", shared.help);
  document.getElementById("guide")?.addEventListener("click", () => document.getElementById("guidelines").showModal());
  document.getElementById("invite").addEventListener("click", invite);
  document.getElementById("logout").addEventListener("click", leave);
  document.getElementById("invitation-make").addEventListener("click", makeInvitation);
  for (const button of document.querySelectorAll(".menu button"))
    button.addEventListener("click", () => button.closest("details").removeAttribute("open"));
  submitOnChange();
}

function act(command, event) {
  if (command && command(event) !== false) event.preventDefault();
}

async function leave() {
  const response = await post("/logout", {}).catch(() => null);
  if (response?.ok) location.assign("/");
  else toast("Still here: no connection.");
}

function invite() {
  document.getElementById("invitation-address").value = "";
  document.getElementById("invitation").showModal();
}

async function makeInvitation() {
  const name = document.getElementById("invitation-name").value;
  const response = await post("/invite", { name }).catch(() => null);
  const body = await response?.json().catch(() => null);
  if (!response?.ok) return toast(body?.error ?? "No invitation just now: no connection.");
  const field = document.getElementById("invitation-address");
  field.value = body.address;
  field.select();
}

/** The filter's address without its empty fields. */
function submitOnChange() {
  const form = document.getElementById("filters");
  if (!form) return;
  const go = () => {
    const values = [...new FormData(form)].filter(([name, value]) => value !== "" && !(name === "sort" && value === "rank"));
    const query = new URLSearchParams(values).toString();
    location.assign(form.getAttribute("action") + (query ? `?${query}` : ""));
  };
  form.addEventListener("change", (event) => event.target.name && !["text", "where"].includes(event.target.id) && go());
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    go();
  });
}

/** What an undo or a redo did, in words. */
function told(done, { count, items: [{ rank, label, decision, before }] }) {
  const what = count > 1 ? `${count.toLocaleString("en")} verdicts` : `#${rank}, labelled ${label}`;
  if (done === "redo") return `Done again: ${what}: ${named(decision)}`;
  return `Undone: ${what}: ${named(before)}${decision ? `; it is ${named(decision)} again` : ""}`;
}

queue.addEventListener("done", ({ detail: { action, result } }) => {
  if ((action.do !== "undo" && action.do !== "redo") || result.error) return;
  toast(result.count ? told(action.do, result) : `Nothing to ${action.do}.`);
});
export { hint, settled };
