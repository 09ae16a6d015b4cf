"""A cut as the table and the model decide, dots as large as the influence: Picard et al. (2022), Fig. 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import require
from swaypoint.folder.writing import replace_file
from swaypoint.studies.acas.scoring import Cut
from swaypoint.studies.acas.tables import EXTRA, Table

COLOURS = ("#e9e7e1", "#9ecae1", "#fdbe85", "#2171b5", "#d94801")
"""COC grey, left blue, right orange, the strong turns dark."""
_LARGEST, _SEEN = 90.0, 2e-3


def draw_cuts(table: Table, cuts: Sequence[Cut], path: Path) -> None:
    """One row a cut: table and model in the plane around the own ship, and on the grid. PNG."""
    require("matplotlib", EXTRA)
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(15, 4.3 * len(cuts) + 0.9), layout="constrained")
    for row, cut in enumerate(cuts):
        for column, (who, decisions) in enumerate((("table", cut.decided), ("model", cut.predicted))):
            polar = figure.add_subplot(len(cuts), 4, 4 * row + column + 1, projection="polar")
            _polar(polar, table, cut, decisions)
            polar.set_title(f"{who}, around the own ship", fontsize=10)
            flat = figure.add_subplot(len(cuts), 4, 4 * row + column + 3)
            _grid(flat, table, cut, decisions)
            flat.set_title(f"{who}, on the grid", fontsize=10)
            if column == 0:
                polar.text(-0.16, 0.5, _describe(cut), transform=polar.transAxes, rotation=90, va="center",
                           ha="center", fontsize=10)  # fmt: skip
    patches = [
        Patch(facecolor=colour, edgecolor="#888", label=name)
        for colour, name in zip(COLOURS, table.actions, strict=False)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    figure.suptitle("Cuts with the most influence; the area of a dot is the point's Cook's distance")
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=110))


def _describe(cut: Cut) -> str:
    state = cut.state
    return (
        f"τ = {state['tau']:g} s, ψ = {np.degrees(state['psi']):.0f}°\n"
        f"v own {state['v_own']:g}, intruder {state['v_int']:g} ft/s"
    )


def _polar(axes: Any, table: Table, cut: Cut, decisions: np.ndarray) -> None:
    theta, rho = (axis.values for axis in table.axes[-2:])
    rings = _radius(_edges(rho))
    axes.pcolormesh(_edges(theta, clamp=False), rings, decisions.T, cmap=_colours(), vmin=-0.5, vmax=4.5)
    across, along = np.meshgrid(theta, _radius(rho), indexing="ij")
    axes.scatter(across, along, s=_sizes(cut), **_DOTS)
    marks = [mark for mark in (500, 3000, 15000) if mark <= rho[-1]]
    axes.set_yticks(_radius(np.array(marks)), [f"{mark:,} ft" for mark in marks], fontsize=6)
    axes.set_xticks(np.radians([0, 90, 180, 270]), ["ahead", "left", "behind", "right"], fontsize=7)
    axes.set_theta_zero_location("N")
    axes.set_ylim(0, rings[-1])
    axes.grid(alpha=0.25)


def _grid(axes: Any, table: Table, cut: Cut, decisions: np.ndarray) -> None:
    theta, rho = (axis.values for axis in table.axes[-2:])
    steps = np.arange(len(rho))
    axes.pcolormesh(
        np.degrees(_edges(theta, clamp=False)), _edges(steps, clamp=False), decisions.T,
        cmap=_colours(), vmin=-0.5, vmax=4.5,
    )  # fmt: skip
    across, along = np.meshgrid(np.degrees(theta), steps, indexing="ij")
    axes.scatter(across, along, s=_sizes(cut), **_DOTS)
    marks = steps[:: max(1, len(steps) // 8)]
    axes.set_yticks(marks, [f"{rho[mark]:,.0f}" for mark in marks], fontsize=7)
    axes.set_xticks([-180, -90, 0, 90, 180])
    axes.set_xlabel("θ [°], left positive", fontsize=8)
    axes.set_ylabel("ρ [ft], one step a grid point", fontsize=8)


_DOTS = {"facecolor": "#00000055", "edgecolor": "black", "linewidth": 0.4}


def _sizes(cut: Cut) -> np.ndarray:
    cook = np.nan_to_num(cut.cook)
    share = cook / max(cook.max(), np.finfo(float).tiny)
    return np.where(share < _SEEN, 0.0, _LARGEST * share)


def _radius(rho: np.ndarray) -> np.ndarray:
    """Logarithmic from a near miss on: the grid is dense near the own ship."""
    return np.log1p(rho / 500.0)


def _edges(values: np.ndarray, *, clamp: bool = True) -> np.ndarray:
    """Borders of the cells around grid values; ``clamp`` lets the outer cells end at the values."""
    middle = (values[1:] + values[:-1]) / 2
    first, last = values[0], values[-1]
    if not clamp:
        first, last = 1.5 * values[0] - 0.5 * values[1], 1.5 * values[-1] - 0.5 * values[-2]
    return np.concatenate([[first], middle, [last]])


def _colours() -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(list(COLOURS))
