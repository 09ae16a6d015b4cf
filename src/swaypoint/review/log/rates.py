"""A probability from how often something happened: bounds that hold at any moment."""

from __future__ import annotations

from math import inf, log

from swaypoint.review.log.counting import beta

PRIOR = (0.5, 2.0)
"""Of a rate, Beta: any prior is valid, this one is narrow where errors are rare."""
_STEPS = 60


def share_interval(found: int, of: int, error: float) -> tuple[float, float]:
    """Of a probability, after ``found`` of ``of`` trials: each end misses it at some moment in a share of at
    most ``error`` of all reviews. The prior-posterior ratio of :mod:`.counting`, with replacement.

    >>> [round(end, 3) for end in share_interval(2, 100, 0.025)]
    [0.001, 0.103]
    """
    kept = log(error) + mixture(found, of - found)

    def holds(share: float) -> bool:
        return likelihood(found, of, share) > kept

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


def likelihood(found: float, of: float, share: float) -> float:
    """Its log."""
    return times(found, share) + times(of - found, 1 - share)


def times(count: float, share: float) -> float:
    """``count`` times the log of ``share``, 0 where there are none."""
    return 0.0 if count == 0 else count * log(share) if share > 0 else -inf


def mixture(found: float, others: float) -> float:
    """Log of the mean likelihood over :data:`PRIOR`, of so many of a kind and so many others."""
    a, b = PRIOR
    return beta(a + found, b + others) - beta(a, b)
