// One label for the first so many points of the view: what would be set is shown first.

import { brief, h, sheet, toast } from "./page.js";
import { push } from "./queue.js";

const SLOTS = 25; // pictures in a sheet
const dialog = document.getElementById("together");
const count = document.getElementById("together-count");
const to = document.getElementById("together-to");
const told = document.getElementById("together-told");
const shown = document.getElementById("together-shown");
const go = document.getElementById("together-do");
const { query, seq } = document.getElementById("main").dataset;
let asked = 0;

const many = (n, what = "point") => `${n.toLocaleString("en")} ${what}${n === 1 ? "" : "s"}`;

async function look() {
  const mine = ++asked;
  go.disabled = true;
  if (!to.value || !(Number(count.value) >= 1)) return tell("Choose how many, and the class.", []);
  const address = new URLSearchParams({ seq, count: Math.floor(Number(count.value)), to: to.value });
  const response = await fetch(`/together.json?${query ? `${query}&` : ""}${address}`).catch(() => null);
  const answer = await response?.json().catch(() => null);
  if (mine !== asked) return; // another question came after
  if (!response?.ok) return tell(answer?.error ?? "No connection to the server.", []);
  const given = answer.given.map(([label, n]) => `${label} (${n.toLocaleString("en")})`).join(", ");
  const left = [
    answer.judged && `${many(answer.judged)} ${answer.judged === 1 ? "has" : "have"} a verdict and ${answer.judged === 1 ? "keeps" : "keep"} it`,
    answer.same && `${many(answer.same)} ${answer.same === 1 ? "is" : "are"} ${answer.label} already`,
  ].filter(Boolean);
  const rest = answer.set > answer.shown.length ? ` The first ${answer.shown.length} of them:` : "";
  tell(`${answer.set ? `${many(answer.set)} now labelled ${given} ${answer.set === 1 ? "becomes" : "become"} ${answer.label}.` : "Nothing is set."}${left.length ? ` ${left.join("; ")}.` : ""}${rest}`, answer.shown);
  go.disabled = !answer.set;
  go.textContent = answer.set ? `Set ${many(answer.set)} to ${brief(answer.label, "wide")}` : "Set";
}

function tell(text, points) {
  told.textContent = text;
  const ids = points.map((one) => one.id);
  shown.classList.toggle("worded", points.some((one) => !one.picture));
  shown.replaceChildren(...points.map((one, i) => {
    const start = i - (i % SLOTS);
    const body = one.picture
      ? h("span", { class: "slot" }, h("img", { src: sheet(ids.slice(start, start + SLOTS)), class: `slot-${i - start}`, alt: "" }))
      : h("span", { class: "values" }, ...one.values.map(([name, value]) => h("span", { dir: "auto" }, h("i", {}, name), ` ${value}`)));
    return h("a", { class: "tile", href: `/item?at=${one.id}`, target: "_blank", title: one.label }, body, h("span", { class: "name" }, brief(one.label, "narrow")));
  }));
}

function open() {
  dialog.showModal();
  look();
}

if (dialog) {
  document.getElementById("together-open").addEventListener("click", open);
  for (const field of [count, to]) field.addEventListener("input", look);
  go.addEventListener("click", () => {
    push({
      do: "decide-all", query: Object.fromEntries(new URLSearchParams(query)), seq: Number(seq),
      ranges: [[0, Math.floor(Number(count.value))]], verdict: "mislabeled", label: to.value, spare: true,
    });
    toast(`${go.textContent}…`);
    dialog.close();
  });
  if (location.hash === "#together") open();
}
