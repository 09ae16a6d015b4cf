// Type-ahead over the classes: a combobox in a dialog.

import { classes, h } from "./page.js";

const SHOWN = 60;
const dialog = document.getElementById("palette");
const field = document.getElementById("palette-text");
const list = document.getElementById("palette-list");
let options = [];
let shown = [];
let chosen = 0;
let answer = () => {};

/** Ask for the right class. `first` are {label, note, value?} to put before the others.
 *  Resolves to a value: a class's name, null (wrong, the right one is not known), or undefined (left). */
export function ask(first = [], given = null) {
  const named = new Set(first.map((option) => option.label));
  options = [
    { label: "not known", note: "wrong, but the right one is not clear", value: null },
    ...first,
    ...classes.filter((label) => !named.has(label) && label !== given).map((label) => ({ label })),
  ];
  field.value = "";
  filter();
  dialog.showModal();
  field.focus();
  return new Promise((resolve) => (answer = resolve));
}

function rank(option, text) {
  const label = option.label.toLowerCase();
  if (option.value === null && "not known".includes(text)) return 8; // behind the classes
  if (label === text) return 0;
  if (label.startsWith(text)) return 1;
  if (label.split(/[\s_\-/]+/).some((word) => word.startsWith(text))) return 2;
  return label.includes(text) ? 3 : 9;
}

function filter() {
  const text = field.value.trim().toLowerCase();
  shown = text
    ? options.map((option, i) => [rank(option, text), i, option]).filter(([r]) => r < 9).sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , option]) => option)
    : options;
  if (!classes.length && text && Number.isFinite(Number(text))) shown = [{ label: text, note: "as the right value" }];
  shown = shown.slice(0, SHOWN);
  chosen = 0;
  draw();
}

function draw() {
  list.replaceChildren(
    ...shown.map((option, i) =>
      h("li", { role: "option", id: `option-${i}`, "aria-selected": String(i === chosen), class: option.value === null ? "unknown" : "" },
        h("span", {}, option.label), option.note ? h("small", {}, option.note) : null)),
  );
  if (!shown.length) list.append(h("li", { class: "none" }, "no class has that in its name"));
  field.setAttribute("aria-activedescendant", shown.length ? `option-${chosen}` : "");
  list.children[chosen]?.scrollIntoView({ block: "nearest" });
}

function finish(value) {
  const tell = answer;
  answer = () => {};
  dialog.close();
  tell(value);
}

const take = (option) => option && finish("value" in option ? option.value : option.label);

field.addEventListener("input", filter);
field.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    chosen = (chosen + (event.key === "ArrowDown" ? 1 : shown.length - 1)) % Math.max(1, shown.length);
    draw();
  } else if (event.key === "Enter") take(shown[chosen]);
  else return;
  event.preventDefault();
});
list.addEventListener("click", (event) => {
  const option = event.target.closest("[role=option]");
  if (option) take(shown[[...list.children].indexOf(option)]);
});
dialog.addEventListener("close", () => finish(undefined));
dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
