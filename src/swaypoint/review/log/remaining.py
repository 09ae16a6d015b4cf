"""How many points of a set are wrong, judged or not: all that verdicts and the random sample tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from swaypoint.review.items import Items
from swaypoint.review.log.counting import RIGHT, UNDECIDED, UNSEEN, WRONG, bounds, number
from swaypoint.review.log.dealing import dealt
from swaypoint.review.log.erring import VERDICTS_SHARE, Checked, Corrected, checked, corrected
from swaypoint.review.log.overlaps import Overlap, overlaps
from swaypoint.review.log.recalibrated import recalibrated
from swaypoint.review.log.verdicts import WRONG as WRONG_VERDICTS
from swaypoint.review.log.verdicts import Review

ACCEPTED = 0.01
"""Share of wrong ones among the unseen points at which a review may stop."""
FEW = 0.05
"""Share of the decided points that fewer may have decided than the others, and count as undecided then."""
ENOUGH = 30
"""Points of a class that the random sample has to hold before the class is counted on its own."""


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
class Expected:
    """How many are wrong as the model expects it: the sum of its ``p_wrong``, and of that recalibrated."""

    model: float
    by_verdicts: float


@dataclass(frozen=True)
class Counts:
    """Of all points, by split where there are several, and by class where the sample allows: where it holds
    :data:`ENOUGH` points of the class, or all of the class are judged.

    Each line holds with :data:`~.counting.CONFIDENCE` by itself, if verdicts are right.

    Attributes:
        unlisted: classes without a line.
        checked: how the reviewers did on the points whose label is known; () where none was given.
        shared: how they did on the points that others decided as well, () where there are none.
        corrected: the whole for reviewers who err as often as these say; None without any, and where points
            that are shared say nothing of it, and none whose label is known was given.
        expected: None before the draw, and where the audit has no ``p_wrong``.
    """

    whole: Count
    splits: tuple[Count, ...]
    classes: tuple[Count, ...]
    unlisted: int = 0
    checked: tuple[Checked, ...] = ()
    shared: tuple[Overlap, ...] = ()
    corrected: Corrected | None = None
    expected: Expected | None = None


def counts(items: Items, review: Review, checks: Mapping[str, bool] | None = None) -> Counts:
    """From all verdicts of a review.

    Three kinds of points: what was judged before the draw is known exactly. What nobody had judged then lies
    in a random order; the verdicts on its first part, without a gap, tell of all of it, see
    :func:`~.counting.bounds`. What was judged out of its turn, such as by the queue after the draw, is no
    random pick: it is known, and counts as one once its turn has come. So nothing hangs on what a reviewer
    chooses to look at.

    Args:
        checks: by id of a point whose label is known, whether it is wrong.

    Raises:
        InputError: as :func:`~.dealing.dealt`, after a draw.
    """
    found = Known.of(items, review)
    every = np.ones(len(items), dtype=bool)
    splits = items.splits if len(items.splits) > 1 else ()
    label, k = items.scores["label"], len(items.classes)
    # Most of a thousand classes have no line: one look at all of them tells which have.
    came = np.bincount(label[found.order].astype(np.int64), minlength=k) if k else np.empty(0, dtype=np.int64)
    open_ = np.unique(label[found.states == UNSEEN])
    shown = [c for c in range(k) if came[c] >= ENOUGH or c not in open_]
    lines = [found.count(label == c, items.classes[c]) for c in shown]
    classes = tuple(one for one in lines if one.points)
    of = np.asarray(items.scores["split"]).astype(str) if splits else every
    who, together = checked(review, checks or {}), overlaps(review, checks or {})
    return Counts(
        whole=found.count(every),
        splits=tuple(found.count(of == name, name) for name in splits),
        classes=classes,
        unlisted=int(np.count_nonzero(np.bincount(label.astype(np.int64)))) - len(classes) if k else 0,
        checked=who,
        shared=together,
        corrected=found.corrected(who, together),
        expected=found.expected(items.scores["p_wrong"]) if "p_wrong" in items.scores else None,
    )


@dataclass(frozen=True)
class Known:
    """What is known of each point; ``places`` in the ranking of what nobody had judged at the draw, -1 of the
    others; ``order``: those dealt and judged without a gap; ``deciders``: how many said of a point what
    counts, each by themselves, ``(n,)``."""

    states: np.ndarray
    places: np.ndarray
    order: np.ndarray
    deciders: np.ndarray

    @classmethod
    def of(cls, items: Items, review: Review) -> Known:
        states, deciders = np.full(len(items), UNSEEN, dtype=np.int8), np.zeros(len(items), dtype=np.int64)
        settled = {event.item for event in review.events if event.resolves}  # knowing what the others said
        for item in review.reviewed():
            position, decision = items.position(item), review.decision(item)
            if position is None:
                continue
            if decision is None or not decision.final:
                states[position] = UNDECIDED
            else:
                states[position] = WRONG if decision.verdict in WRONG_VERDICTS else RIGHT
                said = [one for one in review.all_on(item).values() if one.final]
                deciders[position] = 1 if item in settled else len(said)
        places = np.full(len(items), -1.0)
        if review.drawn is None:
            return cls(states, places, np.empty(0, dtype=np.int64), deciders)
        order = dealt(items, review)
        ranked = order[np.argsort(items.scores["rank"][order], kind="stable")]
        places[ranked] = np.arange(len(ranked)) / max(len(ranked), 1)
        gaps = np.flatnonzero(states[order] == UNSEEN)
        return cls(states, places, order[: gaps[0]] if len(gaps) else order, deciders)

    def count(self, within: np.ndarray, part: str = "", *, share: float = 1.0) -> Count:
        """Of the points ``within`` ``(n,)``: a random order of all is one of these. See :func:`bounds`."""
        members = np.flatnonzero(within)
        states, places = self.states[members], self.places[members]
        seen = np.searchsorted(members, self.order[within[self.order]])
        low, high = bounds(states, places, seen, share=share)
        rest = states[places >= 0]
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

    def corrected(self, reviewers: Sequence[Checked], shared: Sequence[Overlap] = ()) -> Corrected | None:
        """Of all points, see :func:`~.erring.corrected`; None where that is not known, and nobody asked by
        points whose label is known."""
        if not (reviewers or shared):
            return None
        every, decided = np.ones(len(self.states), dtype=bool), np.isin(self.states, (RIGHT, WRONG))
        depth = int(np.quantile(self.deciders[decided], FEW, method="inverted_cdf")) if decided.any() else 1
        # By fewer than nearly all: not decided so.
        states = np.where(decided & (self.deciders < depth), UNDECIDED, self.states)
        one = replace(self, states=states).count(every, share=VERDICTS_SHARE)
        said = corrected(
            one.low,
            one.high,
            one.points,
            judged=int(decided.sum()),
            found=number(self.states, WRONG),
            reviewers=reviewers,
            shared=shared,
            deciders=depth,
        )
        return said if reviewers or (said.low, said.high) != (0, one.points) else None

    def expected(self, p: np.ndarray) -> Expected | None:
        """By the probabilities ``p`` ``(n,)``; None while nothing was dealt."""
        if not len(self.order):
            return None
        by_verdicts = recalibrated(p, self.states, self.places, self.order).of(p)
        return Expected(float(p.sum()), float(by_verdicts.sum()))
