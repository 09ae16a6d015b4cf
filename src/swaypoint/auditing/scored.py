"""What an audit keeps of its scores, and how many planted errors stand first in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from swaypoint.data.selection import largest
from swaypoint.data.splitting import Split
from swaypoint.folder.manifest import (
    OUT_OF_FOLD,
    TRAIN,
    RankedBy,
    RegressionFit,
    SecondModel,
    StreamedScores,
    ranking_column,
)
from swaypoint.scoring.fitness import Diagnostics
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.wrong_labels import WrongLabels

INSPECTED = (0.01, 0.05, 0.10)
Columns = Mapping[str, np.ndarray]
"""Columns of the audit folder of some points, ``index`` first, ``split`` among them as names."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of all ranked points.

    Attributes:
        head: as it was scored; ``refit``: it was fitted first.
        points: how many.
        accuracy: of the head on those trained on, and on the others; None without classes or such points.
        columns: of the points that are held, in dataset order: all, or the top of the ranking.
        every: the columns of all of them, part by part, as often as they are asked for.
        ranked_by: what leads.
        streamed: None where all are held.
        regression: how well the head predicts a single real value; else None.
        pairs: of a classification, which classes are taken for which; else None.
        second: what else the probabilities of being wrong are by.
        folds: how many models were trained, each without one fold; None: one with all points.
        accuracies: on the points of each split that was not trained on; without classes none.
    """

    head: HeadWeights
    refit: bool
    points: int
    accuracy: tuple[float | None, float | None]
    diagnostics: Diagnostics
    columns: Columns
    every: Callable[[], Iterator[Columns]]
    ranked_by: RankedBy
    streamed: StreamedScores | None = None
    regression: RegressionFit | None = None
    pairs: Pairs | None = None
    second: SecondModel | None = None
    accuracies: dict[str, float] = field(default_factory=dict)
    folds: int | None = None


@dataclass(frozen=True, eq=False)
class Pairs:
    """Of all ranked points; see :class:`~swaypoint.scoring.wrong_labels.WrongLabels`."""

    expected: np.ndarray
    variance: np.ndarray
    believed: bool
    evidence: float

    @classmethod
    def of(cls, groups: Sequence[WrongLabels]) -> Pairs:
        """Of groups of points; the channel of the one that told it most clearly."""
        first = max(groups, key=lambda group: group.evidence)
        expected, variance = (
            np.sum([getattr(group, name) for group in groups], axis=0) for name in ("pairs", "variance")
        )
        return cls(expected, variance, first.believed, first.evidence)


WRONG = ("auto", "p_wrong", "likely")
"""The columns that every audit of a classification has of its probably wrong labels."""


def columns_of(wrong: WrongLabels) -> dict[str, np.ndarray]:
    """:data:`WRONG`."""
    return dict(zip(WRONG, (wrong.score, wrong.p_wrong, wrong.likely), strict=True))


def prediction(p: np.ndarray, label: np.ndarray) -> dict[str, np.ndarray]:
    """``margin`` and ``suggested_label`` by probabilities (n, C) that have not seen the labels (n,)."""
    rows = np.arange(len(p))
    others = p.astype(np.float64)
    own = others[rows, label]
    others[rows, label] = -np.inf
    return {"margin": own - others.max(1), "suggested_label": p.argmax(1)}


def accuracies_of(columns: Columns) -> dict[str, float]:
    """Out of fold, and on the points of each split that was not trained on, of which the suggestion is the
    head's own."""
    right, split = columns["suggested_label"] == columns["label"], columns["split"]
    found = {OUT_OF_FOLD: float(right[split == TRAIN].mean())} if "fold" in columns else {}
    others = [name for name in np.unique(split).tolist() if name != TRAIN]
    return found | {name: float(right[split == name].mean()) for name in others}


def lead(scores: tuple[str, ...], models: int = 1) -> RankedBy:
    """What ranks: the recommended score where it was asked for, several models together where there are."""
    if "auto" in scores:
        return "auto"
    return "models" if models > 1 else "cooks_distance"


def found(
    scored: Scored, planted: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """How many planted errors are ranked, by split, and of them the counts in the first shares of several
    orders.

    Nothing of the number of points is held: each order's threshold is found first, see
    :func:`~swaypoint.data.selection.largest`.

    Args:
        planted: of positions of the source, bool.
        seed: of the random order.
    """
    first = ranking_column(scored.ranked_by)
    orders = {first: first, "cook": "cook", "loss": "loss"}
    ranked = _by_split(scored, planted, (np.ones(len(part["index"]), dtype=bool) for part in scored.every()))
    rows = []
    for share in INSPECTED:
        count = int(np.ceil(share * scored.points))
        chosen = {name: largest(partial(_column, scored, values), count) for name, values in orders.items()}
        chosen["random"] = _by_chance(
            scored, Split.of(scored.points, seed=seed + 1, share=count / scored.points)
        )
        apart = {name: _by_split(scored, planted, masks) for name, masks in chosen.items()}
        hits = {name: sum(counts.values()) for name, counts in apart.items()}
        shares = {name: hit / max(sum(ranked.values()), 1) for name, hit in hits.items()}
        by_split = {split: {name: counts[split] for name, counts in apart.items()} for split in ranked}
        rows.append({"inspected": share, **shares, "hits": hits, "by_split": by_split})
    return ranked, rows


def _column(scored: Scored, name: str) -> Iterator[np.ndarray]:
    return (part[name] for part in scored.every())


def _by_split(
    scored: Scored, planted: Callable[[np.ndarray], np.ndarray], chosen: Iterable[np.ndarray]
) -> dict[str, int]:
    """How many of the ``chosen`` points, a mask for each part, were planted, the trained ones first."""
    counts = {TRAIN: 0}
    for part, mask in zip(scored.every(), chosen, strict=True):
        wrong = planted(part["index"]) & mask
        for split in np.unique(part["split"]).tolist():
            counts[split] = counts.get(split, 0) + int((wrong & (part["split"] == split)).sum())
    return counts


def _by_chance(scored: Scored, chance: Split) -> Iterator[np.ndarray]:
    done = 0
    for part in scored.every():
        yield chance.held_out(np.arange(done, done := done + len(part["index"])))
