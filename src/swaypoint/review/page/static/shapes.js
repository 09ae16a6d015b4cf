// Seven shapes for ten colours: seventy kinds of points, so that who sees no colours can tell them too.

export const COLOURS = 10;

const corners = (n, turn) => Array.from({ length: n }, (_, i) => [Math.sin(turn + (2 * Math.PI * i) / n), -Math.cos(turn + (2 * Math.PI * i) / n)]);
const T = 0.36; // half the width of a plus' beams
const PLUS = [[-T, -1], [T, -1], [T, -T], [1, -T], [1, T], [T, T], [T, 1], [-T, 1], [-T, T], [-1, T], [-1, -T], [-T, -T]];
const turned = PLUS.map(([x, y]) => [(x - y) * Math.SQRT1_2, (x + y) * Math.SQRT1_2]);
// Corners in units of the radius, scaled to areas that look alike; null is a disc.
const SHAPES = [null, [corners(4, Math.PI / 4), 1.2], [corners(3, 0), 1.4], [corners(4, 0), 1.3], [corners(3, Math.PI), 1.4], [PLUS, 1.2], [turned, 1.2]];

/** Add the shape of group `i` with its centre at (x, y) to the path. */
export function trace(context, i, x, y, radius) {
  const shape = SHAPES[i % SHAPES.length];
  if (!shape) {
    context.moveTo(x + radius, y);
    context.arc(x, y, radius, 0, 7);
    return;
  }
  const r = radius * shape[1];
  shape[0].forEach(([dx, dy], k) => context[k ? "lineTo" : "moveTo"](x + r * dx, y + r * dy));
  context.closePath();
}

/** A canvas of `size` CSS pixels that shows group `i` in its colour. */
export function swatch(i, colour, size = 14) {
  const canvas = document.createElement("canvas");
  const ratio = devicePixelRatio || 1;
  canvas.width = canvas.height = size * ratio;
  canvas.className = "swatch";
  canvas.setAttribute("aria-hidden", "true"); // the name beside it says which it is
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  context.beginPath();
  trace(context, i, canvas.width / 2, canvas.height / 2, canvas.width / 3);
  context.fill();
  return canvas;
}
