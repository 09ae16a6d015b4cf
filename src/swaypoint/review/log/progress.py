"""How far a review is, and what it finds: counts, yield curve, classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import VERDICTS, WRONG, Review, Verdict

SHORT, _LONG = 50, 200  # decisions that the yield looks back on
_QUEUED = ("queue", "")  # of a log of before, whose ways are not known, everything


@dataclass(frozen=True)
class Progress:
    """Counts over an audit's points.

    Attributes:
        points: all.
        reviewed: with a verdict that stands, skips included.
        conflicts: on which reviewers differ; they count under no verdict.
        verdicts: points by what counts of them, see :meth:`Review.decision`.
    """

    points: int
    reviewed: int
    conflicts: int
    verdicts: dict[Verdict, int]

    @property
    def wrong(self) -> int:
        """Found mislabeled or bad."""
        return sum(self.verdicts[verdict] for verdict in WRONG)


def progress(items: Items, review: Review) -> Progress:
    """Verdicts on points that the audit does not have count for nothing."""
    reviewed = [item for item in review.reviewed() if items.position(item) is not None]
    decisions = [review.decision(item) for item in reviewed]
    verdicts = dict.fromkeys(VERDICTS, 0)
    for decision in decisions:
        if decision is not None:
            verdicts[decision.verdict] += 1
    return Progress(len(items), len(reviewed), decisions.count(None), verdicts)


@dataclass(frozen=True)
class Yield:
    """Points of a chart: what share of the latest decisions found a wrong point.

    Attributes:
        decided: decisions so far, ``(m,)`` int64.
        last_50, last_200: share of mislabeled and bad among the last so many of them (of all, while there
            are fewer), ``(m,)`` float64.
    """

    decided: np.ndarray
    last_50: np.ndarray
    last_200: np.ndarray


def yield_curve(items: Items, review: Review, *, most: int = 400) -> Yield:
    """Over the points of the queue that are decided (no skip, no conflict), in the order of the first
    decision on each. What came by another way, a random sample or many at once, says nothing about the queue.

    Args:
        most: so many points at most, evenly spread, the last one among them.
    """
    first: dict[str, str] = {}
    for event in review.events:
        if event.decision is not None and event.decision.final:
            first.setdefault(event.item, event.way)
    decisions = [
        review.decision(item)
        for item, way in first.items()
        if way in _QUEUED and items.position(item) is not None
    ]
    found = np.array([d.verdict in WRONG for d in decisions if d is not None and d.final], dtype=np.int64)
    sums = np.concatenate([[0], np.cumsum(found)])
    decided = np.unique(np.linspace(1, len(found), min(most, len(found))).round().astype(np.int64))

    def last(width: int) -> np.ndarray:
        start = np.maximum(decided - width, 0)
        shares: np.ndarray = (sums[decided] - sums[start]) / (decided - start)
        return shares

    return Yield(decided, last(SHORT), last(_LONG))


@dataclass(frozen=True)
class Confusion:
    """Given against validated labels, over the points that are decided.

    Attributes:
        classes: names.
        counts: ``(C, C)`` int64, rows by given label, columns by validated: the label of a mislabeled
            point, the given one of one that is correct, boundary or under-represented.
        unknown: by given label ``(C,)`` int64: mislabeled, but the right class is not known.
    """

    classes: tuple[str, ...]
    counts: np.ndarray
    unknown: np.ndarray


def confusion(items: Items, review: Review) -> Confusion:
    """Of what counts of each point (:meth:`Review.decision`); skipped, bad and disputed ones are left out.
    Empty for regression."""
    index = {name: position for position, name in enumerate(items.classes)}
    counts = np.zeros((len(index), len(index)), dtype=np.int64)
    unknown = np.zeros(len(index), dtype=np.int64)
    for item in review.reviewed() if index else ():
        position, decision = items.position(item), review.decision(item)
        if position is None or decision is None or decision.verdict in ("skip", "bad"):
            continue
        given = int(items.scores["label"][position])
        if decision.verdict != "mislabeled":
            counts[given, given] += 1
        elif decision.label in index:
            counts[given, index[decision.label]] += 1
        else:
            unknown[given] += 1
    return Confusion(items.classes, counts, unknown)
