// A picture by itself: larger by click, wheel, pinch or key, moved by dragging, brighter, with more contrast.

import { h, smooth } from "./page.js";

const MOST = 16;
const LIGHT = "swaypoint-light";
const box = document.getElementById("zoom");
const stage = box.querySelector(".stage");
const told = box.querySelector("output");
const sliders = [...box.querySelectorAll("input[type=range]")];
const fingers = new Map();
let image = null;
let at = { x: 0, y: 0, scale: 1 };
let dragged = false;
let opener = null;

/** Show the picture at `src`; the focus goes to the viewer when it opens. */
export function view(src, text) {
  image = smooth(h("img", { src, alt: text, draggable: "false" }));
  stage.replaceChildren(image);
  box.querySelector(".zoomed").textContent = text;
  reset();
  if (!box.hidden) return;
  opener = document.activeElement;
  box.hidden = false;
  box.querySelector("[data-lens=close]").focus({ preventScroll: true });
}

export function close() {
  box.hidden = true;
  fingers.clear();
  if (opener?.isConnected) opener.focus({ preventScroll: true });
}

export const viewing = () => !box.hidden;

function place() {
  const [width, height] = [image.clientWidth, image.clientHeight].map((side) => (side * (at.scale - 1)) / 2);
  at.x = Math.max(-width, Math.min(width, at.x));
  at.y = Math.max(-height, Math.min(height, at.y));
  image.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.scale})`;
  told.textContent = `${Math.round(100 * at.scale)} %`;
}

function reset() {
  at = { x: 0, y: 0, scale: 1 };
  place();
}

/** Larger by `factor`, while what is at (x, y) of the window stays there. */
function scaleBy(factor, x, y) {
  const middle = stage.getBoundingClientRect();
  const scale = Math.max(1, Math.min(MOST, at.scale * factor));
  const [px, py] = x === undefined ? [0, 0] : [x - middle.left - middle.width / 2, y - middle.top - middle.height / 2];
  at.x = px - ((px - at.x) * scale) / at.scale;
  at.y = py - ((py - at.y) * scale) / at.scale;
  at.scale = scale;
  place();
}

function moveBy(dx, dy) {
  at.x += dx;
  at.y += dy;
  place();
}

stage.addEventListener("wheel", (event) => {
  event.preventDefault();
  scaleBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX, event.clientY);
}, { passive: false });
stage.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  if (!fingers.size) dragged = false;
  fingers.set(event.pointerId, [event.clientX, event.clientY]);
  stage.setPointerCapture(event.pointerId);
});
stage.addEventListener("pointermove", (event) => {
  const last = fingers.get(event.pointerId);
  if (!last) return;
  const now = [event.clientX, event.clientY];
  const other = [...fingers].find(([id]) => id !== event.pointerId)?.[1];
  if (other) {
    const apart = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
    scaleBy(apart(now) / apart(last), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
    dragged = true;
  } else if (dragged || Math.hypot(now[0] - last[0], now[1] - last[1]) > 3) {
    dragged = true;
    moveBy(now[0] - last[0], now[1] - last[1]);
  } else return; // a hand that shakes: from where it was first
  fingers.set(event.pointerId, now);
});
for (const name of ["pointerup", "pointercancel"])
  stage.addEventListener(name, (event) => {
    const single = fingers.delete(event.pointerId) && !fingers.size;
    if (!single || dragged || name === "pointercancel") return;
    const { left, right, top, bottom } = image.getBoundingClientRect();
    const inside = event.clientX >= left && event.clientX <= right && event.clientY >= top && event.clientY <= bottom;
    if (!inside) close();
    else if (at.scale >= 8) reset();
    else scaleBy(2, event.clientX, event.clientY);
  });

const KEYS = { "+": () => scaleBy(1.5), "=": () => scaleBy(1.5), "-": () => scaleBy(1 / 1.5), 0: reset };
const ARROWS = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
document.addEventListener("keydown", (event) => {
  if (box.hidden || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const arrow = event.shiftKey && event.target.type !== "range" && ARROWS[event.key];
  const key = document.documentElement.dataset.keys !== "off" && KEYS[event.key];
  if (arrow) moveBy(60 * arrow[0], 60 * arrow[1]);
  else if (key) key();
  else return;
  event.preventDefault();
  event.stopPropagation();
}, true);

// -- brightness and contrast, of the large picture as well --------------------------------------------

function light() {
  for (const { id, value } of sliders) document.documentElement.style.setProperty(`--${id}`, String(value / 100));
  const changed = sliders.some(({ value }) => Number(value) !== 100);
  document.documentElement.toggleAttribute("data-adjusted", changed);
  sessionStorage.setItem(LIGHT, JSON.stringify(sliders.map(({ value }) => value)));
}

JSON.parse(sessionStorage.getItem(LIGHT) ?? "[]").forEach((value, i) => (sliders[i].value = value));
for (const slider of sliders) slider.addEventListener("input", light);
light();
const LENS = {
  in: () => scaleBy(1.5),
  out: () => scaleBy(1 / 1.5),
  reset: () => {
    for (const slider of sliders) slider.value = 100;
    light();
    reset();
  },
  close,
};
box.addEventListener("click", (event) => LENS[event.target.closest("[data-lens]")?.dataset.lens]?.());
