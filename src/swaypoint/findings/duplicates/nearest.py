"""Pairs that are nearer than chance explains: the rule by which near copies of any kind of data are told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swaypoint.data.neighbours import Space
from swaypoint.findings.significance import benjamini_hochberg

NEIGHBOURS = 16
"""The distance to this neighbour is the scale that a pair is measured by."""
FALSE = 0.01
"""Share of false ones among the records that are said to have a near copy (Benjamini and Hochberg, 1995)."""
ROUNDED = 0.01
"""Share of a column's standard deviation, or of how far they lie from its mean, up to which two values of a
table are one, rounded otherwise."""
_DENSE = 0.05
_ROWS = 16_384


@dataclass(frozen=True)
class Rule:
    """When two records are near copies.

    Attributes:
        dimension: of the data at the scale of the nearest neighbours.
        p: a pair is near when chance would bring a neighbour as close with at most this probability; 0: no
            pair is.
    """

    dimension: float
    p: float


def chance(ratio: np.ndarray, dimension: float, k: int) -> np.ndarray:
    """Probability that the nearest of k neighbours is at most ``ratio`` of the distance to the k-th.

    Among points of even density in m dimensions, (r_1 / r_k)^m is the smallest of k - 1 uniform numbers, as
    volumes to the k - 1 neighbours within r_k are independent: 1 - (1 - ratio^m)^(k - 1). For k = 2 this is
    Facco et al. (2017), Eq. 3.

    >>> chance(np.array([0.5]), 2.0, 2).round(6).tolist()
    [0.25]
    """
    volume = np.clip(ratio, 0.0, 1.0) ** dimension
    return -np.expm1((k - 1) * np.log1p(-np.minimum(volume, 1 - 1e-15)))


def near_pairs(index: np.ndarray, distance: np.ndarray) -> tuple[np.ndarray, Rule]:
    """Pairs of records that are nearer than chance explains, given everyone's nearest neighbours.

    The scale of a record is the distance to its 16th neighbour, or the smallest twentieth of these distances
    where that is more, as in a group of more than 16 copies it is. The dimension is the one by which the
    median ratio of nearest distance to scale is the median of :func:`chance`; it is met by up to a third of
    records with copies. A record has a near copy when that probability is small enough for the share of false
    ones to be at most :data:`FALSE`, by Benjamini and Hochberg's procedure over all records; and a pair is
    one when it is as near by the smaller of its two scales.

    Args:
        index: ``(n, k)`` int64, the nearest other records of each; -1: none.
        distance: ``(n, k)`` to them; infinite: none.

    Returns:
        Pairs ``(p, 2)`` int64, each once, the smaller first, and the rule.
    """
    nothing = np.empty((0, 2), dtype=np.int64)
    k = min(NEIGHBOURS, distance.shape[1])
    if k < 2 or not len(distance):
        return nothing, Rule(0.0, 0.0)
    order = np.argsort(distance, axis=1, kind="stable")
    ordered = np.take_along_axis(distance, order, 1)
    scale = ordered[:, k - 1]
    if not (known := np.isfinite(scale)).any():
        return nothing, Rule(0.0, 0.0)
    scale = np.maximum(scale, np.quantile(scale[known], _DENSE))
    ratio = np.divide(ordered[:, 0], scale, out=np.ones(len(scale)), where=known & (scale > 0))
    typical = float(np.median(ratio[known]))
    if not 0.0 < typical < 1.0:  # of most records there are copies, or all are equally far from each other
        return nothing, Rule(0.0, 0.0)
    dimension = float(np.log(-np.expm1(np.log(0.5) / (k - 1))) / np.log(typical))
    p = chance(ratio, dimension, k)
    near = p[benjamini_hochberg(p, FALSE)]
    rule = Rule(dimension, float(near.max(initial=0.0)))
    if not len(near):
        return nothing, rule
    rows, columns = np.nonzero((index >= 0) & np.isfinite(distance))
    other = index[rows, columns]
    smaller = np.minimum(scale[rows], scale[other])
    ratios = np.divide(distance[rows, columns], smaller, out=np.ones(len(rows)), where=smaller > 0)
    chosen = chance(ratios, dimension, k) <= rule.p
    return once(np.stack([rows[chosen], other[chosen]], axis=1)), rule


def once(pairs: np.ndarray) -> np.ndarray:
    """``pairs`` (p, 2) without order and repetition, int64."""
    return np.unique(np.sort(pairs.astype(np.int64), axis=1), axis=0).reshape(-1, 2)


def near_rows(values: np.ndarray, *, tolerance: bool) -> np.ndarray:
    """Pairs of rows that are near copies, ``(p, 2)`` int64: nearer than chance explains; and of a table, with
    ``tolerance``, different in every column by at most :data:`ROUNDED` of its deviation, or of both values'
    own distance from its mean where that is more, as what was rounded or entered twice is: three digits of
    15,841 are 15,800, in a column whose deviation is 670. Rows of a table that agree but for one column are
    no copies: two customers may be.

    Args:
        values: ``(n, D)`` float32, all different.
    """
    chunks = (values[start : start + _ROWS] for start in range(0, len(values), _ROWS))
    if len(values) < 3 or not all(np.isfinite(chunk).all() for chunk in chunks):
        return np.empty((0, 2), dtype=np.int64)
    space = Space(values)
    pairs, _ = near_pairs(*space.others(min(NEIGHBOURS, len(values) - 1)))
    if not tolerance:
        return pairs
    one, other = (values[column] - space.centre for column in pairs.T)
    unit = np.maximum(space.spread, np.minimum(np.abs(one), np.abs(other)))
    return pairs[(np.abs(one - other) <= ROUNDED * unit).all(1)]
