"""How far two rankings of the same points agree, and one ranking out of several (Basu et al., 2021: an
influence depends on the trained model, so ask more than one)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from swaypoint.data.top import top_of
from swaypoint.errors import InputError

_TOP = 0.01


def ranks(scores: np.ndarray) -> np.ndarray:
    """From 0 for the smallest to n - 1, equal scores sharing their mean rank, ``(n,)`` float64.

    >>> ranks(np.array([0.3, 0.1, 0.3])).tolist()
    [1.5, 0.0, 1.5]
    """
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - 0.5 * (counts + 1))[inverse]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation; NaN where one of them is constant."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def overlap(a: np.ndarray, b: np.ndarray, top: int) -> float:
    """Share of the ``top`` points of one ranking that are in the top of the other.

    >>> overlap(np.array([3.0, 2.0, 1.0]), np.array([3.0, 1.0, 2.0]), 2)
    0.5
    """
    first, second = (top_of(scores, top) for scores in (a, b))
    return len(np.intersect1d(first, second)) / top


@dataclass(frozen=True)
class Agreement:
    """Of every two of several rankings: rank correlation, and overlap of the top 1 %; mean and least."""

    spearman: float
    least_spearman: float
    overlap: float
    least_overlap: float


def agreement(scores: Sequence[np.ndarray]) -> Agreement:
    """Of two or more rankings' scores, each ``(n,)``.

    Raises:
        InputError: fewer than two.
    """
    if len(scores) < 2:
        raise InputError(f"{len(scores)} ranking; agreement is between two or more")
    top = max(1, round(_TOP * len(scores[0])))
    pairs = list(combinations(scores, 2))
    correlations = [spearman(a, b) for a, b in pairs]
    overlaps = [overlap(a, b, top) for a, b in pairs]
    return Agreement(float(np.mean(correlations)), min(correlations), float(np.mean(overlaps)), min(overlaps))


def combine(scores: Sequence[np.ndarray], how: Literal["log", "rank"] = "log") -> np.ndarray:
    """One score out of those of several models: their mean logarithm (of scores that are positive, such as
    Cook's distances and losses), or their mean rank, ``(n,)`` float64.

    >>> combine([np.array([1.0, 4.0]), np.array([4.0, 1.0])]).tolist() == [np.log(4) / 2] * 2
    True
    """
    if how == "rank":
        return np.mean([ranks(one) for one in scores], axis=0)
    tiny = np.finfo(np.float64).tiny  # a score of 0 is the least there is
    return np.mean([np.log(np.maximum(one, tiny)) for one in scores], axis=0)
