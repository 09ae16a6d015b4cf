"""The page of a comparison: was the cleaning worth it? One HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from swaypoint.report import charts
from swaypoint.report.page import render_page
from swaypoint.review.cleaning.compare import Comparison, Cost, Group, Interval

_HERE = Path(__file__).parent
_SHOWN = 40
"""Classes in the picture, those that changed most."""


def render(comparison: Comparison, title: str, *, doubt: str = "") -> str:
    """The page as one string; ``doubt``: why the log of verdicts did not verify.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    groups = [comparison.overall, *comparison.classes]
    return render_page(
        "comparison",
        templates=_HERE,
        title=title,
        comparison=comparison,
        doubt=doubt,
        groups=groups,
        picture=picture(comparison),
    )


def render_cost(curve: Sequence[Cost], points: int, wrong: int, title: str) -> str:
    """The page of a cost curve; ``wrong`` is how many of the ``points`` there are to find."""
    return render_page(
        "cost",
        templates=_HERE,
        title=title,
        curve=curve,
        points=points,
        wrong=wrong,
        pictures=cost_pictures(curve, points),
    )


def picture(comparison: Comparison) -> str:
    """Accuracy with intervals before and after, overall and by class, as SVG."""
    classes = sorted(comparison.classes, key=lambda group: -abs(group.gain.mean))[:_SHOWN]
    groups = [comparison.overall, *sorted(classes, key=lambda group: group.name)]
    pairs = [charts.Pair(group.name, _ends(group.original), _ends(group.cleaned)) for group in groups]
    measure = comparison.measure
    axis = charts.percent_axis(measure, min(min(pair.before[1], pair.after[1]) for pair in pairs), 1.0)
    return charts.intervals(
        pairs, axis, ("as given", "cleaned"), title=f"{_titled(measure)} before and after"
    )


def cost_pictures(curve: Sequence[Cost], points: int) -> list[str]:
    """Found, and accuracy with its interval, over the share of ``points`` inspected; two SVG."""
    shares = np.array([cost.inspected / points for cost in curve])
    found = np.array([cost.found for cost in curve], dtype=float)
    means, lows, highs = np.array([_ends(cost.accuracy) for cost in curve]).T
    around = np.r_[shares, shares[::-1]]
    x = charts.percent_axis("share of the points inspected", 0.0, float(shares.max()))
    top = 4.0 * max(np.ceil(found.max() / 4), 1.0)
    counts = charts.Axis("found wrong", 0.0, top, [(top * i / 4, f"{top * i / 4:.0f}") for i in range(5)])
    measure = curve[0].measure
    accuracy = charts.percent_axis(measure, float(lows.min()), float(highs.max()))
    return [
        charts.lines([charts.Line("found wrong", "curve cook", shares, found)], x, counts, title="Found"),
        charts.lines(
            [
                charts.Line("mean over seeds", "curve cook", shares, means),
                charts.Line("95 % interval", "curve random", around, np.r_[lows, highs[::-1]]),
            ],
            x,
            accuracy,
            title=f"{_titled(measure)} after training on what is cleaned by then",
        ),
    ]


def _titled(measure: str) -> str:
    return measure[0].upper() + measure[1:]


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.mean, interval.low, interval.high


def show(comparison: Comparison, console: Console, *, doubt: str = "") -> None:
    """Print the comparison as a table; ``doubt`` as in :func:`render`."""
    if doubt:
        console.print(escape(f"note: the log did not verify: {doubt}"), highlight=False, soft_wrap=True)
    title = f"{_titled(comparison.measure)}, with 95 % intervals"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left")
    for name, side in (("class", "left"), ("points", "right"), ("as given", "right"), ("cleaned", "right")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    table.add_column("gain", justify="right")
    for group in (comparison.overall, *comparison.classes):
        table.add_row(*_cells(group))
    if comparison.on_cleaned is not None:
        name, *cells = _cells(comparison.on_cleaned.overall)
        table.add_row(f"{name}, by the cleaned labels", *cells)
    console.print(table)
    console.print(escape(comparison.outcome), highlight=False, soft_wrap=True)


def _cells(group: Group) -> tuple[Any, ...]:
    gain = f"{100 * group.gain.mean:+.2f} ({100 * group.gain.low:+.2f} to {100 * group.gain.high:+.2f})"
    return (
        escape(group.name),
        f"{group.points:,}",
        f"{group.original.mean:.2%}",
        f"{group.cleaned.mean:.2%}",
        f"[bold]{gain}[/]" if group.gain.excludes_zero else gain,
    )
