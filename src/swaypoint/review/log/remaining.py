"""How many points of a set are wrong, judged or not, how that is known, and whether one may stop."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from swaypoint.review.items import Items
from swaypoint.review.log.counting import (
    CONFIDENCE,
    RIGHT,
    UNDECIDED,
    UNSEEN,
    UPPER,
    WHOLE,
    WRONG,
    bounds,
    count_interval,
    number,
)
from swaypoint.review.log.dealing import dealt
from swaypoint.review.log.progress import SHORT, Yield, progress, yield_curve
from swaypoint.review.log.verdicts import WRONG as WRONG_VERDICTS
from swaypoint.review.log.verdicts import Review

ACCEPTED = 0.01
"""Share of wrong ones among the unseen points at which a review may stop."""
ENOUGH = 30
"""Points of a class that the random sample has to hold before the class is counted on its own."""
SAMPLE = 300
"""Points of a random sample to begin with."""


@dataclass(frozen=True)
class Count:
    """How many points of a set, or of a part of it, are wrong.

    Attributes:
        part: name of the split or class; empty: all points.
        points: of the part; ``judged``: with a verdict that stands; of these ``wrong``: found mislabeled or
            bad, ``undecided``: skipped or in conflict.
        drawn: points that nobody had judged at the draw, of which the random sample is; 0 before it.
        found: of these wrong or undecided by now, by whatever way.
        seen: points of the sample that were judged, in its order without a gap; of these ``seen_wrong`` and
            ``seen_undecided``.
        low, high: wrong ones of the points, at least and at most: with :data:`~.counting.CONFIDENCE` at all
            moments of the review together.
    """

    part: str
    points: int
    judged: int
    wrong: int
    undecided: int
    drawn: int
    found: int
    seen: int
    seen_wrong: int
    seen_undecided: int
    low: int
    high: int

    @property
    def unseen(self) -> int:
        """Points without a verdict."""
        return self.points - self.judged

    @property
    def left_low(self) -> int:
        """Wrong ones among the unseen, at least."""
        return self.low - self.wrong

    @property
    def left_high(self) -> int:
        """At most; the undecided count for wrong in ``high``, and are no unseen ones."""
        return self.high - self.wrong - self.undecided

    @property
    def enough(self) -> bool:
        """The upper end supports a stop."""
        return self.left_high <= ACCEPTED * self.unseen


@dataclass(frozen=True)
class Counts:
    """Of all points, by split where there are several, and by class where the sample allows: where it holds
    :data:`ENOUGH` points of the class, or all of the class are judged.

    Each line holds with :data:`~.counting.CONFIDENCE` by itself.
    """

    whole: Count
    splits: tuple[Count, ...]
    classes: tuple[Count, ...]


def counts(items: Items, review: Review) -> Counts:
    """From all verdicts of a review.

    Three kinds of points: what was judged before the draw is known exactly. What nobody had judged then lies
    in a random order; the verdicts on its first part, without a gap, tell of all of it, see
    :func:`~.counting.bounds`. What was judged out of its turn, such as by the queue after the draw, is no
    random pick: it is known, and counts as one once its turn has come. So nothing hangs on what a reviewer
    chooses to look at.

    Raises:
        InputError: as :func:`~.dealing.dealt`, after a draw.
    """
    found = _Found.of(items, review)
    every = np.ones(len(items), dtype=bool)
    splits, classes = items.splits if len(items.splits) > 1 else (), []
    for index, name in enumerate(items.classes):
        one = found.count(items.scores["label"] == index, name)
        if one.seen >= ENOUGH or (one.points and not one.unseen):
            classes.append(one)
    of = np.asarray(items.scores["split"]).astype(str) if splits else every
    return Counts(
        found.count(every, ""), tuple(found.count(of == name, name) for name in splits), tuple(classes)
    )


@dataclass(frozen=True)
class _Found:
    """What is known of each point; ``places`` in the ranking of what nobody had judged at the draw, -1 of the
    others; ``order``: those dealt and judged without a gap."""

    states: np.ndarray
    places: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, items: Items, review: Review) -> _Found:
        states = np.full(len(items), UNSEEN, dtype=np.int8)
        for item in review.reviewed():
            position, decision = items.position(item), review.decision(item)
            if position is None:
                continue
            if decision is None or not decision.final:
                states[position] = UNDECIDED
            else:
                states[position] = WRONG if decision.verdict in WRONG_VERDICTS else RIGHT
        places = np.full(len(items), -1.0)
        if review.drawn is None:
            return cls(states, places, np.empty(0, dtype=np.int64))
        order = dealt(items, review)
        ranked = order[np.argsort(items.scores["rank"][order], kind="stable")]
        places[ranked] = np.arange(len(ranked)) / max(len(ranked), 1)
        gaps = np.flatnonzero(states[order] == UNSEEN)
        return cls(states, places, order[: gaps[0]] if len(gaps) else order)

    def count(self, within: np.ndarray, part: str) -> Count:
        """Of the points ``within`` ``(n,)``: of a random order of all, a random order of these."""
        states = self.states[within]
        index = np.cumsum(within) - 1
        seen = index[self.order[within[self.order]]]
        low, high = bounds(states, self.places[within], seen)
        rest = states[self.places[within] >= 0]
        return Count(
            part,
            points=len(states),
            judged=number(states, RIGHT, WRONG, UNDECIDED),
            wrong=number(states, WRONG),
            undecided=number(states, UNDECIDED),
            drawn=len(rest),
            found=number(rest, WRONG, UNDECIDED),
            seen=len(seen),
            seen_wrong=number(states[seen], WRONG),
            seen_undecided=number(states[seen], UNDECIDED),
            low=low,
            high=high,
        )


def advice(count: Count, curve: Yield) -> str:
    """When to stop, in a few sentences.

    The rule: stop where the interval's upper end is at most :data:`ACCEPTED` of what nobody has seen. It says
    so wrongly in at most :data:`~.counting.UPPER` of all reviews, however often one looks.
    """
    if not count.unseen:
        return "Every point was reviewed."
    sure = f"with {_percent(CONFIDENCE)} confidence at whatever moment you look"
    if not count.drawn:
        size = min(SAMPLE, count.unseen)
        most = count_interval(0, size, count.unseen, share=WHOLE)[1]
        return (
            "How many errors remain is not known: look at a random sample of the points that nobody has"
            f" reviewed. None wrong among {size:,} would say, {sure}, that at most {most:,} of these"
            f" {count.unseen:,} are."
        )
    undecided = f" ({count.seen_undecided:,} undecided)" if count.seen_undecided else ""
    share = count.left_high / count.unseen
    found = (
        f"Of {count.seen:,} random points of the {count.drawn:,} that nobody had reviewed,"
        f" {count.seen_wrong:,} were wrong{undecided}: {sure}, {count.left_low:,} to {count.left_high:,} of"
        f" the {count.unseen:,} that nobody has seen yet are, at most {_percent(share)}."
    )
    rule = f"Stop is said at {_percent(ACCEPTED)}, and wrongly in at most {100 * UPPER:.0f} of 100 reviews."
    if count.enough:
        return f"{found} Stop here. {rule}"
    course = ""
    if len(curve.decided) >= SHORT and curve.last_50[-1] > share:
        course = f" The queue finds more: of its last {SHORT} {_percent(curve.last_50[-1])} were wrong."
    return f"{found} Go on.{course} {rule} {_more(count)}"


def _more(count: Count) -> str:
    """How many more random points without an error would do, by the count of everything alone."""
    low, high = 0, count.drawn - count.seen
    while low < high:
        more = (low + high) // 2
        wrong = count.seen_wrong + count.seen_undecided
        most = count_interval(wrong, count.seen + more, count.drawn, share=WHOLE)[1]
        if most - count.found <= ACCEPTED * (count.unseen - more):
            high = more
        else:
            low = more + 1
    if low >= count.unseen:
        return "No sample can say so here: look at all of them."
    return f"That takes {low:,} more random points without an error, and more with one."


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def described(items: Items, review: Review) -> dict[str, Any]:
    """All of it for a machine: progress, counts, how they are known and the advice."""
    found, done = counts(items, review), progress(items, review)
    event, drawn = review.drawn, None
    if event is not None:
        drawn = {"event": event.seq, "at": event.at, "by": event.actor, "of": event.item}
        drawn["digest"] = event.digest

    def plain(count: Count) -> dict[str, Any]:
        return {**asdict(count), "unseen": count.unseen, "left": [count.left_low, count.left_high]}

    return {
        "run": items.run,
        "confidence": CONFIDENCE,
        "points": done.points,
        "reviewed": done.reviewed,
        "wrong": done.wrong,
        "conflicts": done.conflicts,
        "verdicts": done.verdicts,
        "draw": drawn,
        "whole": plain(found.whole),
        "splits": [plain(one) for one in found.splits],
        "classes": [plain(one) for one in found.classes],
        "explained": explained(found, review),
        "advice": advice(found.whole, yield_curve(items, review)),
    }


def explained(found: Counts, review: Review) -> list[str]:
    """How many are wrong in all, and how that is known, in sentences."""
    whole, event = found.whole, review.drawn
    if whole.low == whole.high:
        return [f"{whole.low:,} of the {whole.points:,} points are wrong: every one was judged."]
    if event is None:
        return [
            f"At least {whole.low:,} of the {whole.points:,} points are wrong: those that were found.",
            f"How many of the {whole.unseen:,} that nobody has judged are wrong too, a random sample tells.",
        ]
    sentences = [
        f"Between {whole.low:,} and {whole.high:,} of the {whole.points:,} points are wrong"
        f" ({_percent(CONFIDENCE)} sure, at whatever moment you look): {whole.wrong:,} were found, and"
        f" {whole.left_low:,} to {whole.left_high:,} are among the {whole.unseen:,} that nobody has judged.",
        f"How that is known: {whole.points - whole.drawn:,} points had been judged before the random sample"
        f" was drawn (event {event.seq:,} of the log, {event.at[:10]}), so of them it is known exactly. The"
        f" other {whole.drawn:,} were put into a random order that nobody could choose; of its first"
        f" {whole.seen:,}, {whole.seen_wrong:,} were wrong. What was judged of the rest since is"
        " taken as it is found.",
    ]
    if whole.undecided:
        sentences.append(
            f"{whole.undecided:,} undecided points (skipped, or reviewers differ) count as right in the lower"
            " number and as wrong in the upper."
        )
    if found.splits or found.classes:
        sentences.append(
            f"Each line below holds with {_percent(CONFIDENCE)} by itself. A class has one where at least"
            f" {ENOUGH} of its points came up in the random order, or all of it was judged."
        )
    return sentences
