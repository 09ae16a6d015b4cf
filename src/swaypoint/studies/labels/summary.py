"""The study as tables: by kind of noise, by set, and how far p_wrong can be trusted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swaypoint.studies.markdown import markdown

SCORES = {
    "auto": ("recommended (`auto`)", "audit"),
    "cook": ("Cook's distance (the paper)", "audit"),
    "loss": ("loss", "audit"),
    "loo_loss": ("leave-one-out loss", "audit"),
    "knn": ("10 nearest neighbours", "audit"),
    "area_under_margin": ("area under the margin", "audit"),
    "same_filter": ("cleanlab `filter`, same model, five folds", "folds"),
    "same_confidence": ("cleanlab self-confidence (loss), same model, five folds", "folds"),
    "same_margin": ("cleanlab normalised margin, same model, five folds", "folds"),
    "trees_filter": ("cleanlab `filter`, boosted trees, five folds", "trees"),
    "trees_confidence": ("cleanlab self-confidence (loss), boosted trees, five folds", "trees"),
    "trees_margin": ("cleanlab normalised margin, boosted trees, five folds", "trees"),
    "trees_area": ("mislabeled, area under the margin, boosted trees", "margins"),
}
"""Title of each score, and the way that its seconds are of."""
PACE = 6.0
"""Seconds in which a reviewer decides on a record; an assumption, stated with the minutes."""
_RESAMPLES = 2000


@dataclass(frozen=True)
class Row:
    """One score in one cell.

    Attributes:
        ranked: records that the score ranks; measures are of these, ``recommended``, the average precision of
            the recommended score, too.
        measures: of :class:`~swaypoint.studies.detection.Found`, by name.
        pairs: recall of each ``true>given`` pair among as many records as are wrong.
        calibration: expected calibration error of p_wrong, and the ``expected`` number; of ``auto`` alone.
        seconds: by way.
    """

    set: str
    kind: str
    records: int
    classes: int
    noise: str
    draw: int
    score: str
    wrong: int
    ranked: int
    measures: dict[str, float]
    recommended: float
    pairs: dict[str, float]
    calibration: float | None
    expected: float | None
    seconds: dict[str, float]


def tables(rows: Sequence[Row]) -> str:
    """Everything as Markdown."""
    noises = sorted({row.noise for row in rows})
    parts = ["## All", "", by_score(rows), ""]
    for noise in noises:
        parts += [f"## {title(noise)}", "", by_score([row for row in rows if row.noise == noise]), ""]
    parts += ["## By set: average precision", "", by_set(rows), ""]
    parts += ["## The probability of being wrong", "", calibration(rows)]
    return "\n".join(parts)


def title(noise: str) -> str:
    """In words.

    >>> title("class:0.05")
    'Between like classes, 5 %'
    """
    kind, share = noise.split(":")
    words = {"uniform": "Uniform", "class": "Between like classes", "record": "Where a weak model is unsure"}
    return f"{words[kind]}, {100 * float(share):g} %"


def by_score(rows: Sequence[Row]) -> str:
    """A line a score: means over sets, draws and kinds of noise."""
    lines = []
    for score, (name, way) in SCORES.items():
        of = [row for row in rows if row.score == score]
        if not of:
            continue
        worst = [min(row.pairs.values()) for row in of if row.pairs]
        mean = {key: np.mean([row.measures[key] for row in of]) for key in of[0].measures}
        minutes = np.mean([row.measures["inspected_90"] * row.ranked for row in of]) * PACE / 60
        lines.append(
            [
                name,
                str(len(of)),
                f"{mean['average_precision']:.3f}",
                "" if score == "auto" else _difference(of),
                f"{mean['inspected_50']:.1%}",
                f"{mean['inspected_90']:.1%}",
                f"{minutes:.0f}",
                f"{mean['precision_100']:.2f}",
                f"{np.mean(worst):.2f}" if worst else "",
                f"{np.mean([row.seconds[way] for row in of]):.1f}",
            ]
        )
    names = ["score", "cells", "average precision", "recommended minus it", "look at, for 50 %", "for 90 %"]
    names += ["minutes for 90 %", "precision in 100", "recall of the worst pair", "seconds"]
    return markdown(names, lines)


def _difference(rows: Sequence[Row]) -> str:
    """Mean paired difference of average precision, and its 95 % interval over resampled cells."""
    of = np.array([row.recommended - row.measures["average_precision"] for row in rows])
    drawn = np.random.default_rng(0).choice(of, (_RESAMPLES, len(of))).mean(1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return f"{of.mean():+.3f} ({low:+.3f} to {high:+.3f})"


def by_set(rows: Sequence[Row]) -> str:
    """A line a score, a column a set."""
    found = defaultdict(list)
    for row in rows:
        found[row.set, row.score].append(row.measures["average_precision"])
    sets = {row.set: f"{row.set} ({row.records:,} {row.kind}, {row.classes} classes)" for row in rows}
    lines = []
    for score, (name, _) in SCORES.items():
        cells = [f"{np.mean(found[one, score]):.3f}" if (one, score) in found else "" for one in sets]
        if any(cells):
            lines.append([name, *cells])
    return markdown(["score", *sets.values()], lines)


def calibration(rows: Sequence[Row]) -> str:
    """A line a kind of noise: the error of p_wrong, and how many it expects of each that is wrong."""
    lines = []
    for noise in sorted({row.noise for row in rows}):
        of = [row for row in rows if row.noise == noise and row.calibration is not None]
        ratios = [row.expected / row.wrong for row in of if row.expected is not None]
        low, middle, high = np.quantile(ratios, (0.1, 0.5, 0.9))
        error = np.mean([row.calibration for row in of if row.calibration is not None])
        lines.append([title(noise), str(len(of)), f"{error:.3f}", f"{middle:.2f} ({low:.2f} to {high:.2f})"])
    names = ["", "cells", "calibration error", "expected / wrong, median (tenth to ninetieth percentile)"]
    return markdown(names, lines)
