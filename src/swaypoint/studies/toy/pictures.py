"""Pictures of the toy study: Picard et al. (2022), Figs. 1 and 4."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from swaypoint.errors import require
from swaypoint.folder.writing import replace_file
from swaypoint.studies.pieces import Cell
from swaypoint.studies.toy.flip import CONVERGED
from swaypoint.studies.toy.measures import rank_of
from swaypoint.studies.toy.problems import MIDDLE, PROBLEMS, Problem

CLASSES = ("#0072b2", "#e69f00")  # blue and orange of Okabe & Ito (2008), told apart by all
INFLUENCE = "#5b1a8b"
_MARKERS = ("o", "^")
_LINE = {"colors": "#444444", "linewidths": 0.9, "linestyles": "dashed"}
_OPAQUE = 0.95  # quantile of Cook's distance from which on a point is opaque
_STRIP = ("0", "2", "4", "6", "8", "16", "60")
_LARGEST, _FULL = 420.0, 0.05  # area of a dot, reached at this share of the summed influence
_FRAME, _LAST = 140, 2500  # milliseconds


def draw_problems(cells: dict[str, Cell], path: Path) -> None:
    """Each problem of :data:`~swaypoint.studies.toy.problems.PROBLEMS` twice: classes, and influence. PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", "study")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13.2, 10.8), layout="constrained")
    grid = figure.subfigures(-(-len(PROBLEMS) // 2), 2, squeeze=False, wspace=0.03, hspace=0.03)
    for part, problem in zip(np.ravel(grid), PROBLEMS, strict=True):
        points = cells[problem.name].points
        classes, influence = part.subplots(1, 2)
        part.suptitle(problem.title, fontsize=12, fontweight="bold")
        _classes(classes, points)
        _opacity(influence, points)
        for axes in (classes, influence):
            _frame(axes, problem)
    _legend(figure)
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=100))


def _classes(axes: Any, points: Any) -> None:
    x, y, label = (points[name].to_numpy() for name in ("x", "y", "label"))
    for of_class in (0, 1):
        chosen = label == of_class
        axes.scatter(
            x[chosen], y[chosen], s=7, c=CLASSES[of_class], marker=_MARKERS[of_class], linewidths=0, alpha=0.9
        )


def _opacity(axes: Any, points: Any) -> None:
    x, y, cook = (points[name].to_numpy() for name in ("x", "y", "cook"))
    opacity = np.clip(cook / np.quantile(cook, _OPAQUE), 0.02, 1.0)
    order = np.argsort(cook)  # the strongest on top
    axes.scatter(x[order], y[order], s=14, c=INFLUENCE, alpha=opacity[order], linewidths=0)


def _frame(axes: Any, problem: Problem) -> None:
    """Square axes without numbers, and the true boundary."""
    side, signed = _signed_distance(problem)
    axes.contour(side, side, signed, levels=[0.0], zorder=3, **_LINE)
    axes.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03), aspect="equal", xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_color("#bbbbbb")


@cache
def _signed_distance(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """A grid's coordinates (m,), and the distance (m, m) to the boundary, negative on the side of class 0."""
    side = np.linspace(-0.999, 0.999, 201)  # at the very edge the next square of a checkerboard begins
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    signed = np.where(problem.side(grid), 1.0, -1.0) * problem.distance(grid)
    return side, signed.reshape(len(side), -1)


def _legend(figure: Any) -> None:
    from matplotlib.lines import Line2D

    def dot(colour: str, marker: str, label: str, alpha: float = 1.0) -> Any:
        return Line2D(
            [], [], linestyle="", marker=marker, color=colour, alpha=alpha, label=label, markersize=8,
            markeredgewidth=0,
        )  # fmt: skip

    handles = [
        dot(CLASSES[0], _MARKERS[0], "one class"),
        dot(CLASSES[1], _MARKERS[1], "the other"),
        dot(INFLUENCE, "o", "influential: opacity in proportion to Cook's distance, full in the top 5 %"),
        Line2D([], [], color="#444444", linewidth=1.2, linestyle="dashed", label="true boundary"),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=4, fontsize=11, frameon=False, handletextpad=0.3
    )


def draw_strip(cell: Cell, path: Path) -> None:
    """The flipped label through training: one panel an epoch, the last at the stationary point. PNG.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", "study")
    from matplotlib.figure import Figure

    known = [record["epoch"] for record in cell.measured["records"]]
    epochs = [epoch for epoch in _STRIP if epoch in known] + [CONVERGED]
    rows = -(-len(epochs) // 4)
    figure = Figure(figsize=(13.2, 3.5 * rows + 0.45), layout="constrained")
    panels = figure.subplots(rows, 4, squeeze=False).ravel()
    for axes, epoch in zip(panels, epochs, strict=False):
        _sizes(axes, cell, epoch)
    for axes in panels[len(epochs) :]:
        axes.set_axis_off()
    figure.suptitle(
        "One flipped label (ringed) while a perceptron trains. The area of a dot is its share of the summed"
        " Cook's distances, up to 5 %",
        fontsize=12,
        fontweight="bold",
    )
    replace_file(path, lambda temporary: figure.savefig(temporary, format="png", dpi=100))


def draw_animation(cell: Cell, path: Path) -> None:
    """The same, every record a frame. Animated WebP.

    Raises:
        MissingExtra: matplotlib or pillow is not installed.
    """
    require("matplotlib", "study")
    image = require("PIL.Image", "study")
    from matplotlib.figure import Figure

    frames = []
    for record in cell.measured["records"]:
        figure = Figure(figsize=(4.6, 4.9), layout="constrained")
        _sizes(figure.subplots(), cell, record["epoch"])
        with io.BytesIO() as file:
            figure.savefig(file, format="png", dpi=100)
            frames.append(image.open(file).convert("RGB"))
    durations = [_FRAME] * (len(frames) - 1) + [_LAST]
    replace_file(
        path,
        lambda temporary: frames[0].save(
            temporary, format="webp", save_all=True, append_images=frames[1:], duration=durations, loop=0,
            quality=70, method=4,
        ),
    )  # fmt: skip


def _sizes(axes: Any, cell: Cell, epoch: str) -> None:
    points = cell.points
    x, y, label, flipped, cook = (
        points[name].to_numpy(zero_copy_only=False)
        for name in ("x", "y", "label", "flipped", f"cook-{epoch}")
    )
    # Shares of the sum, not of the largest: one giant must not make all others invisible.
    area = 2.0 + _LARGEST * np.minimum(cook / cook.sum() / _FULL, 1.0)
    for of_class in (0, 1):
        chosen = (label == of_class) & ~flipped
        axes.scatter(
            x[chosen], y[chosen], s=area[chosen], c=CLASSES[of_class], marker=_MARKERS[of_class],
            linewidths=0, alpha=0.75,
        )  # fmt: skip
    wrong = int(np.flatnonzero(flipped)[0])
    axes.scatter(
        x[wrong], y[wrong], s=area[wrong], c=CLASSES[label[wrong]], marker=_MARKERS[label[wrong]], zorder=4
    )
    ring = max(200.0, 2.0 * area[wrong])
    axes.scatter(x[wrong], y[wrong], s=ring, facecolor="none", edgecolor="black", linewidths=1.4, zorder=5)
    _frame(axes, MIDDLE)
    when = "converged" if epoch == CONVERGED else f"epoch {epoch}"
    axes.set_title(
        f"{when}: rank {rank_of(cook, wrong)}, {100 * cook[wrong] / cook.sum():.2g} % of the sum", fontsize=11
    )
