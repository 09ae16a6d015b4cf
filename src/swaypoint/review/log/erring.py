"""Reviewers err: how often, by points whose label is known, and how many are wrong in spite of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log

from swaypoint.review.log.counting import LOWER, UPPER, beta, first
from swaypoint.review.log.verdicts import WRONG, Review

VERDICTS_SHARE = 0.5
"""Of the error, for how many points the reviewers would take for wrong; the rest goes to their own errors."""
_RATE, _CHANCE, _FALSE = 0.125, 0.03125, 0.0625
# Of an end of a rate, of which three count; of chance in misses and in alarms; of alarms among the judged.
_PRIOR = (0.5, 2.0)
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


def overlapping(review: Review) -> tuple[Checked, ...]:
    """As :func:`checked`, by the points that others decided on as well, held against what most of these say.

    Others err too, often alike, so this tells who stands apart and nothing of how many are wrong: no count is
    corrected by it. Where as many say one as the other there is nothing to hold against.
    """
    found: dict[str, list[int]] = {}
    for item in review.reviewed():
        says = {actor: d.verdict in WRONG for actor, d in review.all_on(item).items() if d.final}
        for actor, own in says.items():
            others = [say for other, say in says.items() if other != actor]
            if 2 * sum(others) != len(others):
                wrong = 2 * sum(others) > len(others)
                counts = found.setdefault(actor, [0, 0, 0, 0])
                counts[2 * wrong] += 1
                counts[2 * wrong + 1] += own != wrong
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
    low: int, high: int, points: int, *, judged: int, found: int, reviewers: Sequence[Checked]
) -> Corrected:
    """From how many the reviewers would take for wrong to how many are.

    A right point is taken for wrong with probability a, a wrong one for right with probability m, each by
    itself; then of ``points`` about K (1 - m) + (N - K) a are taken for wrong where K are (Rogan & Gladen,
    "Estimating prevalence from the results of a screening test", 1978). The K kept are those for which some
    rates in their intervals, and chance in either kind of error (Chernoff's bound), allow a number from
    ``low`` to ``high``. Every part takes its share of the error (a union bound), so that the result holds as
    often, and at every moment, too. Of several reviewers the rates lie between the best and the worst.

    Args:
        low, high: bounds of the number that the reviewers would take for wrong, had they judged all, at the
            share :data:`VERDICTS_SHARE` of the error.
        judged: points with a decision; ``found``: taken for wrong.
        reviewers: at least one.
    """
    most, least = _Rates.of(reviewers, UPPER), _Rates.of(reviewers, LOWER)

    def too_many(k: int) -> bool:
        missed, alarms = (
            _quantile(k, most.misses[1], 1, UPPER),
            _quantile(points - k, most.alarms[0], 0, UPPER),
        )
        return k - missed + alarms > high

    def enough(k: int) -> bool:
        missed, alarms = (
            _quantile(k, least.misses[0], 0, LOWER),
            _quantile(points - k, least.alarms[1], 1, LOWER),
        )
        return k - missed + alarms >= low

    top, bottom = points, 0
    if most.misses[1] + most.alarms[0] < 1:
        top = max(first(0, points + 1, lambda k: k > points or too_many(k)) - 1, 0)
    if least.misses[0] + least.alarms[1] < 1:
        bottom = first(0, points, enough)
    if bottom > top:  # one of the parts has missed
        bottom, top = 0, points
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
    """Of all reviewers together, each at least and at most."""

    alarms: tuple[float, float]
    misses: tuple[float, float]

    @classmethod
    def of(cls, reviewers: Sequence[Checked], error: float) -> _Rates:
        each = error * _RATE / len(reviewers)
        alarms = [share_interval(one.alarms, one.right, each) for one in reviewers]
        misses = [share_interval(one.misses, one.wrong, each) for one in reviewers]
        return cls(
            *((min(low for low, _ in spans), max(high for _, high in spans)) for spans in (alarms, misses))
        )


def share_interval(found: int, of: int, error: float) -> tuple[float, float]:
    """Of a probability, after ``found`` of ``of`` trials: each end misses it at some moment in a share of at
    most ``error`` of all reviews. The prior-posterior ratio of :mod:`.counting`, with replacement.

    >>> [round(end, 3) for end in share_interval(2, 100, 0.025)]
    [0.001, 0.103]
    """
    kept = log(error) + _mixture(found, of)

    def holds(share: float) -> bool:
        return _likelihood(found, of, share) > kept

    peak = found / of if of else 0.5
    ends = []
    for end in (0.0, 1.0):
        inside, outside = peak, end
        if not of or holds(end):
            ends.append(end)
            continue
        for _ in range(_STEPS):
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if holds(middle) else (inside, middle)
        ends.append(outside)
    return ends[0], ends[1]


def _most(trials: int, share: float, error: float) -> int:
    """So many of ``trials`` at most, each with a probability of ``share``, at whatever moment one looks."""
    if share >= 1:
        return trials
    start = int(trials * share)
    return first(
        start,
        trials,
        lambda count: _likelihood(count + 1, trials, share) <= log(error) + _mixture(count + 1, trials),
    )


def _likelihood(found: int, of: int, share: float) -> float:
    return _times(found, share) + _times(of - found, 1 - share)


def _times(count: float, share: float) -> float:
    return 0.0 if count == 0 else count * log(share) if share > 0 else -inf


def _mixture(found: int, of: int) -> float:
    """Log of the mean likelihood over the prior."""
    a, b = _PRIOR
    return beta(a + found, b + of - found) - beta(a, b)


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
    return size * (_times(p, p) + _times(1 - p, 1 - p) - _times(p, q) - _times(1 - p, 1 - q))
