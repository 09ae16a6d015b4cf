"""How many of a set's points are wrong, from those drawn at random and judged so far: valid at any moment.

People look after every verdict. An interval for a number of draws that was fixed beforehand, looked at each
time, misses far more often than it says; a confidence sequence holds at all moments together.
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma, log
from typing import Final

import numpy as np

CONFIDENCE = 0.95
LOWER, UPPER = 0.01, 0.04
"""How often either end may miss: together 1 - :data:`CONFIDENCE`. One stops by the upper end."""
UNSEEN, RIGHT, WRONG, UNDECIDED = range(4)
"""What is known of a point."""
EDGES: Final = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
"""Shares of the ranking beyond which a count of its own is kept, see :func:`bounds`."""
WHOLE = 0.75
"""Share of the error that the count of everything takes; the rest goes to those beyond the edges."""
_PRIOR = (0.5, 10.0)
"""Of a share of wrong points, Beta: any prior is valid, this one is narrow where few are wrong."""


def bounds(
    states: np.ndarray, places: np.ndarray, dealt: np.ndarray, *, share: float = 1.0
) -> tuple[int, int]:
    """How many points of a set are wrong, at least and at most, from a part of it in random order and from
    whatever else is known of it.

    Every point that is judged is known, by whatever way it came: at least the wrong ones are wrong, at most
    all but the right ones. Of the others those that were dealt at random tell, by :func:`count_interval`. Who
    goes on with the ranking after the draw takes out its wrong points: then the same count of what lies
    beyond some place of the ranking says more than that of everything. So there is one for each of
    :data:`EDGES`, all of them hold together (a union bound), and the best one is taken.

    Args:
        states: :data:`UNSEEN`, :data:`RIGHT`, :data:`WRONG` or :data:`UNDECIDED` of each point, ``(n,)``. The
            undecided count for right in the lower bound and for wrong in the upper.
        places: of each point in the ranking of those that were dealt from, as a share of them, in [0, 1);
            negative of those that were not, but judged before, ``(n,)``.
        dealt: indices of the points that were dealt and judged, a first part of the random order, ``(t,)``.
        share: of the error, as in :func:`count_interval`.

    >>> states = np.array([WRONG, RIGHT, RIGHT, UNSEEN])
    >>> bounds(states, np.arange(4) / 4, np.arange(3))
    (1, 2)
    """
    least, most = [], []
    for edge in EDGES:
        part = WHOLE if edge == 0 else (1 - WHOLE) / (len(EDGES) - 1)
        beyond = places >= edge
        tail, head = states[beyond], states[~beyond]
        seen = states[dealt[beyond[dealt]]]
        low, high = count_interval(
            number(seen, WRONG), len(seen), len(tail), undecided=number(seen, UNDECIDED), share=share * part
        )
        least.append(number(head, WRONG) + min(low, len(tail) - number(tail, RIGHT, UNDECIDED)))
        most.append(number(head, WRONG, UNDECIDED, UNSEEN) + max(high, number(tail, WRONG, UNDECIDED)))
    known = number(states, WRONG), len(states) - number(states, RIGHT)
    low, high = max(*least, known[0]), min(*most, known[1])
    return (low, high) if low <= high else known  # else one has missed; what is known holds


def number(states: np.ndarray, *of: int) -> int:
    """How many of ``states`` are one of these."""
    return sum(int(np.count_nonzero(states == state)) for state in of)


def count_interval(
    wrong: int, seen: int, size: int, *, undecided: int = 0, share: float = 1.0
) -> tuple[int, int]:
    """How many of ``size`` points are wrong, at least and at most, after ``seen`` of them were drawn without
    replacement, in random order.

    With a probability of :data:`CONFIDENCE` every interval along the way holds the true number, whenever one
    looks or stops. The counts k kept are those whose likelihood C(N − t, k − s) / C(N, k) is more than
    :data:`LOWER` (of the lower end; the upper: :data:`UPPER`) times its mean over a beta-binomial prior
    (Waudby-Smith & Ramdas, "Confidence sequences for sampling without replacement", 2020, Theorem 2.1: the
    prior-posterior ratio is a martingale; Ville's inequality). It is exact: no normal approximation, no
    sampling with replacement.

    Args:
        wrong: of ``seen``, surely.
        undecided: of ``seen``, on which nothing was decided: taken for right in the lower bound and for wrong
            in the upper one.
        share: of the error that this interval may take, where several are to hold together.

    >>> count_interval(0, 300, 10_000), count_interval(3, 300, 300)
    ((0, 161), (3, 3))
    """
    low, _ = _interval(wrong, seen, size, share * LOWER)
    _, high = _interval(wrong + undecided, seen, size, share * UPPER)
    return low, high


def _interval(wrong: int, seen: int, size: int, error: float) -> tuple[int, int]:
    right = seen - wrong
    a, b = _PRIOR
    least = log(error) + beta(a + wrong, b + right) - beta(a, b)

    def kept(count: int) -> bool:
        return _choose(size - seen, count - wrong) - _choose(size, count) > least

    # The likelihood has one peak, and that is above its mean.
    peak = min(max((size + 1) * wrong // max(seen, 1), wrong), size - right)
    low = first(wrong, peak, kept)
    return low, size - right - first(0, size - right - peak, lambda less: kept(size - right - less))


def first(start: int, end: int, holds: Callable[[int], bool]) -> int:
    """The first number of ``start … end`` that ``holds``; from it on all do, ``end`` among them."""
    while start < end:
        middle = (start + end) // 2
        start, end = (start, middle) if holds(middle) else (middle + 1, end)
    return end


def _choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def beta(a: float, b: float) -> float:
    """Log of the beta function."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)
