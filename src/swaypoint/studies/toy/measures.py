"""What is counted among the most influential points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Enrichment:
    """Share of wanted points in the top of a ranking (``top``) and among all points (``base``)."""

    top: float
    base: float

    @property
    def ratio(self) -> float:
        """How many times more of them than a random choice has; NaN where there is none at all."""
        return self.top / self.base if self.base else math.nan


def enrichment(values: np.ndarray, wanted: np.ndarray, share: float) -> Enrichment:
    """Of the ``wanted`` points (n,) bool among the ``share`` of largest ``values`` (n,), rounded up.

    >>> enrichment(np.array([4.0, 3.0, 2.0, 1.0]), np.array([True, False, False, True]), 0.25)
    Enrichment(top=1.0, base=0.5)
    """
    return Enrichment(float(wanted[first(values, share)].mean()), float(wanted.mean()))


def first(values: np.ndarray, share: float) -> np.ndarray:
    """Positions of the ``share`` of largest ``values``, the largest first; at least one."""
    # Less than a rounding error: 0.05 x 1600 is 80, not 81.
    count = max(1, math.ceil(share * len(values) - 1e-9))
    return np.argsort(-values, kind="stable")[:count]


def among_first(values: np.ndarray, share: float) -> np.ndarray:
    """Whether each point belongs to the ``share`` of largest ``values``, (n,) bool.

    >>> among_first(np.array([1.0, 3.0, 2.0]), 0.5)
    array([False,  True,  True])
    """
    chosen = np.zeros(len(values), dtype=bool)
    chosen[first(values, share)] = True
    return chosen


def rank_of(values: np.ndarray, position: int) -> int:
    """Of one point by decreasing ``values``; 1 is the largest, equal ones in dataset order."""
    return int(np.flatnonzero(np.argsort(-values, kind="stable") == position)[0]) + 1
