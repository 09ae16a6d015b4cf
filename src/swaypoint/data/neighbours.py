"""The nearest points in feature space, of one point or of many at once; numpy alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

EXACT = 10_000
"""Up to so many points the nearest others of all are sought among all, beyond that among cells."""
_ROWS = 10_000
_DISTANCES = 1 << 26
_QUERIES = 1024
_GATHERED = 1 << 22
_SPARE = 64
_GROUP = 64
_VISITED = 24
"""Cells in which a point's neighbours are sought: of the 16 nearest of real features 9,998 in 10,000 are
there, with 16 cells 9,991."""
_FITTED, _STEPS = 64, 8
"""Points a cell that the cells are fitted to, and steps of Lloyd's algorithm."""
_BLOCK, _SEEN = 1 << 15, 1 << 24


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
        found = [
            self.refined(queries[block], self.squared(queries[block]), k, itself[block]) for block in blocks
        ]
        index, distances = zip(*found, strict=True)
        return np.concatenate(index), np.concatenate(distances)

    def others(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest other points of every point, the nearest first: of more than :data:`EXACT`
        those that :func:`among_cells` finds, measured again.

        Args:
            k: less than n.

        Returns:
            Rows ``(n, k)`` int64, -1: none, and distances ``(n, k)`` float64, infinite where there is none.
        """
        if len(self.points) <= EXACT:
            return self.nearest(self.points, k, itself=np.arange(len(self.points)))
        found = among_cells(self.points, k, spread=self.spread)
        distances = np.empty(found.shape)
        for rows in self._chunks():
            measured = np.where(found[rows] < 0, np.inf, self.measured(self.points[rows], found[rows]))
            order = np.argsort(measured, axis=1, kind="stable")
            found[rows] = np.take_along_axis(found[rows], order, 1)
            distances[rows] = np.take_along_axis(measured, order, 1)
        return found, distances

    def refined(
        self, queries: np.ndarray, rough: np.ndarray, k: int, itself: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As :meth:`nearest`; ``rough`` is what :meth:`squared` says of the queries, and is overwritten."""
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


def among_cells(
    points: np.ndarray,
    k: int,
    *,
    spread: np.ndarray | float = 1.0,
    turns: Sequence[np.ndarray | float] = (1.0,),
) -> np.ndarray:
    """The ``k`` nearest others of each of ``points`` (n, D), in units of ``spread``, as far as they lie near
    it: the points are parted into sqrt(n) cells by k-means, and the neighbours of a point are sought in the
    24 cells whose means are nearest to it (an inverted file; Sivic and Zisserman, 2003). The same each time.

    O(n^1.5 D), by matrix products; beside ``points``, which may be memory-mapped, it holds some k numbers a
    point.

    Args:
        spread: ``(D,)``.
        turns: each ``(D,)``; a point is at the distance that is the least once it is multiplied by one of
            them.

    Returns:
        Rows ``(n, k)`` int64 in any order; -1 where fewer were found.
    """
    cells, found = _Cells.of(points, spread), np.full((len(points), k), -1)
    for start in range(0, len(points), _BLOCK):
        rows = cells.order[start : start + _BLOCK]
        seen = [cells.nearest(rows, turn, k) for turn in turns]
        index, squared = (np.concatenate(parts, axis=1) for parts in zip(*seen, strict=True))
        if len(turns) > 1:  # what is found from two sides counts once, the nearer time
            order = np.lexsort((squared, index), axis=1)
            index, squared = np.take_along_axis(index, order, 1), np.take_along_axis(squared, order, 1)
            squared[:, 1:][index[:, 1:] == index[:, :-1]] = np.inf
            order = np.argpartition(squared, k - 1, axis=1)[:, :k]
            index, squared = np.take_along_axis(index, order, 1), np.take_along_axis(squared, order, 1)
        found[rows] = np.where(np.isfinite(squared), index, -1)
    return found


@dataclass(frozen=True, eq=False)
class _Cells:
    """``points`` in cells, each of what is nearest to one of the ``means`` (C, D) float32, in units of
    ``spread`` from ``centre``: ``order`` (n,) has the rows cell by cell, and ``ends`` (C + 1,) where in it
    each begins and ends."""

    points: np.ndarray
    centre: np.ndarray
    spread: np.ndarray | float
    means: np.ndarray
    order: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, points: np.ndarray, spread: np.ndarray | float) -> _Cells:
        n, generator = len(points), np.random.default_rng(0)
        count = max(1, round(n**0.5))
        some = points[np.sort(generator.choice(n, min(n, _FITTED * count), replace=False))]
        centre = some.mean(0, dtype=np.float64)
        some = ((some - centre) / spread).astype(np.float32)
        means = some[generator.choice(len(some), count, replace=False)]
        for _ in range(_STEPS):
            cell = _nearest_means(some, means, 1)[:, 0]
            filled, begin = np.unique(cell[order := np.argsort(cell, kind="stable")], return_index=True)
            sizes = np.diff(begin, append=len(some))
            means[filled] = np.add.reduceat(some[order], begin) / sizes[:, None]
        empty = np.empty(0, dtype=np.int64)
        fitted = cls(points, centre, spread, means, empty, empty)
        chunks = (np.arange(start, min(start + _BLOCK, n)) for start in range(0, n, _BLOCK))
        cell = np.concatenate([_nearest_means(fitted._scaled(rows, 1.0), means, 1)[:, 0] for rows in chunks])
        ends = np.concatenate([[0], np.cumsum(np.bincount(cell, minlength=count))])
        return cls(points, centre, spread, means, np.argsort(cell, kind="stable"), ends)

    @cached_property
    def place(self) -> np.ndarray:
        """Of each point, where it is in :attr:`order`."""
        place = np.empty_like(self.order)
        place[self.order] = np.arange(len(place))
        return place

    def _scaled(self, rows: np.ndarray, turn: np.ndarray | float) -> np.ndarray:
        return ((self.points[rows] * turn - self.centre) / self.spread).astype(np.float32)

    def nearest(self, rows: np.ndarray, turn: np.ndarray | float, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` nearest others of the points ``rows`` (q,), each multiplied by ``turn``, in the cells
        nearest to it: rows ``(q, k)`` int64 and squared distances ``(q, k)`` float32, infinite: none."""
        queries = self._scaled(rows, turn)
        best = np.full((len(rows), k), np.inf, dtype=np.float32), np.full((len(rows), k), -1)
        visits = _nearest_means(queries, self.means, _VISITED)
        lengths = np.square(queries).sum(1)
        queries *= -2.0
        for visited in (visits[:, :1], visits[:, 1:]):  # after the nearest cell there is little to sort
            flat = visited.ravel()
            order = np.argsort(flat, kind="stable")
            begins = np.flatnonzero(np.diff(flat[order], prepend=-1))
            for asked in np.split(order, begins[1:]) if len(begins) else ():
                self._visit(int(flat[asked[0]]), asked // visited.shape[1], queries, rows, best)
        squared, index = best
        return index, squared + lengths[:, None]

    def _visit(self, cell: int, asked: np.ndarray, queries: np.ndarray, rows: np.ndarray, best: Any) -> None:
        """Improves the ``best`` of the queries ``asked``, less their own squares, by the points of a cell."""
        squares, index = best
        begin, end = self.ends[cell : cell + 2].tolist()
        members, k = self.order[begin:end], squares.shape[1]
        known = self._scaled(members, 1.0)
        lengths, step = np.square(known).sum(1), max(1, _SEEN // max(len(members), 1))
        for chosen in (asked[start : start + step] for start in range(0, len(asked), step)):
            squared = queries[chosen] @ known.T
            squared += lengths
            at = self.place[rows[chosen]] - begin
            itself = np.flatnonzero((at >= 0) & (at < len(members)))
            squared[itself, at[itself]] = np.inf
            better = squared.min(1, initial=np.inf) < squares[chosen].max(1)
            chosen = chosen[better]
            squared = np.concatenate([squares[chosen], squared[better]], axis=1)
            kept = np.argpartition(squared, k - 1, axis=1)[:, :k]
            squares[chosen] = np.take_along_axis(squared, kept, 1)
            before = np.take_along_axis(index[chosen], np.minimum(kept, k - 1), 1)
            index[chosen] = np.where(kept < k, before, members[np.maximum(kept - k, 0)])


def _nearest_means(queries: np.ndarray, means: np.ndarray, count: int) -> np.ndarray:
    """Which of the ``means`` (C, D) are nearest to the ``queries`` (q, D), ``(q, count)``, the nearest
    first."""
    count, lengths = min(count, len(means)), np.square(means).sum(1)
    found = np.empty((len(queries), count), dtype=np.int64)
    for start in range(0, len(queries), _QUERIES):
        rows = slice(start, start + _QUERIES)
        squared = queries[rows] @ means.T
        squared *= -2.0
        squared += lengths
        if count == 1:
            found[rows, 0] = squared.argmin(1)
            continue
        near = np.argpartition(squared, count - 1, axis=1)[:, :count]
        order = np.argsort(np.take_along_axis(squared, near, 1), axis=1, kind="stable")
        found[rows] = np.take_along_axis(near, order, 1)
    return found
