"""How far a review is, what it finds, and what it may leave: counts, yield curve, errors that remain."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.counting import CONFIDENCE, count_interval
from swaypoint.review.log.verdicts import VERDICTS, WRONG, Review, Verdict

ACCEPTED = 0.01
"""Share of wrong ones among the unseen points at which a review may stop."""
_SHORT, _LONG = 50, 200  # decisions that the yield looks back on
_SAMPLE = 300
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

    return Yield(decided, last(_SHORT), last(_LONG))


def audit_sample(items: Items, review: Review, size: int, seed: int) -> list[str]:
    """Ids of points to look at for :func:`remaining`, uniform among those that nobody has reviewed, in random
    order (so that its first part is a uniform sample too); all where there are fewer.

    Keep them: after the next verdict the same seed chooses others.

    Raises:
        InputError: ``size`` < 1.
    """
    if size < 1:
        raise InputError(f"the random sample has {size} points; expected at least 1")
    chosen = np.random.default_rng(seed).permutation(unreviewed(items, review))[:size]
    return [items.ids[position] for position in chosen]


def unreviewed(items: Items, review: Review) -> np.ndarray:
    """Positions that nobody has reviewed."""
    unseen = np.ones(len(items), dtype=bool)
    for item in review.reviewed():
        position = items.position(item)
        if position is not None:
            unseen[position] = False
    return np.flatnonzero(unseen)


@dataclass(frozen=True)
class Tail:
    """What a random sample says of the points that nobody had reviewed when it was drawn.

    Attributes:
        drawn: how many those were; ``unseen``: of these nobody has reviewed now.
        seen: points of the sample that were looked at, in its order without a gap.
        wrong: those of them found mislabeled or bad.
        undecided: those of them skipped or in conflict.
        low, high: wrong ones among the unseen, an interval of :data:`~.counting.CONFIDENCE` that holds at
            every moment of the review.
    """

    drawn: int
    unseen: int
    seen: int
    wrong: int
    undecided: int
    low: int
    high: int


def remaining(
    items: Items, review: Review, sample: Sequence[str], population: Collection[int]
) -> Tail | None:
    """The errors that remain, from a random sample; None while none of it was looked at.

    :func:`~.counting.count_interval` says how many of the ``population`` are wrong; those found since, by
    whatever way, are taken off. The undecided count for right in the lower bound and for wrong in the upper.

    Args:
        sample: ids from :func:`audit_sample`. What was looked at out of its turn, such as by the queue, is
            no random pick and counts once its turn has come.
        population: positions that the sample was drawn from, see :func:`unreviewed`.
    """
    seen = list(takewhile(lambda item: bool(review.all_on(item)), sample))
    if not seen:
        return None
    wrong, undecided = _judged(review, seen)
    found, open_ = _judged(review, (items.ids[p] for p in population if review.all_on(items.ids[p])))
    low, high = count_interval(wrong, len(seen), len(population), undecided=undecided)
    unseen = sum(not review.all_on(items.ids[position]) for position in population)
    low, high = max(low - found - open_, 0), min(max(high - found, 0), unseen)
    return Tail(len(population), unseen, len(seen), wrong, undecided, low, high)


def _judged(review: Review, reviewed: Iterable[str]) -> tuple[int, int]:
    """How many of these are wrong, and undecided."""
    decisions = [review.decision(item) for item in reviewed]
    undecided = sum(decision is None or not decision.final for decision in decisions)
    return sum(decision is not None and decision.verdict in WRONG for decision in decisions), undecided


def advice(tail: Tail | None, curve: Yield, points: int) -> str:
    """When to stop, in a few sentences.

    The rule: stop where the interval's upper end is at most :data:`ACCEPTED` of what nobody has seen. It says
    so wrongly in at most 1 - :data:`~.counting.CONFIDENCE` of all reviews, however often one looks.

    Args:
        points: that nobody has reviewed, from which a sample would be drawn.
    """
    sure = f"with {CONFIDENCE:.0%} confidence at whatever moment you look".replace("%", " %")
    if tail is None:
        size = min(_SAMPLE, points)
        if not size:
            return "Every point was reviewed."
        most = count_interval(0, size, points)[1]
        return (
            "How many errors remain is not known: look at a random sample of the points that nobody has"
            f" reviewed. None wrong among {size:,} would say, {sure}, that at most {most:,} of these"
            f" {points:,} are."
        )
    undecided = f" ({tail.undecided:,} undecided)" if tail.undecided else ""
    found = (
        f"Of {tail.seen:,} random points of the {tail.drawn:,} that nobody had reviewed, {tail.wrong:,} were"
        f" wrong{undecided}: {sure}, {tail.low:,} to {tail.high:,} of the {tail.unseen:,} that nobody has"
        f" seen yet are, at most {_percent(tail.high / max(tail.unseen, 1))}."
    )
    rule = f"Stop is said at {_percent(ACCEPTED)}, and wrongly in at most one of twenty reviews."
    if tail.high <= ACCEPTED * tail.unseen:
        return f"{found} Stop here. {rule}"
    course = ""
    if len(curve.decided) >= _SHORT and curve.last_50[-1] > tail.high / max(tail.unseen, 1):
        course = f" The queue finds more: of its last {_SHORT} {_percent(curve.last_50[-1])} were wrong."
    return f"{found} Go on.{course} {rule} {_more(tail)}"


def _more(tail: Tail) -> str:
    """How many more random points without an error would do."""
    low, high = 0, tail.drawn - tail.seen
    while low < high:
        more = (low + high) // 2
        most = count_interval(tail.wrong + tail.undecided, tail.seen + more, tail.drawn)[1]
        if most - tail.wrong <= ACCEPTED * (tail.unseen - more):
            high = more
        else:
            low = more + 1
    if low >= tail.unseen:
        return "No sample can say so here: look at all of them."
    return f"That takes {low:,} more random points without an error, and more with one."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


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
