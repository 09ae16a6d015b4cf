"""A regression's points as statistics books plot them: studentised residual against leverage, with contours
of Cook's distance."""

from __future__ import annotations

import numpy as np

from swaypoint.folder.manifest import Manifest
from swaypoint.report import charts
from swaypoint.scoring.kinds import OUTLIER, SPARSE, SUSPECT

_LINEAR = ("squared_error", "huber")
_SHOWN = 1500
_SUSPECT, _PLAIN = "#c94a53", "#7a838c"
_LEVELS = (0.1, 0.5, 1.0, 5.0)
"""Of Cook's distance; 0.5 and 1 are those of Cook & Weisberg (1982)."""
_MOST = 3
"""Contours, of those that reach into the plot."""


def plot(manifest: Manifest, scores: dict[str, np.ndarray]) -> str:
    """SVG; "" of an audit without studentised residuals.

    The largest by Cook's distance are all drawn, of the others evenly many.

    Args:
        scores: the columns of the audit's scores, (n,) each.
    """
    if "studentised" not in scores or manifest.model.regression is None:
        return ""
    known = np.flatnonzero(np.isfinite(scores["studentised"]))
    if not len(known):
        return ""
    order = known[np.argsort(-scores["cook"][known], kind="stable")]
    rest = order[_SHOWN // 2 :]
    shown = np.r_[order[: _SHOWN // 2], rest[:: max(1, -(-len(rest) // (_SHOWN // 2)))]]
    leverage, studentised = scores["leverage"][shown], scores["studentised"][shown]
    far = max(float(np.abs(studentised).max()), OUTLIER)
    x = charts.value_axis("leverage", 0.0, max(float(leverage.max()), 1e-9))
    y = charts.value_axis("studentised residual", -far, far)
    doubt = np.isin(scores["kind"][shown].astype(str), list(SUSPECT))
    dots = charts.Dots(
        leverage,
        studentised,
        np.full(len(shown), 2.6),
        [_SUSPECT if wrong else _PLAIN for wrong in doubt],
        [""] * len(shown),
    )
    lines = [
        charts.Line("", "contour", np.array([x.low, x.high]), np.full(2, sign * OUTLIER))
        for sign in (1.0, -1.0)
    ]
    mean = manifest.mean_leverage(scores["leverage"], scores["split"])
    if SPARSE * mean < x.high:
        lines.append(charts.Line("", "contour", np.full(2, SPARSE * mean), np.array([y.low, y.high])))
    if manifest.model.loss in _LINEAR:
        lines += _contours(len(scores["cook"]), manifest.model.regression.parameters, x, y)
    title = "Studentised residual against leverage"
    return charts.scatter(dots, x, y, curves=lines, title=title)


def contour(level: float, leverage: np.ndarray, points: int, parameters: int) -> np.ndarray:
    """The externally studentised residual at which Cook's distance is ``level``, of each leverage; NaN where
    none is large enough.

    With the internal one r, D = r^2 h / (p (1 - h)) and t^2 = r^2 (n - p - 1) / (n - p - r^2) (Cook &
    Weisberg, 1982, 2.2).
    """
    free = points - parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        internal = level * parameters * (1.0 - leverage) / leverage
        square = np.where(internal < free, internal * (free - 1) / (free - internal), np.nan)
    return np.sqrt(square)


def _contours(points: int, parameters: int, x: charts.Axis, y: charts.Axis) -> list[charts.Line]:
    leverage = np.linspace(max(x.high, 1e-9) / 400, min(x.high, 1.0 - 1e-9), 400)
    found: list[charts.Line] = []
    for level in _LEVELS:
        height = contour(level, leverage, points, parameters)
        inside = height < y.high  # False for NaN
        if inside.sum() > 1 and len(found) < 2 * _MOST:
            for sign, name in ((1.0, f"D = {level:g}"), (-1.0, "")):
                found.append(charts.Line(name, "contour cook", leverage[inside], sign * height[inside]))
    return found
