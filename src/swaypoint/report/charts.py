"""Inline SVG charts: small, labelled, drawn from arrays; colours come from the page's style."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

_WIDTH, _HEIGHT = 560, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 24, 12, 40


@dataclass(frozen=True)
class Line:
    """One curve: name, css class, x and y."""

    name: str
    style: str
    x: np.ndarray
    y: np.ndarray


@dataclass(frozen=True)
class Axis:
    """A linear axis: label, range, ticks as (value, text)."""

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def place(self, values: np.ndarray, start: float, stop: float) -> np.ndarray:
        return start + (np.asarray(values, float) - self.low) / (self.high - self.low) * (stop - start)


def percent_axis(label: str, low: float, high: float) -> Axis:
    """From ``low`` to ``high`` or a little beyond, ticks at round numbers of per cent, four to eight."""
    span = max(high - low, 1e-4)
    steps = [base * 10.0**power for power in range(-5, 0) for base in (1, 2, 5)]
    step = next((step for step in steps if span / step <= 7), steps[-1])
    first, last = np.floor(low / step + 1e-9), np.ceil(high / step - 1e-9)
    values = step * np.arange(min(first, last - 1), last + 1)
    digits = max(0, -int(np.floor(np.log10(100 * step) + 1e-9)))
    return Axis(label, values[0], values[-1], [(value, f"{100 * value:.{digits}f} %") for value in values])


def lines(
    curves: Sequence[Line], x: Axis, y: Axis, *, mark: float | None = None, title: str, falling: bool = False
) -> str:
    """Curves over common axes, with a legend (on top if ``falling``) and a vertical mark at ``mark``."""
    parts = [_frame(x, y)]
    if mark is not None:
        at = x.place(np.array([mark]), _LEFT, _WIDTH - _RIGHT)[0]
        parts.append(f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP}" y2="{_HEIGHT - _BOTTOM}"/>')
    for position, curve in enumerate(curves):
        px = x.place(curve.x, _LEFT, _WIDTH - _RIGHT)
        py = y.place(curve.y, _HEIGHT - _BOTTOM, _TOP)
        points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(px, py, strict=True))
        parts.append(f'<polyline class="{curve.style}" points="{points}"/>')
        last = _TOP + 18 * len(curves) if falling else _HEIGHT - _BOTTOM - 60
        row = last - 18 * (len(curves) - 1 - position)
        right = _WIDTH - _RIGHT - 8
        parts.append(
            f'<line class="{curve.style}" x1="{right - 22}" x2="{right}" y1="{row - 4}" y2="{row - 4}"/>'
            f'<text class="legend" x="{right - 28}" y="{row}">{curve.name}</text>'
        )
    return _svg(parts, title)


def histogram(counts: np.ndarray, edges: np.ndarray, x: Axis, *, mark: float, title: str) -> str:
    """Bars, those beyond ``mark`` highlighted."""
    top = max(int(counts.max()), 1)
    y = Axis("points", 0, top * 1.05, [(0, "0"), (top / 2, f"{top / 2:,.0f}"), (top, f"{top:,}")])
    parts = [_frame(x, y)]
    left = x.place(edges, _LEFT, _WIDTH - _RIGHT)
    height = y.place(counts, _HEIGHT - _BOTTOM, _TOP)
    for i, count in enumerate(counts):
        if count:
            style = "bar hot" if edges[i] >= mark else "bar"
            width = max(left[i + 1] - left[i] - 1, 0.5)
            parts.append(
                f'<rect class="{style}" x="{left[i]:.1f}" y="{height[i]:.1f}" width="{width:.1f}"'
                f' height="{_HEIGHT - _BOTTOM - height[i]:.1f}"/>'
            )
    return _svg(parts, title)


@dataclass(frozen=True)
class Pair:
    """One row of :func:`intervals`: two (mean, low, high)."""

    name: str
    before: tuple[float, float, float]
    after: tuple[float, float, float]


def intervals(pairs: Sequence[Pair], x: Axis, names: tuple[str, str], *, title: str) -> str:
    """Two means with their intervals a row, the second below the first."""
    step, left = 30, 110
    bottom = _TOP + 20 + step * len(pairs)
    parts = []
    for value, text in x.ticks:
        at = float(x.place(np.array([value]), left, _WIDTH - _RIGHT)[0])
        parts.append(f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{_TOP + 20}" y2="{bottom}"/>')
        parts.append(f'<text class="tick x" x="{at:.1f}" y="{bottom + 16}">{text}</text>')
    for row, pair in enumerate(pairs):
        middle = _TOP + 20 + step * (row + 0.5)
        parts.append(f'<text class="tick y" x="{left - 8}" y="{middle + 4}">{escape(pair.name)}</text>')
        for (mean, low, high), style, y in (
            (pair.before, "loss", middle - 5),
            (pair.after, "cook", middle + 5),
        ):
            ends = x.place(np.array([low, high, mean]), left, _WIDTH - _RIGHT)
            parts.append(
                f'<line class="whisker {style}" x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}"/>'
                f'<circle class="dot {style}" cx="{ends[2]:.1f}" cy="{y}" r="3.5"/>'
            )
    for name, style, at in ((names[0], "loss", left), (names[1], "cook", left + 150)):
        parts.append(
            f'<circle class="dot {style}" cx="{at + 4}" cy="{_TOP}" r="3.5"/>'
            f'<text class="key" x="{at + 12}" y="{_TOP + 4}">{name}</text>'
        )
    middle = (left + _WIDTH - _RIGHT) / 2
    parts.append(f'<text class="axis x" x="{middle}" y="{bottom + 34}">{x.label}</text>')
    return _svg(parts, title, height=bottom + 40)


HUES = (
    *("#3b7dd8", "#e0813b", "#3f9d63", "#c94a53", "#8a63c4"),
    *("#9a6b52", "#d770ac", "#7a838c", "#b0a02f", "#35a8b8"),
)
"""Colours of the classes, as on the review page's map."""


@dataclass(frozen=True)
class Dots:
    """Points of :func:`scatter`: places, radii, and colours of filling and outline ("" for none)."""

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    fill: Sequence[str]
    stroke: Sequence[str]


@dataclass(frozen=True)
class Box:
    """A named rectangle in a :func:`scatter`, in the units of its axes."""

    name: str
    x: tuple[float, float]
    y: tuple[float, float]


def value_axis(label: str, low: float, high: float) -> Axis:
    """From a little below ``low`` to a little above ``high``, ticks at round numbers."""
    span = (high - low) or max(abs(low), 1.0)
    power = 10.0 ** np.floor(np.log10(span / 4))
    step = power * next(base for base in (1, 2, 5, 10) if base * power >= span / 6)
    values = step * np.arange(np.ceil(low / step - 1e-9), np.floor(high / step + 1e-9) + 1) + 0.0  # no -0
    return Axis(label, low - 0.04 * span, high + 0.04 * span, [(value, f"{value:.6g}") for value in values])


def scatter(
    dots: Dots,
    x: Axis,
    y: Axis,
    *,
    boxes: Sequence[Box] = (),
    curves: Sequence[Line] = (),
    names: Sequence[tuple[str, str]] = (),
    title: str,
) -> str:
    """Points over two axes, boxes around some, dashed curves among them, named at their ends; ``names`` are
    those of the colours, (name, colour) each."""
    label = [Axis(escape(a.label), a.low, a.high, [(v, escape(text)) for v, text in a.ticks]) for a in (x, y)]
    parts = [_frame(*label)]
    px, py = x.place(dots.x, _LEFT, _WIDTH - _RIGHT), y.place(dots.y, _HEIGHT - _BOTTOM, _TOP)
    for a, b, radius, fill, stroke in zip(px, py, dots.radius, dots.fill, dots.stroke, strict=True):
        outline = f' stroke="{stroke}" stroke-width="1.6"' if stroke else ""
        circle = (
            f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{radius:.1f}" fill="{fill}" fill-opacity="0.6"{outline}/>'
        )
        parts.append(circle)
    for curve in curves:
        cx, cy = x.place(curve.x, _LEFT, _WIDTH - _RIGHT), y.place(curve.y, _HEIGHT - _BOTTOM, _TOP)
        places = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(cx, cy, strict=True))
        style = 'fill="none" stroke="currentColor" stroke-opacity="0.6" stroke-dasharray="4 3"'
        parts.append(f'<polyline class="{curve.style}" points="{places}" {style}/>')
        end = f'x="{cx[-1] - 4:.1f}" y="{cy[-1] - 4:.1f}" style="text-anchor:end"'
        parts.append(f'<text class="key" {end}>{escape(curve.name)}</text>' if curve.name else "")
    for box in boxes:
        left, right = np.clip(x.place(np.array(box.x), _LEFT, _WIDTH - _RIGHT), _LEFT, _WIDTH - _RIGHT)
        low, high = np.clip(y.place(np.array(box.y), _HEIGHT - _BOTTOM, _TOP), _TOP, _HEIGHT - _BOTTOM)
        parts.append(
            f'<rect x="{left:.1f}" y="{high:.1f}" width="{max(right - left, 1):.1f}"'
            f' height="{max(low - high, 1):.1f}" fill="none" stroke="currentColor" stroke-dasharray="4 3"/>'
            f'<text class="key" x="{left + 4:.1f}" y="{high + 13:.1f}">{escape(box.name)}</text>'
        )
    for row, (name, colour) in enumerate(names):
        at = _HEIGHT + 14 + 18 * (row // 4)
        left = _LEFT + 128 * (row % 4)
        parts.append(f'<circle cx="{left}" cy="{at - 4}" r="5" fill="{colour}"/>')
        parts.append(f'<text class="key" x="{left + 10}" y="{at}">{escape(name[:18])}</text>')
    return _svg(parts, escape(title), height=_HEIGHT + 18 * -(-len(names) // 4) + (6 if names else 0))


def _svg(parts: Sequence[str], title: str, *, height: float = _HEIGHT) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{title}"><title>{title}</title>'
        f"{''.join(parts)}</svg>"
    )


def _frame(x: Axis, y: Axis) -> str:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for value, text in y.ticks:
        at = float(y.place(np.array([value]), bottom, _TOP)[0])
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text class="tick y" x="{_LEFT - 6}" y="{at + 4:.1f}">{text}</text>')
    for value, text in x.ticks:
        at = float(x.place(np.array([value]), _LEFT, right)[0])
        parts.append(f'<text class="tick x" x="{at:.1f}" y="{bottom + 16}">{text}</text>')
    parts.append(f'<text class="axis x" x="{(_LEFT + right) / 2}" y="{_HEIGHT - 6}">{x.label}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text class="axis y" x="12" y="{middle}" transform="rotate(-90 12 {middle})">{y.label}</text>'
    )
    return "".join(parts)
