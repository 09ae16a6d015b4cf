"""Features and targets of a dataset, batch by batch, as often as needed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError

_TILE_BYTES = 64 << 20
_LEAST = 1024
"""Points that are worth a thread of their own."""


class FeatureBatches(ABC):
    """A re-iterable source of ``(features (b, D), targets)`` in dataset order."""

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...

    @abstractmethod
    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        """About ``size`` points that stand for the whole, always the same ones."""

    @property
    def own_index(self) -> np.ndarray | None:
        """What the person who brought the points calls them, ``(n,)``; None: positions are all there is."""
        return None

    def shards(self) -> Sequence[FeatureBatches]:
        """Parts that are worked on one by one and kept; in order they make the whole."""
        return (self,)

    def __len__(self) -> int:
        return sum(len(features) for features, _ in self)


def as_tensor(values: Any, name: str) -> Tensor:
    """A tensor that shares memory with ``values`` where it can.

    Raises:
        InputError: ``values`` is not numeric.
    """
    if isinstance(values, Tensor):
        if values.layout != torch.strided:
            raise InputError(f"{name} are sparse; pass them dense: .to_dense()")
        return values.detach()
    if hasattr(values, "toarray"):
        raise InputError(f"{name} are a sparse matrix; pass them dense: .toarray()")
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name} have rows of different lengths; expected one shape for all") from error
    if array.dtype.kind not in "biuf" and name == "labels":
        raise InputError(
            f"labels has dtype {array.dtype}; expected numbers: of each class its position among the model's"
            " outputs"
        )
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} has dtype {array.dtype}; expected numbers (encode categories first)")
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        array = array.astype(np.int64)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)


class ArrayBatches(FeatureBatches):
    """Features and targets in memory, or memory-mapped: only slices are read.

    Raises:
        InputError: no rows, or the two lengths differ.
    """

    def __init__(self, features: Any, targets: Any, batch_size: int = 65536) -> None:
        lazy = isinstance(features, np.memmap)
        self._features = features if lazy else as_tensor(features, "features")
        self._targets = as_tensor(targets, "labels")
        if self._features.ndim != 2:
            raise InputError(f"features have shape {tuple(self._features.shape)}; expected (n, D)")
        if len(self._features) != len(self._targets):
            raise InputError(
                f"{len(self._features)} rows of features but {len(self._targets)} labels;"
                " expected one label per row"
            )
        if len(self._features) == 0:
            raise InputError("the data is empty; expected at least one row")
        self._batch_size = batch_size

    def __len__(self) -> int:
        return len(self._features)

    def _rows(self, rows: slice) -> Tensor:
        part = self._features[rows]
        return part if isinstance(part, Tensor) else torch.from_numpy(np.array(part))

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), self._batch_size):
            rows = slice(start, start + self._batch_size)
            yield self._rows(rows), self._targets[rows]

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        rows = slice(0, None, max(1, len(self) // size))
        return self._rows(rows), self._targets[rows]


class SparseBatches(FeatureBatches):
    """Features in one of SciPy's sparse formats, made dense some rows at a time, and targets in memory.

    Raises:
        InputError: as :class:`ArrayBatches`.
    """

    def __init__(self, features: Any, targets: Any) -> None:
        self._features, self._targets = features.tocsr(), as_tensor(targets, "labels")
        rows, width = self._features.shape
        if rows != len(self._targets):
            raise InputError(
                f"{rows} rows of features but {len(self._targets)} labels; expected one label per row"
            )
        if rows == 0:
            raise InputError("the data is empty; expected at least one row")
        self._tile = max(1, _TILE_BYTES // (8 * max(width, 1)))

    def __len__(self) -> int:
        return len(self._targets)

    def _rows(self, rows: slice) -> tuple[Tensor, Tensor]:
        return torch.from_numpy(self._features[rows].toarray()), self._targets[rows]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self), self._tile):
            yield self._rows(slice(start, start + self._tile))

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        return self._rows(slice(0, None, max(1, len(self) // size)))


class WeightedBatches(FeatureBatches):
    """``data`` with the points' weights ``(n,)`` as last column of their targets, float64."""

    def __init__(self, data: FeatureBatches, weights: Tensor) -> None:
        self._data, self._weights = data, weights

    def __len__(self) -> int:
        return len(self._weights)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        done = 0
        for features, targets in self._data:
            weights = self._weights[done : done + len(features)].unsqueeze(1)
            done += len(features)
            columns = targets.double().cpu().view(len(targets), -1)
            yield features, torch.cat([columns, weights], 1)

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        """In one pass, as the sample of ``data`` does not say which points it took."""
        every, seen, held = max(1, len(self) // size), 0, []
        for features, targets in self:
            rows = slice(-seen % every, None, every)
            held.append((features[rows].clone(), targets[rows].clone()))
            seen += len(features)
        return _concatenated(held)


def pieces(data: FeatureBatches, size: int, threads: int = 1) -> Iterator[tuple[Tensor, Tensor, int]]:
    """The points of ``data`` at most ``size`` at a time, with the position of the first: small batches are
    joined until they hold as many, large ones cut; for several ``threads`` so that each has as many."""
    offset = 0
    for features, targets in _joined(data, size):
        step = size
        if (together := min(threads, len(features) // _LEAST)) > 1:
            count = -(-len(features) // size)
            step = -(-len(features) // (count + -count % together))
        for start in range(0, len(features), step):
            rows = slice(start, start + step)
            yield features[rows], targets[rows], offset + start
        offset += len(features)


def _joined(data: FeatureBatches, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    waiting: list[tuple[Tensor, Tensor]] = []
    count = 0
    for batch in data:
        waiting.append(batch)
        count += len(batch[0])
        if count >= size:
            yield _concatenated(waiting)
            waiting, count = [], 0
    if waiting:
        yield _concatenated(waiting)


def _concatenated(batches: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    if len(batches) == 1:
        return batches[0]
    features, targets = zip(*batches, strict=True)
    return torch.cat(features), torch.cat(targets)
