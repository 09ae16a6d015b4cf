"""How many of a set's points are wrong, from those drawn at random and judged so far: valid at any moment.

People look after every verdict. An interval for a number of draws that was fixed beforehand, looked at each
time, misses far more often than it says; a confidence sequence holds at all moments together.
"""

from __future__ import annotations

from collections.abc import Callable
from math import lgamma, log

CONFIDENCE = 0.95
_PRIOR = (0.5, 10.0)
"""Of a share of wrong points, Beta: any prior is valid, this one is narrow where few are wrong."""


def count_interval(
    wrong: int, seen: int, size: int, confidence: float = CONFIDENCE, *, undecided: int = 0
) -> tuple[int, int]:
    """How many of ``size`` points are wrong, at least and at most, after ``seen`` of them were drawn without
    replacement, in random order.

    With a probability of ``confidence`` every interval along the way holds the true number, whenever one
    looks or stops. The counts k kept are those whose likelihood C(N − t, k − s) / C(N, k) is more than
    1 − ``confidence`` times its mean over a beta-binomial prior (Waudby-Smith & Ramdas, "Confidence sequences
    for sampling without replacement", 2020, Theorem 2.1: the prior-posterior ratio is a martingale; Ville's
    inequality). It is exact: no normal approximation, no sampling with replacement.

    Args:
        wrong: of ``seen``, surely.
        undecided: of ``seen``, on which nothing was decided: taken for right in the lower bound and for wrong
            in the upper one, at half of the error each.

    >>> count_interval(0, 300, 10_000), count_interval(3, 300, 300)
    ((0, 153), (3, 3))
    """
    if not undecided:
        return _interval(wrong, seen, size, 1 - confidence)
    low, _ = _interval(wrong, seen, size, (1 - confidence) / 2)
    _, high = _interval(wrong + undecided, seen, size, (1 - confidence) / 2)
    return low, high


def _interval(wrong: int, seen: int, size: int, error: float) -> tuple[int, int]:
    right = seen - wrong
    a, b = _PRIOR
    least = log(error) + _beta(a + wrong, b + right) - _beta(a, b)

    def kept(count: int) -> bool:
        return _choose(size - seen, count - wrong) - _choose(size, count) > least

    # The likelihood has one peak, and that is above its mean.
    peak = min(max((size + 1) * wrong // max(seen, 1), wrong), size - right)
    low = _first(wrong, peak, kept)
    return low, size - right - _first(0, size - right - peak, lambda less: kept(size - right - less))


def _first(start: int, end: int, holds: Callable[[int], bool]) -> int:
    """The first number of ``start … end`` that ``holds``; from it on all do, ``end`` among them."""
    while start < end:
        middle = (start + end) // 2
        start, end = (start, middle) if holds(middle) else (middle + 1, end)
    return end


def _choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def _beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)
