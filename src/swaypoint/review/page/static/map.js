// The map: every point on a canvas; a lasso becomes a filter in the address. A cut is the same along two
// columns of a table, with axes, and dots by influence.

import "./saving.js";
import { brief, h, picture, toast } from "./page.js";
import { listen } from "./keys.js";
import { COLOURS, swatch, trace } from "./shapes.js";
import "./palette.js";

const main = document.getElementById("main");
const canvas = document.getElementById("canvas");
const tip = document.getElementById("tip");
const legend = document.getElementById("legend");
const { labels, verdicts, axes } = JSON.parse(document.getElementById("legend-data").textContent);
const { query, seq } = main.dataset;
const CORNERS = 80;
const SHAPED = 10000;
const LEGIBLE = 5; // pixels from which on a shape can be told
const VERDICT = { mislabeled: "--hot", correct: "--ok", "under-represented": "--accent", boundary: "--warn", bad: "--bad", skip: "--soft" };

let points = null; // {n, xy, label, rank, verdict, shown, strength of a cut}
let view = { x: 0, y: 0, scale: 1 };
let lasso = [];
let cross = null;
let drag = null;

async function load() {
  const response = await fetch(`/map.bin?${query ? `${query}&` : ""}seq=${seq}`).catch(() => null);
  if (!response?.ok) return toast("The map cannot be loaded: no connection.");
  const buffer = await response.arrayBuffer();
  const n = Number(main.dataset.points);
  const xy = new Float32Array(buffer, 0, 2 * n);
  const bytes = new Uint8Array(buffer);
  // Copied: after n uint16 the uint32 need not be aligned.
  const rank = new Uint32Array(buffer.slice(10 * n, 14 * n));
  points = { n, xy, label: new Uint16Array(buffer, 8 * n, n), rank, verdict: bytes.subarray(14 * n, 15 * n), shown: bytes.subarray(15 * n, 16 * n), strength: axes && bytes.subarray(16 * n) };
  draw();
}

// -- colours ----------------------------------------------------------------------------------------

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const mode = () => document.querySelector("[name=colour]:checked").value;
const hue = (i) => css(`--c${i % COLOURS}`);
const STEPS = 12;

/** Group of each point and the groups' colours, the last drawn on top. */
function groups() {
  if (mode() === "verdict") {
    const colours = [css("--bar"), ...verdicts.map((name) => css(VERDICT[name]))];
    return { of: (i) => points.verdict[i], colours, names: ["none", ...verdicts] };
  }
  if (mode() === "score") {
    const scale = Math.log(points.n + 1);
    const colours = Array.from({ length: STEPS }, (_, i) => mixed(i / (STEPS - 1)));
    // By the logarithm of the rank: the top of the ranking is what one looks for.
    return { of: (i) => Math.min(STEPS - 1, Math.floor(STEPS * (1 - Math.log(points.rank[i]) / scale))), colours, names: null, plain: true };
  }
  return { of: (i) => points.label[i], colours: labels.length ? labels.map((_, i) => hue(i)) : [css("--accent")], names: labels };
}

function mixed(t) {
  return `color-mix(in oklch, ${css("--bar")} ${Math.round(100 - 100 * t)}%, ${css("--hot")})`;
}

// -- drawing ----------------------------------------------------------------------------------------

function size() {
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  draw();
}

const unit = () => (Math.min(canvas.width, canvas.height) / 2.5) * view.scale;
const toScreen = (x, y) => [canvas.width / 2 + (x - view.x) * unit(), canvas.height / 2 - (y - view.y) * unit()];
const toMap = (px, py) => [(px - canvas.width / 2) / unit() + view.x, -(py - canvas.height / 2) / unit() + view.y];
const pixel = (event) => {
  const box = canvas.getBoundingClientRect();
  return [((event.clientX - box.left) * canvas.width) / box.width, ((event.clientY - box.top) * canvas.height) / box.height];
};

let waiting = 0;
function draw() {
  waiting ||= requestAnimationFrame(() => {
    waiting = 0;
    paint();
  });
}

function paint() {
  if (!points) return;
  const start = performance.now();
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, canvas.width, canvas.height);
  const { of, colours, plain } = groups();
  const ratio = devicePixelRatio || 1;
  const side = Math.max(1.5, Math.min(7, 260 / Math.sqrt(points.n)) * Math.sqrt(view.scale)) * ratio;
  const order = grouped(of, colours.length);
  const u = unit();
  const [cx, cy] = [canvas.width / 2 - view.x * u - side / 2, canvas.height / 2 + view.y * u - side / 2];
  const wide = (i) => (points.strength ? side * (0.7 + (2.6 * points.strength[i]) / 255) : side);
  const square = (i) => {
    const more = (wide(i) - side) / 2;
    context.fillRect(cx + points.xy[2 * i] * u - more, cy - points.xy[2 * i + 1] * u - more, wide(i), wide(i));
  };
  const shape = (i, group) => {
    const [x, y] = [cx + points.xy[2 * i] * u + side / 2, cy - points.xy[2 * i + 1] * u + side / 2];
    const inSight = x > -side && y > -side && x < canvas.width + side && y < canvas.height + side;
    if (inSight) trace(context, plain ? 0 : group, x, y, wide(i) / 2);
  };
  // Squares are ten times as fast.
  const put = points.n > SHAPED && side < LEGIBLE * ratio ? square : shape;
  paintAxes(context, ratio);
  context.fillStyle = css("--line");
  context.beginPath();
  for (let i = 0; i < points.n; i++) if (!points.shown[i]) put(i, 0);
  context.fill();
  context.globalAlpha = points.n > 20000 ? 0.75 : 0.9;
  order.forEach((members, group) => {
    context.fillStyle = colours[group];
    context.beginPath();
    for (const i of members) put(i, group);
    context.fill();
  });
  context.globalAlpha = 1;
  paintLasso(context, ratio);
  canvas.dataset.painted = Math.round(performance.now() - start);
}

let sorted = null; // of the last mode: regrouping a hundred thousand points takes longer than drawing them
function grouped(of, k) {
  if (sorted?.mode === mode()) return sorted.members;
  const members = Array.from({ length: k }, () => []);
  for (let i = 0; i < points.n; i++) if (points.shown[i]) members[of(i)].push(i);
  sorted = { mode: mode(), members };
  return members;
}

// -- a cut's axes -----------------------------------------------------------------------------------

const valueAt = (axis, place) => axis.low + ((place + 1) / 2) * (axis.high - axis.low);
const placeOf = (axis, value) => (2 * (value - axis.low)) / (axis.high - axis.low) - 1;
const said = (axis, value) => (axis.names.length ? axis.names[Math.round(value)] ?? "" : String(Number(value.toPrecision(4))));

/** Round values in sight, five or so; of categories each. */
function ticks(axis, from, to) {
  const [low, high] = [valueAt(axis, from), valueAt(axis, to)];
  const power = 10 ** Math.floor(Math.log10((high - low) / 5));
  const step = axis.names.length ? 1 : power * [1, 2, 5, 10].find((base) => (high - low) / (base * power) <= 7);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high && found.length < 60; k++) found.push(k * step);
  return found;
}

function paintAxes(context, ratio) {
  if (!axes) return;
  const [left, bottom] = toMap(0, canvas.height);
  const [right, top] = toMap(canvas.width, 0);
  context.font = `${12 * ratio}px system-ui, sans-serif`;
  context.strokeStyle = css("--line");
  context.lineWidth = ratio;
  const line = (...ends) => {
    context.beginPath();
    context.moveTo(ends[0], ends[1]);
    context.lineTo(ends[2], ends[3]);
    context.stroke();
  };
  context.fillStyle = css("--soft");
  context.textAlign = "center";
  for (const value of ticks(axes[0], left, right)) {
    const [x] = toScreen(placeOf(axes[0], value), 0);
    line(x, 0, x, canvas.height);
    context.fillText(said(axes[0], value), x, canvas.height - 6 * ratio);
  }
  context.fillText(axes[0].name, canvas.width / 2, canvas.height - 22 * ratio);
  context.textAlign = "left";
  for (const value of ticks(axes[1], bottom, top)) {
    const [, y] = toScreen(0, placeOf(axes[1], value));
    line(0, y, canvas.width, y);
    const apart = y > 36 * ratio && y < canvas.height - 36 * ratio; // from the column's name, and the other axis
    if (apart) context.fillText(said(axes[1], value), 6 * ratio, y - 4 * ratio);
  }
  context.fillText(axes[1].name, 6 * ratio, 16 * ratio);
}

function paintLasso(context, ratio) {
  context.strokeStyle = css("--ink");
  context.lineWidth = 1.5 * ratio;
  if (lasso.length) {
    context.beginPath();
    lasso.forEach(([x, y], i) => context[i ? "lineTo" : "moveTo"](...toScreen(x, y)));
    if (!drag && !cross) context.closePath();
    context.stroke();
  }
  if (cross) {
    const [x, y] = toScreen(...cross);
    context.beginPath();
    context.moveTo(x - 9 * ratio, y);
    context.lineTo(x + 9 * ratio, y);
    context.moveTo(x, y - 9 * ratio);
    context.lineTo(x, y + 9 * ratio);
    context.stroke();
  }
}

function tell() {
  const { colours, names, of } = groups();
  if (!names) {
    legend.replaceChildren(h("li", {}, "most influential"), ...colours.toReversed().map(ramp), h("li", {}, "least"));
    legend.className = "ramp";
    return;
  }
  const counts = new Array(colours.length).fill(0);
  if (points) for (let i = 0; i < points.n; i++) if (points.shown[i]) counts[of(i)]++;
  const shown = names.map((name, i) => [name, i]).filter(([, i]) => counts[i] || names.length < 13).slice(0, 40);
  legend.className = "";
  legend.replaceChildren(...shown.map(([name, i]) => h("li", {}, swatch(i, colours[i]), h("span", { class: "name", title: name }, brief(name, "wide")), h("span", { class: "n" }, counts[i].toLocaleString("en")))));
}

function ramp(colour) {
  const box = h("li", { class: "swatch", "aria-hidden": "true" });
  box.style.background = colour;
  return box;
}

// -- the lasso --------------------------------------------------------------------------------------

function finish() {
  if (lasso.length < 3) {
    lasso = [];
    return draw();
  }
  const step = Math.ceil(lasso.length / CORNERS);
  const corners = lasso.filter((_, i) => i % step === 0).map(([x, y]) => `${Number(x.toPrecision(4))},${Number(y.toPrecision(4))}`);
  const values = new URLSearchParams(query);
  values.set("lasso", corners.join(";"));
  location.assign(`/map?${values}`);
}

function nearest(px, py) {
  let best = -1;
  let least = (14 * (devicePixelRatio || 1)) ** 2;
  for (let i = 0; points && i < points.n; i++) {
    if (!points.shown[i]) continue;
    const [x, y] = toScreen(points.xy[2 * i], points.xy[2 * i + 1]);
    const d = (x - px) ** 2 + (y - py) ** 2;
    if (d < least) [best, least] = [i, d];
  }
  return best;
}

async function idOf(i) {
  const response = await fetch(`/point.json?position=${i}`).catch(() => null);
  return response?.ok ? response.json() : null;
}

let over = -1;
async function hover(event) {
  const [px, py] = pixel(event);
  const i = nearest(px, py);
  if (i === over) return;
  over = i;
  tip.hidden = true;
  if (i < 0) return;
  const found = await idOf(i);
  if (!found || over !== i) return;
  const at = axes?.map((axis, k) => `${axis.name} ${said(axis, valueAt(axis, points.xy[2 * i + k]))}`).join(", ");
  tip.replaceChildren(found.picture ? h("img", { src: picture(found.id), alt: "" }) : null ?? "", h("span", {}, `#${found.rank} labelled ${found.label}${at ? `: ${at}` : ""}`));
  const [x, y] = toScreen(points.xy[2 * i], points.xy[2 * i + 1]).map((value) => value / (devicePixelRatio || 1));
  tip.hidden = false; // only then it has a width
  tip.style.transform = `translate(${Math.max(0, Math.min(x + 12, canvas.clientWidth - tip.offsetWidth))}px, ${Math.max(0, y - 40)}px)`;
}

/** Larger by `factor`, while what is at (px, py) stays there. */
function zoom(factor, px, py) {
  const [x, y] = toMap(px, py);
  view.scale = Math.max(0.3, Math.min(60, view.scale * factor));
  const [nx, ny] = toMap(px, py);
  view.x += x - nx;
  view.y += y - ny;
  draw();
}

/** Two fingers: what is between them stays between them. */
function pinch(event) {
  const [last, now] = [fingers.get(event.pointerId), pixel(event)];
  const other = [...fingers].find(([id]) => id !== event.pointerId)[1];
  const apart = (point) => Math.max(1, Math.hypot(point[0] - other[0], point[1] - other[1]));
  view.x -= (now[0] - last[0]) / 2 / unit();
  view.y += (now[1] - last[1]) / 2 / unit();
  zoom(apart(now) / apart(last), (now[0] + other[0]) / 2, (now[1] + other[1]) / 2);
  fingers.set(event.pointerId, now);
}

const fingers = new Map();
let resting = 0;
canvas.addEventListener("pointerdown", (event) => {
  if (event.button !== 0) return;
  canvas.setPointerCapture(event.pointerId);
  fingers.set(event.pointerId, pixel(event));
  if (fingers.size > 1) {
    [lasso, drag, cross] = [[], null, null];
    return draw();
  }
  const at = pixel(event);
  drag = { from: at, moved: false, pan: event.shiftKey };
  cross = null;
  lasso = event.shiftKey ? [] : [toMap(...at)];
});
canvas.addEventListener("pointermove", (event) => {
  if (fingers.size > 1 && fingers.has(event.pointerId)) return pinch(event);
  if (!drag) {
    clearTimeout(resting);
    resting = setTimeout(() => hover(event), 60);
    return;
  }
  const [px, py] = pixel(event);
  drag.moved ||= Math.hypot(px - drag.from[0], py - drag.from[1]) > 5;
  if (drag.pan) {
    view.x -= (px - drag.from[0]) / unit();
    view.y += (py - drag.from[1]) / unit();
    drag.from = [px, py];
  } else lasso.push(toMap(px, py));
  draw();
});
canvas.addEventListener("pointercancel", (event) => {
  fingers.delete(event.pointerId);
  [lasso, drag] = [[], null];
  draw();
});
canvas.addEventListener("pointerup", async (event) => {
  fingers.delete(event.pointerId);
  if (!drag) return; // after two fingers
  const { moved, pan } = drag;
  drag = null;
  if (pan) return;
  if (moved) return finish();
  lasso = [];
  draw();
  const i = nearest(...pixel(event));
  const found = i < 0 ? null : await idOf(i);
  if (found) location.assign(`/item?at=${found.id}${query ? `&${query}` : ""}`);
});
canvas.addEventListener("pointerleave", () => {
  over = -1;
  tip.hidden = true;
});
canvas.addEventListener("wheel", (event) => {
  event.preventDefault();
  zoom(Math.exp(-event.deltaY * 0.0015), ...pixel(event));
}, { passive: false });
canvas.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
  if (step) {
    const by = (event.shiftKey ? 0.2 : 0.04) / view.scale;
    cross = cross ? [cross[0] + step[0] * by, cross[1] + step[1] * by] : [view.x, view.y];
  } else if (event.key === "Enter" && cross) lasso.push([...cross]);
  else if (event.key === "c" && cross) finish();
  else if (event.key === "Escape") [lasso, cross] = [[], null];
  else if (event.key === "0") view = { x: 0, y: 0, scale: 1 };
  else return;
  event.preventDefault();
  event.stopPropagation();
  draw();
});
for (const button of document.querySelectorAll("[name=colour]"))
  button.addEventListener("change", () => {
    sessionStorage.setItem("swaypoint-colour", mode());
    draw();
    tell();
  });
const kept = document.querySelector(`[name=colour][value="${sessionStorage.getItem("swaypoint-colour") ?? "label"}"]`);
if (kept) kept.checked = true;
for (const field of document.querySelectorAll(".axes [form]"))
  field.addEventListener("change", () => {
    const drawn = field.form.elements.lasso;
    if (drawn && field.name !== "within") drawn.value = ""; // it means places along the axes before
    field.form.requestSubmit();
  });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
new ResizeObserver(size).observe(canvas);
listen({});
const drawn = new URLSearchParams(query).get("lasso");
if (drawn) lasso = drawn.split(";").map((corner) => corner.split(",").map(Number));
await load();
tell();
