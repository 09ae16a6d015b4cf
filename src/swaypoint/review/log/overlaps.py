"""How often reviewers err, by the points that two or more of them decided, each by themselves.

The truth of such a point is not known, but who errs now and then, and not where the others do, differs from
them about as often. Given the truth, errors are taken to be independent of each other, and nobody to say
wrong of a right point more often than of a wrong one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from swaypoint.review.log.rates import PRIOR
from swaypoint.review.log.verdicts import WRONG, Review

_ROUNDS, _SETTLED = 20_000, 1e-10


@dataclass(frozen=True)
class Overlap:
    """One reviewer's decisions on points that others decided as well.

    Attributes:
        points: of these.
        right, wrong: points that most of the others call right, and wrong; where as many say one as the other
            there is nothing to hold against. ``alarms``, ``misses``: of these, those on which they said the
            other.
        alarm_rate, miss_rate: how often they err, as :func:`fitted` has it.
    """

    reviewer: str
    points: int
    right: int
    alarms: int
    wrong: int
    misses: int
    alarm_rate: float
    miss_rate: float


def overlaps(review: Review, known: Collection[str] = ()) -> tuple[Overlap, ...]:
    """By reviewer, of those with any. What settles a conflict is said with the others' verdicts before one's
    eyes, so it counts for nothing here, and neither does a skip.

    Args:
        known: points whose label is known; they count for nothing here either.
    """
    settled = {(event.actor, event.item): event.resolves for event in review.events}
    counted: Counter[tuple[tuple[str, bool], ...]] = Counter()
    for item in review.reviewed():
        said = {} if item in known else review.all_on(item)
        row = [(who, d.verdict in WRONG) for who, d in said.items() if d.final and not settled[who, item]]
        if len(row) > 1:
            counted[tuple(sorted(row))] += 1
    rows = sorted(counted.items())
    reviewers = sorted({who for said_so, _ in rows for who, _ in said_so})
    says = np.full((len(rows), len(reviewers)), -1, dtype=np.int8)
    for number, (said_so, _) in enumerate(rows):
        for who, wrong in said_so:
            says[number, reviewers.index(who)] = wrong
    return overlapping(tuple(reviewers), says, np.array([points for _, points in rows]))


def overlapping(reviewers: tuple[str, ...], says: np.ndarray, times: np.ndarray) -> tuple[Overlap, ...]:
    """Of ``times`` points ``(p,)`` each on which the reviewers said so ``(p, R)``: 1 wrong, 0 right, -1
    nothing."""
    if not len(times):
        return ()
    alarm_rates, miss_rates = fitted(says, times)
    wrong, right = ((says == word).sum(1, keepdims=True) for word in (1, 0))
    most = np.sign((wrong - (says == 1)) - (right - (says == 0)))  # of the others
    found = []
    for column, who in enumerate(reviewers):
        own = says[:, column]
        of = [int(times[(own >= 0) & (most[:, column] == side)].sum()) for side in (-1, 1)]
        err = [int(times[(own == say) & (most[:, column] == side)].sum()) for say, side in ((1, -1), (0, 1))]
        points = int(times[own >= 0].sum())
        rates = float(alarm_rates[column]), float(miss_rates[column])
        found.append(Overlap(who, points, of[0], err[0], of[1], err[1], *rates))
    return tuple(found)


def fitted(says: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often each reviewer takes a right point for wrong, and a wrong one for right, ``(R,)`` each.

    The most probable rates under Beta(1.5, 3), that is as if :data:`~.rates.PRIOR` errors and others had been
    seen before: Dawid & Skene, "Maximum likelihood estimation of observer error-rates using the EM algorithm"
    (1979), with two classes. The share of wrong points is one for all points that the same reviewers decided,
    smoothed alike. It begins with what most say, and so is always the same.

    Args:
        says, times: as in :func:`overlapping`.
    """
    few, many = PRIOR
    wrong, right = (says == 1).astype(float), (says == 0).astype(float)
    group = np.unique(says >= 0, axis=0, return_inverse=True)[1].reshape(-1)
    q, before = wrong.sum(1) / (wrong + right).sum(1), -np.inf
    for _ in range(_ROUNDS):
        is_wrong, is_right = times * q, times * (1 - q)
        misses = (is_wrong @ right + few) / (is_wrong @ (wrong + right) + few + many)
        alarms = (is_right @ wrong + few) / (is_right @ (wrong + right) + few + many)
        share = (np.bincount(group, is_wrong) + few) / (np.bincount(group, times) + few + many)
        of_wrong = np.log(share)[group] + wrong @ np.log1p(-misses) + right @ np.log(misses)
        of_right = np.log1p(-share)[group] + wrong @ np.log(alarms) + right @ np.log1p(-alarms)
        either = np.logaddexp(of_wrong, of_right)
        q = np.exp(of_wrong - either)
        rates = np.concatenate([misses, alarms, share])
        now = float(times @ either + few * np.log(rates).sum() + many * np.log1p(-rates).sum())
        if now - before < _SETTLED:
            break
        before = now
    return alarms, misses
