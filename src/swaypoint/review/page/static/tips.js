// Words that explain themselves, when pointed at, focused, or tapped. The sentence is in the page for screen
// readers (aria-describedby); this shows it to eyes.

import { h } from "./page.js";

const REST = 120; // ms before a pointer that passes by is taken to mean it
const tip = document.body.appendChild(h("div", { class: "tip-box", "aria-hidden": "true", hidden: true }));
let owner = null;
let timer = 0;

function show(term) {
  clearTimeout(timer);
  owner = term;
  tip.textContent = document.getElementById(term.getAttribute("aria-describedby"))?.textContent ?? "";
  tip.hidden = false;
  const { left, top, bottom } = term.getBoundingClientRect();
  const below = bottom + 6 + tip.offsetHeight < innerHeight;
  tip.style.left = `${Math.max(8, Math.min(left, innerWidth - tip.offsetWidth - 8))}px`;
  tip.style.top = `${below ? bottom + 6 : Math.max(8, top - 6 - tip.offsetHeight)}px`;
}

export function hide() {
  clearTimeout(timer);
  owner = null;
  tip.hidden = true;
}

const termOf = (event) => event.target.closest?.(".term");
document.addEventListener("pointerover", (event) => {
  if (event.pointerType === "touch") return;
  const term = termOf(event);
  clearTimeout(timer);
  if (term) timer = setTimeout(() => show(term), REST);
  else if (owner && event.target !== tip && owner !== document.activeElement) timer = setTimeout(hide, REST);
});
document.addEventListener("focusin", (event) => {
  const term = termOf(event);
  if (term?.matches(":focus-visible")) show(term);
  else if (owner && !term) hide();
});
document.addEventListener("focusout", (event) => termOf(event) && hide());
document.addEventListener("click", (event) => {
  const term = termOf(event);
  if (term && (owner !== term || tip.hidden)) show(term);
  else if (term && event.detail === 0) hide(); // by key: it was shown by the focus
  else if (!term && event.target !== tip) hide();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || tip.hidden) return;
  hide();
  event.stopPropagation();
}, true);
addEventListener("scroll", () => owner && hide(), { passive: true, capture: true });
