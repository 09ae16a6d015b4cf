"""How far a review is, what it finds, and what it may leave: counts, yield curve, errors that remain."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from swaypoint.errors import InputError, require
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import VERDICTS, WRONG, Review, Verdict

CONFIDENCE = 0.95
_SHORT, _LONG = 50, 200  # decisions that the yield looks back on
_RARE = 0.0005  # share of errors in well-kept data, to say what a sample cannot see


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


def yield_curve(items: Items, review: Review, *, sample: Collection[str] = (), most: int = 400) -> Yield:
    """Over the points that are decided (no skip, no conflict), in the order of the first decision on each.

    Args:
        sample: ids of the random audit sample; it says nothing about the queue and is left out.
        most: so many points at most, evenly spread, the last one among them.
    """
    left_out = set(sample)
    first = dict.fromkeys(e.item for e in review.events if e.decision is not None and e.decision.final)
    decisions = [
        review.decision(item) for item in first if item not in left_out and items.position(item) is not None
    ]
    found = np.array([d.verdict in WRONG for d in decisions if d is not None and d.final], dtype=np.int64)
    sums = np.concatenate([[0], np.cumsum(found)])
    decided = np.unique(np.linspace(1, len(found), min(most, len(found))).round().astype(np.int64))

    def last(width: int) -> np.ndarray:
        start = np.maximum(decided - width, 0)
        shares: np.ndarray = (sums[decided] - sums[start]) / (decided - start)
        return shares

    return Yield(decided, last(_SHORT), last(_LONG))


def audit_sample(items: Items, review: Review, size: int, seed: int, *, top: int = 0) -> list[str]:
    """Ids of points to look at for :func:`remaining`, uniform among those of the tail that nobody has
    reviewed, in random order (so that its first part is a uniform sample too); all where there are fewer.

    Keep them: after the next verdict the same seed chooses others.

    Args:
        top: the tail begins after so many of the ranking, those that the queue will come to anyway.

    Raises:
        InputError: ``size`` < 1.
    """
    if size < 1:
        raise InputError(f"the random sample has {size} points; expected at least 1")
    tail = _tail(items, review, top)
    chosen = np.random.default_rng(seed).permutation(tail)[:size]
    return [items.ids[position] for position in chosen]


def _tail(items: Items, review: Review, top: int) -> np.ndarray:
    """Positions that nobody has reviewed, beyond the first ``top`` of the ranking."""
    unseen = items.scores["rank"] > top
    for item in review.reviewed():
        position = items.position(item)
        if position is not None:
            unseen[position] = False
    return np.flatnonzero(unseen)


@dataclass(frozen=True)
class Tail:
    """What a random sample says of the points that nobody has reviewed.

    Attributes:
        size: those points, without the sample.
        seen: points of the sample that were looked at.
        wrong: those of them found mislabeled or bad.
        undecided: those of them skipped or in conflict.
        low, high: share of wrong ones in the tail, an interval of :data:`CONFIDENCE`.
    """

    size: int
    seen: int
    wrong: int
    undecided: int
    low: float
    high: float

    @property
    def errors(self) -> tuple[int, int]:
        """How many wrong points the tail holds, at least and at most."""
        return math.floor(self.low * self.size), math.ceil(self.high * self.size)


def remaining(items: Items, review: Review, sample: Sequence[str], *, top: int = 0) -> Tail | None:
    """The errors that remain, from a random sample of the tail; None while none of it was looked at.

    The interval is :func:`clopper_pearson`'s. It takes the undecided for correct in its lower bound and for
    wrong in its upper one. It holds for the tail as it was when the sample was drawn; where the queue went
    far into it since, what is left holds fewer errors if the ranking is any good: draw a new sample then.

    Args:
        sample: ids from :func:`audit_sample`, looked at in its order.
        top: as there.

    Raises:
        MissingExtra: scipy is not installed.
    """
    seen = [item for item in sample if review.all_on(item) and items.position(item) is not None]
    if not seen:
        return None
    decisions = [review.decision(item) for item in seen]
    undecided = sum(decision is None or not decision.final for decision in decisions)
    wrong = sum(decision is not None and decision.verdict in WRONG for decision in decisions)
    drawn = {position for item in sample if (position := items.position(item)) is not None}
    size = int(np.isin(_tail(items, review, top), list(drawn), invert=True).sum())
    low, _ = clopper_pearson(wrong, len(seen))
    _, high = clopper_pearson(wrong + undecided, len(seen))
    return Tail(size, len(seen), wrong, undecided, low, high)


def clopper_pearson(wrong: int, seen: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact two-sided interval of a share, from ``wrong`` of ``seen`` (Clopper & Pearson, 1934): it
    holds the share in at least ``confidence`` of the cases, for points drawn with replacement; without,
    it is wider than need be.

    Raises:
        MissingExtra: scipy is not installed.

    >>> [round(bound, 4) for bound in clopper_pearson(0, 300)]
    [0.0, 0.0122]
    """
    quantile = require("scipy.special", "review").betaincinv
    each = (1 - confidence) / 2
    low = float(quantile(wrong, seen - wrong + 1, each)) if wrong > 0 else 0.0
    high = float(quantile(wrong + 1, seen - wrong, 1 - each)) if wrong < seen else 1.0
    return low, high


def advice(tail: Tail | None, curve: Yield) -> str:
    """When to stop, in a few sentences: the sample's bound beside the queue's yield, and what the bound
    cannot say.

    Raises:
        MissingExtra: scipy is not installed.
    """
    sure = f"with {CONFIDENCE:.0%} confidence".replace("%", " %")
    if tail is None:
        return (
            "How many errors remain is not known: look at a random sample of the points that nobody has"
            f" reviewed. None wrong among 300 would say, {sure}, that at most"
            f" {_percent(clopper_pearson(0, 300)[1])} of the rest are; no sample of this size says more."
        )
    least, most = tail.errors
    undecided = f" ({tail.undecided:,} undecided)" if tail.undecided else ""
    found = (
        f"Of {tail.seen:,} random points that nobody had reviewed, {tail.wrong:,} were wrong{undecided}:"
        f" {sure}, {_percent(tail.low)} to {_percent(tail.high)} of the other {tail.size:,} are,"
        f" {least:,} to {most:,} points."
    )
    if len(curve.decided) == 0 or curve.decided[-1] < _SHORT:
        course = f"The queue has fewer than {_SHORT} decisions yet: go on."
    elif curve.last_50[-1] > tail.high:
        course = f"Of the queue's last {_SHORT} still {_percent(curve.last_50[-1])} were wrong: go on."
    else:
        course = (
            f"Of the queue's last {_SHORT}, {_percent(curve.last_50[-1])} were wrong, no more than a random"
            " pick may find: stop here, or look at a larger sample."
        )
    needed = math.log((1 - CONFIDENCE) / 2) / math.log1p(-_RARE)
    limit = f"To bound the rest at {_percent(_RARE)} takes some {round(needed, -2):,.0f} without an error."
    return f"{found} {course} {limit}"


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
