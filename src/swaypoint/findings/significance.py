"""What may be said of many things that were tried: false discoveries, any error, halves of the records."""

from __future__ import annotations

import math

import numpy as np

_SEED = 1729
"""Not 0, by which people shuffle data, so that halves could be labels."""


def halves(n: int) -> np.ndarray:
    """A random half of ``n`` records, ``(n,)`` bool, always the same."""
    return np.asarray(np.random.default_rng(_SEED).permutation(n) % 2 == 0)


def holm(p: np.ndarray, level: float) -> np.ndarray:
    """Which of ``p`` (m,) are rejected with a probability of any error of at most ``level`` (Holm, 1979)."""
    order = np.argsort(p, kind="stable")
    passed = np.logical_and.accumulate(p[order] <= level / np.arange(len(p), 0, -1))
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[passed]] = True
    return rejected


def chi_squared(value: float, degrees: int) -> float:
    """P(chi squared with so many ``degrees`` of freedom exceeds ``value``), by its finite series.

    >>> round(chi_squared(3.841459, 1), 6)
    0.05
    """
    half, even = value / 2, degrees % 2 == 0
    term = math.exp(-half) if even else math.sqrt(half / math.pi) * math.exp(-half) * 2
    total = 0.0 if even else math.erfc(math.sqrt(half))
    for step in range(degrees // 2):
        total += term
        term *= half / (step + 1 if even else step + 1.5)
    return min(total, 1.0)


def benjamini_hochberg(p: np.ndarray, level: float) -> np.ndarray:
    """Which of ``p`` (m,) are rejected at this false discovery rate (Benjamini & Hochberg, 1995), bool."""
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= level * np.arange(1, len(p) + 1) / len(p))
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[: below[-1] + 1 if len(below) else 0]] = True
    return rejected
