"""The nearest points in feature space, of one point or of many at once; numpy alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_ROWS = 10_000
_DISTANCES = 1 << 26
_QUERIES = 1024
_GATHERED = 1 << 22
_SPARE = 64
_GROUP = 64


@dataclass(frozen=True)
class Neighbours:
    """The nearest other points of some points, in feature space.

    ``index`` (q, k) int64 rows of the reference; ``distance`` (q,) float64 mean distance as a
    multiple of the median over the reference sample; ``agreement`` (q,) float64 share of the
    neighbours that carry the same label.
    """

    index: np.ndarray
    distance: np.ndarray
    agreement: np.ndarray


def neighbours(
    features: Any, labels: np.ndarray, queries: np.ndarray, *, k: int = 10, reference: int = 50_000
) -> Neighbours:
    """Nearest neighbours of the rows ``queries``, in the :class:`Space` of those they are sought among.

    Args:
        features: ``(n, D)``, an array or a tensor.
        labels: ``(n,)``.
        queries: rows to explain, ``(q,)``.
        reference: neighbours are sought among at most this many rows, evenly spaced.
    """
    points = np.asarray(features, dtype=np.float32)
    step = max(1, -(-len(points) // reference))
    space = Space(points[::step])
    sample = np.arange(0, len(points), max(1, len(points) // 1000))
    rows = np.concatenate([queries, sample])
    itself = np.where(rows % step == 0, rows // step, -1)
    nearest, distances = space.nearest(points[rows], min(k, len(space.points) - 1), itself=itself)
    distance, index = distances.mean(1), step * nearest[: len(queries)]
    typical = max(float(np.median(distance[len(queries) :])), 1e-12)
    agreement = (labels[index] == labels[queries, None]).mean(1)
    return Neighbours(index, distance[: len(queries)] / typical, agreement)


@dataclass(frozen=True, eq=False)
class Space:
    """Points ``(n, D)`` float32, which may be memory-mapped, each feature measured in units of its standard
    deviation over them; one that is the same of all counts for nothing. Distances are Euclidean."""

    points: np.ndarray

    @cached_property
    def centre(self) -> np.ndarray:
        """Mean of each feature, ``(D,)`` float64; not finite where one of its values is not."""
        with np.errstate(invalid="ignore", over="ignore"):
            return self.points.mean(0, dtype=np.float64)

    @cached_property
    def spread(self) -> np.ndarray:
        """Standard deviation of each feature, ``(D,)`` float64; infinite where all its values are one."""
        total = np.zeros_like(self.centre)
        for rows in self._chunks():
            total += np.square(self.points[rows] - self.centre).sum(0)
        # The mean of equal values is not always theirs to the last digit, nor is their deviation then 0.
        varies = self.points.min(0) < self.points.max(0)
        return np.where(varies, np.sqrt(total / len(self.points)), np.inf)

    @cached_property
    def _squares(self) -> np.ndarray:
        """Squared length of each point from the centre, ``(n,)`` float32."""
        squares = np.empty(len(self.points), dtype=np.float32)
        for rows in self._chunks():
            squares[rows] = np.square((self.points[rows] - self.centre) / self.spread).sum(1)
        return squares

    def _chunks(self) -> Iterator[slice]:
        return (slice(start, start + _ROWS) for start in range(0, len(self.points), _ROWS))

    def squared(self, queries: np.ndarray) -> np.ndarray:
        """Squared distances of ``queries`` (q, D) to all points, ``(q, n)`` float32, to its accuracy: near
        points lose what they differ by in the expanded square."""
        away = (queries - self.centre) / self.spread
        weights = (away / self.spread).astype(np.float32)
        constant = np.square(away).sum(1) + 2.0 * weights @ self.centre
        distances = weights @ self.points.T
        distances *= -2.0
        distances += self._squares
        distances += constant.astype(np.float32)[:, None]
        return distances

    def nearest(self, queries: np.ndarray, k: int, *, itself: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest other points of ``queries`` (q, D), the nearest first.

        Args:
            k: less than n.
            itself: ``(q,)`` the point that a query is, which is no neighbour of it; -1: none.

        Returns:
            Rows of :attr:`points` ``(q, k)`` int64, and distances ``(q, k)`` float64.
        """
        size = min(_QUERIES, max(1, _DISTANCES // len(self.points)))
        blocks = [slice(start, start + size) for start in range(0, max(1, len(queries)), size)]
        found = [self._nearest(queries[block], k, itself[block]) for block in blocks]
        index, distances = zip(*found, strict=True)
        return np.concatenate(index), np.concatenate(distances)

    def _nearest(self, queries: np.ndarray, k: int, itself: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rough = self.squared(queries)
        known = np.flatnonzero(itself >= 0)
        rough[known, itself[known]] = np.inf
        # A few spare ones are measured again as they should be, in float64 and not by expanded squares.
        near = np.sort(smallest(rough, min(k + _SPARE, len(self.points))), axis=1)
        exact = self.measured(queries, near)
        exact[near == itself[:, None]] = np.inf
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(near, order, 1), np.take_along_axis(exact, order, 1)

    def measured(self, queries: np.ndarray, near: np.ndarray) -> np.ndarray:
        """Distances of ``queries`` (q, D) to the points ``near`` (q, m), ``(q, m)`` float64."""
        exact = np.empty(near.shape)
        size = max(1, _GATHERED // max(1, near.shape[1] * queries.shape[1]))
        for start in range(0, len(queries), size):
            rows = slice(start, start + size)
            apart = (self.points[near[rows]].astype(np.float64) - queries[rows, None]) / self.spread
            exact[rows] = np.sqrt(np.einsum("qmd,qmd->qm", apart, apart))
        return exact


def smallest(values: np.ndarray, m: int) -> np.ndarray:
    """Columns of the ``m`` smallest of each row of ``values`` (q, n), ``(q, m)`` int64 in any order.

    They lie in the ``m`` groups of columns with the smallest minima; minima take a tenth of a partition's
    time.
    """
    q, n = values.shape
    groups = n // _GROUP
    if groups <= m:
        return np.argpartition(values, min(m, n) - 1, axis=1)[:, :m]
    whole = groups * _GROUP
    minima = values[:, :whole].reshape(q, _GROUP, groups).min(1)
    best = np.argpartition(minima, m - 1, axis=1)[:, :m]
    inside = (best[:, None, :] + groups * np.arange(_GROUP)[:, None]).reshape(q, -1)
    rest = np.broadcast_to(np.arange(whole, n), (q, n - whole))
    columns = np.concatenate([inside, rest], axis=1)
    chosen = np.argpartition(np.take_along_axis(values, columns, 1), m - 1, axis=1)[:, :m]
    return np.take_along_axis(columns, chosen, 1)
