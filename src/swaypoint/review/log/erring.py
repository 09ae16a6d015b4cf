"""Reviewers err: how often, by points whose label is known and by what others say of the same points, and how
many are wrong in spite of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import log

from swaypoint.review.log.counting import LOWER, UPPER, first
from swaypoint.review.log.overlaps import Overlap
from swaypoint.review.log.rates import likelihood, mixture, share_interval, times
from swaypoint.review.log.verdicts import WRONG, Review

VERDICTS_SHARE = 0.5
"""Of the error, for how many points the reviewers would take for wrong; the rest goes to their own errors."""
_RATE, _CHANCE, _FALSE = 0.125, 0.03125, 0.0625
# Of an end of a rate, of which three count; of chance in misses and in alarms; of alarms among the judged.
_STEPS = 60


@dataclass(frozen=True)
class Checked:
    """One reviewer's decisions on the points whose label is known, skips left out.

    Attributes:
        right, wrong: such points with a right and with a wrong label that they decided on.
        alarms: of the right ones, taken for wrong; ``misses``: of the wrong ones, taken for right.
    """

    reviewer: str
    right: int
    alarms: int
    wrong: int
    misses: int


def checked(review: Review, checks: Mapping[str, bool]) -> tuple[Checked, ...]:
    """By reviewer, of those who decided on any.

    Args:
        checks: by id of the point, whether its label is wrong.
    """
    found: dict[str, list[int]] = {}
    for item, wrong in checks.items():
        for actor, decision in review.all_on(item).items():
            if decision.final:
                counts = found.setdefault(actor, [0, 0, 0, 0])
                counts[2 * wrong] += 1
                counts[2 * wrong + 1] += (decision.verdict in WRONG) != wrong
    return tuple(Checked(actor, *counts) for actor, counts in sorted(found.items()))


@dataclass(frozen=True)
class Corrected:
    """How many points are wrong, where verdicts are not taken for right.

    Attributes:
        low, high: of all points, at least and at most.
        still_low, still_high: of these, how many are not found: not judged yet, or taken for right.
        alarms, misses: the reviewers' rates, each at least and at most, as they are used for ``high``.
    """

    low: int
    high: int
    still_low: int
    still_high: int
    alarms: tuple[float, float]
    misses: tuple[float, float]


def corrected(
    low: int,
    high: int,
    points: int,
    *,
    judged: int,
    found: int,
    reviewers: Sequence[Checked],
    shared: Sequence[Overlap] = (),
    deciders: int = 1,
) -> Corrected:
    """From how many the reviewers would take for wrong to how many are.

    A right point is taken for wrong with probability a, a wrong one for right with probability m, each by
    itself; then of ``points`` about K (1 - m) + (N - K) a are taken for wrong where K are (Rogan & Gladen,
    "Estimating prevalence from the results of a screening test", 1978). The K kept are those for which some
    rates in their intervals, and chance in either kind of error (Chernoff's bound), allow a number from
    ``low`` to ``high``. Every part takes its share of the error (a union bound), so that the result holds as
    often, and at every moment, too. Of several reviewers the rates lie between the best and the worst. Where
    d decide a point, each by themselves, and it is undecided unless they agree (right in ``low``, wrong in
    ``high``), all of them err with the product of their rates.

    Args:
        low, high: bounds of the number that the reviewers would take for wrong, had they judged all, at the
            share :data:`VERDICTS_SHARE` of the error.
        judged: points with a decision; ``found``: taken for wrong.
        reviewers: on points whose label is known; ``shared``: on what others decided as well. At least one of
            either.
        deciders: so many, at least, decided each point.
    """
    most, least = _Rates.of(reviewers, shared, UPPER), _Rates.of(reviewers, shared, LOWER)
    bottom, top = _ends(low, high, points, most, least, deciders)
    false = min(_most(judged, most.alarms[1], UPPER * _FALSE), found)
    return Corrected(
        low=bottom,
        high=top,
        still_low=max(bottom - found, 0),
        still_high=max(top - (found - false), 0),
        alarms=most.alarms,
        misses=most.misses,
    )


@dataclass(frozen=True)
class _Rates:
    """Of all reviewers together, each at least and at most.

    Of points that most of the others call wrong, some are right. But who says wrong of a right point no more
    often than of a wrong one says right of these at least as often as of wrong ones. So with the others' say
    in place of the truth a reviewer seems to err at least as often as they do, if errors are independent
    given the truth: that bounds both rates from above, whatever the others' own errors are and whichever
    points they share. It does not bound them from below; the lower ends are those of known points.
    """

    alarms: tuple[float, float]
    misses: tuple[float, float]

    @classmethod
    def of(cls, reviewers: Sequence[Checked], shared: Sequence[Overlap], error: float) -> _Rates:
        known, by_others = ({one.reviewer: one for one in those} for those in (reviewers, shared))
        each = error * _RATE / len(known | by_others) / (2 if known and by_others else 1)

        def span(who: str, errors: str, of: str) -> tuple[float, float]:
            asked, held = (
                (getattr(by.get(who), errors, 0), getattr(by.get(who), of, 0)) for by in (known, by_others)
            )
            low, high = share_interval(*asked, each)
            if who in by_others:
                high = min(high, share_interval(asked[0] + held[0], asked[1] + held[1], each)[1])
            return low, high

        ends = []
        for errors, of in (("alarms", "right"), ("misses", "wrong")):
            spans = [span(who, errors, of) for who in known | by_others]
            ends.append((min(low for low, _ in spans), max(high for _, high in spans)))
        return cls(*ends)


def _ends(low: int, high: int, points: int, most: _Rates, least: _Rates, deciders: int) -> tuple[int, int]:
    """Of :func:`corrected`; all points where one of its parts has missed."""

    def too_many(k: int) -> bool:
        missed, alarms = (
            _quantile(k, most.misses[1] ** deciders, 1, UPPER),
            _quantile(points - k, most.alarms[0], 0, UPPER),
        )
        return k - missed + alarms > high

    def enough(k: int) -> bool:
        missed, alarms = (
            _quantile(k, least.misses[0], 0, LOWER),
            _quantile(points - k, least.alarms[1] ** deciders, 1, LOWER),
        )
        return k - missed + alarms >= low

    top, bottom = points, 0
    if most.misses[1] ** deciders + most.alarms[0] < 1:
        top = max(first(0, points + 1, lambda k: k > points or too_many(k)) - 1, 0)
    if least.misses[0] + least.alarms[1] ** deciders < 1:
        bottom = first(0, points, enough)
    return (bottom, top) if bottom <= top else (0, points)


def _most(trials: int, share: float, error: float) -> int:
    """So many of ``trials`` at most, each with a probability of ``share``, at whatever moment one looks."""
    if share >= 1:
        return trials
    start = int(trials * share)
    return first(
        start,
        trials,
        lambda count: (
            likelihood(count + 1, trials, share) <= log(error) + mixture(count + 1, trials - count - 1)
        ),
    )


def _quantile(size: int, share: float, end: int, error: float) -> float:
    """Of ``size`` trials, each with probability ``share``, so few (``end`` 0) or so many (1) that fewer or
    more have a probability of at most ``error`` times :data:`_CHANCE`; a real number."""
    inside, outside, least = size * share, float(end * size), log(1 / (error * _CHANCE))
    if not size or _surprise(outside, share, size) <= least:
        return outside
    for _ in range(_STEPS):
        middle = (inside + outside) / 2
        within = _surprise(middle, share, size) <= least
        inside, outside = (middle, outside) if within else (inside, middle)
    return outside


def _surprise(count: float, share: float, size: int) -> float:
    """n KL(count / n ‖ share): so few or so many have at most a probability of exp of minus this."""
    p, q = count / size, share
    return size * (times(p, p) + times(1 - p, 1 - p) - times(p, q) - times(1 - p, 1 - q))
