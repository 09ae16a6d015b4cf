"""What may be said of many things that were tried: false discoveries, any error, halves of the records."""

from __future__ import annotations

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


def benjamini_hochberg(p: np.ndarray, level: float) -> np.ndarray:
    """Which of ``p`` (m,) are rejected at this false discovery rate (Benjamini & Hochberg, 1995), bool."""
    order = np.argsort(p, kind="stable")
    below = np.flatnonzero(p[order] <= level * np.arange(1, len(p) + 1) / len(p))
    rejected = np.zeros(len(p), dtype=bool)
    rejected[order[: below[-1] + 1 if len(below) else 0]] = True
    return rejected
