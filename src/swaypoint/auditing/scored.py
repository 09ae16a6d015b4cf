"""What an audit keeps of its scores, and how many planted errors stand first in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from swaypoint.data.selection import largest
from swaypoint.data.splitting import Split
from swaypoint.folder.manifest import RankedBy, RegressionFit, StreamedScores, ranking_column
from swaypoint.scoring.fitness import Diagnostics
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.wrong_labels import WrongLabels

INSPECTED = (0.01, 0.05, 0.10)
Columns = Mapping[str, np.ndarray]
"""Columns of the audit folder of some points, ``index`` first."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of all ranked points.

    Attributes:
        head: as it was scored; ``refit``: it was fitted first.
        points: how many.
        accuracy: of the head on them, and on the points held out; None without classes or such points.
        columns: of the points that are held, in dataset order: all, or the top of the ranking.
        every: the columns of all of them, part by part, as often as they are asked for.
        ranked_by: what leads.
        streamed: None where all are held.
        regression: how well the head predicts a single real value; else None.
        pairs: of a classification, which classes are taken for which; else None.
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
        sums = (sum(getattr(group, name) for group in groups) for name in ("pairs", "variance"))
        return cls(*sums, first.believed, first.evidence)


WRONG = ("auto", "p_wrong", "likely")
"""The columns that every audit of a classification has of its probably wrong labels."""


def columns_of(wrong: WrongLabels) -> dict[str, np.ndarray]:
    """:data:`WRONG`."""
    return dict(zip(WRONG, (wrong.score, wrong.p_wrong, wrong.likely), strict=True))


def lead(scores: tuple[str, ...], models: int = 1) -> RankedBy:
    """What ranks: the recommended score where it was asked for, several models together where there are."""
    if "auto" in scores:
        return "auto"
    return "models" if models > 1 else "cooks_distance"


def found(
    scored: Scored, planted: Callable[[np.ndarray], np.ndarray], seed: int
) -> tuple[int, list[dict[str, Any]]]:
    """How many planted errors are ranked, and of them the counts in the first shares of several orders.

    Nothing of the number of points is held: each order's threshold is found first, see
    :func:`~swaypoint.data.selection.largest`.

    Args:
        planted: of positions of the source, bool.
        seed: of the random order.
    """
    first = ranking_column(scored.ranked_by)
    orders = {first: first, "cook": "cook", "loss": "loss"}
    total = sum(int(planted(part["index"]).sum()) for part in scored.every())
    rows = []
    for share in INSPECTED:
        count = int(np.ceil(share * scored.points))
        hits = {name: _hits(scored, planted, values, count) for name, values in orders.items()}
        chance = Split.of(scored.points, seed=seed + 1, share=count / scored.points)
        hits["random"] = _by_chance(scored, planted, chance)
        shares = {name: hit / max(total, 1) for name, hit in hits.items()}
        rows.append({"inspected": share, **shares, "hits": hits})
    return total, rows


def _hits(scored: Scored, planted: Callable[[np.ndarray], np.ndarray], name: str, count: int) -> int:
    chosen = largest(lambda: (part[name] for part in scored.every()), count)
    return sum(
        int((planted(part["index"]) & first).sum())
        for part, first in zip(scored.every(), chosen, strict=True)
    )


def _by_chance(scored: Scored, planted: Callable[[np.ndarray], np.ndarray], chance: Split) -> int:
    hits = done = 0
    for part in scored.every():
        places = np.arange(done, done + len(part["index"]))
        hits += int((planted(part["index"]) & chance.held_out(places)).sum())
        done += len(places)
    return hits
