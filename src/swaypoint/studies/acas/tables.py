"""Decision tables on a grid: which action at which point, in memory or as HDF5, larger than memory.

A point is addressed by its flat index in C order over the axes, the slowest first. Reading goes by
blocks: a block is one index of the leading axes and everything of the trailing ones, about 100,000
points. docs/acas.md describes the file.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from swaypoint.errors import InputError, reading, require, shortened
from swaypoint.folder.documents import misfit, require_memory

EXTRA = "study"
_BLOCK = 1 << 17  # points: a chunk of the file, decompressed whole; several fit into the cache below
_CACHE = 32 << 20  # bytes of decompressed chunks held
_MOST_ACTIONS = 256
_MOST_CHUNK = 256 << 20  # bytes: read whole, and a file of a megabyte may hold gigabytes of zeros
_MOST_VALUES = 1 << 24  # of an axis, which is read whole

Index = NDArray[np.integer] | slice


class Array(Protocol):
    """What a table asks of its values: a numpy array, an HDF5 dataset, or a part of one."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, key: tuple[int, ...], /) -> Any: ...


@dataclass(frozen=True, eq=False)
class Axis:
    """One variable of the grid.

    Attributes:
        name: as in ``select(name=3)``.
        unit: such as ``"ft"``; empty where there is none.
        values: (k,) float64, ascending.
    """

    name: str
    unit: str
    values: NDArray[np.float64]

    def __post_init__(self) -> None:
        values = np.asarray(self.values)
        if values.ndim != 1 or not len(values) or values.dtype.kind not in "iuf":
            raise InputError(
                f"axis {self.name!r} has values of shape {values.shape} and type {values.dtype}; expected one"
                " or more numbers"
            )
        values = values.astype(np.float64)
        if not (np.isfinite(values).all() and (np.diff(values) > 0).all()):
            raise InputError(f"the values of axis {self.name!r} are not finite and ascending; sort them")
        values.flags.writeable = False
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True, eq=False)
class Table:
    """Which action is best at every point of a grid.

    Attributes:
        name: of the table, for titles.
        axes: the slowest first.
        actions: names, in the order of the decisions' numbers.
        decision: uint8, one axis of it an axis of the grid.
        cost: float32, the same and one more axis for the actions; None where it is not known.

    Raises:
        InputError: the parts do not fit together.
    """

    name: str
    axes: tuple[Axis, ...]
    actions: tuple[str, ...]
    decision: Array
    cost: Array | None = None

    def __post_init__(self) -> None:
        names = [axis.name for axis in self.axes]
        if not names or len(set(names)) < len(names):
            raise InputError(f"table {self.name!r} has axes {names}; expected one or more different names")
        if not 1 <= len(self.actions) <= _MOST_ACTIONS or len(set(self.actions)) < len(self.actions):
            raise InputError(
                f"table {self.name!r} has actions {list(self.actions)}; expected 1 to 256 different names"
            )
        self._check("decision", self.decision, np.dtype(np.uint8), self.shape)
        if self.cost is not None:
            self._check("cost", self.cost, np.dtype(np.float32), (*self.shape, len(self.actions)))

    def _check(self, what: str, array: Array, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        if array.dtype != dtype or tuple(array.shape) != shape:
            raise InputError(
                f"{what} of table {self.name!r} is {array.dtype} of shape {tuple(array.shape)}; expected"
                f" {dtype} of shape {shape}, as the axes ({', '.join(axis.name for axis in self.axes)}) say"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def block_size(self) -> int:
        """Points of one block."""
        return math.prod(self.shape[leading_axes(self.shape) :])

    def blocks(self) -> Iterator[slice]:
        """Flat indices of every block, in order; the cheapest way through a table."""
        for start in range(0, self.size, self.block_size):
            yield slice(start, start + self.block_size)

    def points(self, index: Index) -> NDArray[np.float32]:
        """Coordinates (b, axes) float32 of the points of a flat index, in the axes' units."""
        return points_at(self.axes, self._flat(index))

    def decisions(self, index: Index) -> NDArray[np.uint8]:
        """Actions (b,) uint8 of the points of a flat index.

        Raises:
            InputError: an index is out of range, or the file holds an action that has no name.
        """
        decisions = self._read(self.decision, index)
        if decisions.size and decisions.max() >= len(self.actions):
            raise InputError(
                f"table {self.name!r} holds action {decisions.max()}; expected 0 to {len(self.actions) - 1},"
                " as its actions are numbered"
            )
        return decisions

    def costs(self, index: Index) -> NDArray[np.float32]:
        """Costs (b, actions) float32 of the points of a flat index; the decision has the lowest.

        Raises:
            InputError: an index is out of range, or the table has no costs.
        """
        if self.cost is None:
            raise InputError(f"table {self.name!r} has no costs; make it again with costs")
        return self._read(self.cost, index)

    def select(self, **fixed: int) -> Table:
        """The sub-table at given indices of some axes, such as ``previous=0``; nothing is read yet.

        Raises:
            InputError: no such axis or index, or no axis is left.
        """
        names = [axis.name for axis in self.axes]
        for name, place in fixed.items():
            if name not in names:
                raise InputError(
                    f"table {self.name!r} has no axis {name!r}; expected one of {', '.join(names)}"
                )
            if not 0 <= place < self.shape[names.index(name)]:
                raise InputError(
                    f"axis {name!r} of table {self.name!r} has no index {place}; expected 0 to"
                    f" {self.shape[names.index(name)] - 1}"
                )
        places = tuple(fixed.get(name) for name in names)
        return replace(
            self,
            axes=tuple(axis for axis in self.axes if axis.name not in fixed),
            decision=_Part(self.decision, places),
            cost=None if self.cost is None else _Part(self.cost, places),
        )

    def load(self, *, costs: bool = False) -> Table:
        """The same table in memory, with its costs only if asked for."""
        size = self.size * (1 + 4 * len(self.actions) * costs)
        require_memory(f"table {self.name!r}", size, f"its {self.size:,} points")
        decision = self.decisions(slice(None)).reshape(self.shape)
        cost = self.costs(slice(None)).reshape(*self.shape, -1) if costs else None
        return replace(self, decision=decision, cost=cost)

    @classmethod
    def open(cls, path: str | Path) -> Table:
        """The table in an HDF5 file; values are read when asked for.

        Raises:
            InputError: the file does not follow the layout in docs/acas.md; says where.
            MissingExtra: h5py is not installed.
        """
        h5py = require("h5py", EXTRA)
        path = Path(path)
        if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
            raise InputError(f"there is no table {path}; expected an HDF5 file, see docs/acas.md")
        with reading(path, "an HDF5 table", "write it again, see docs/acas.md"):
            file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
            try:
                return _table(file, path)
            except InputError as error:
                file.close()
                raise InputError(f"{path}: {error}") from error

    def _flat(self, index: Index) -> NDArray[np.int64]:
        if isinstance(index, slice):
            return np.arange(*index.indices(self.size), dtype=np.int64)
        flat = np.asarray(index)
        if flat.ndim != 1 or flat.dtype.kind not in "iu":
            raise InputError(
                f"an index of table {self.name!r} is {flat.dtype} of shape {flat.shape}; expected (b,)"
                " integers"
            )
        if len(flat) and not (flat.min() >= 0 and flat.max() < self.size):
            raise InputError(
                f"indices {flat.min()} to {flat.max()} of table {self.name!r}; expected 0 to {self.size - 1}"
            )
        return flat.astype(np.int64)

    def _read(self, array: Array, index: Index) -> Any:
        """Values at a flat index, read by blocks where the array is not in memory."""
        tail = array.shape[len(self.shape) :]
        if isinstance(array, np.ndarray):
            return array.reshape(-1, *tail)[index if isinstance(index, slice) else self._flat(index)]
        if isinstance(index, slice) and (index.step or 1) == 1:
            return self._read_range(array, *index.indices(self.size)[:2])
        block, inside = np.divmod(self._flat(index), self.block_size)
        result = np.empty((len(block), *tail), array.dtype)
        order = np.argsort(block, kind="stable")
        for rows in np.split(order, np.flatnonzero(np.diff(block[order])) + 1):
            if len(rows):
                result[rows] = self._fetch(array, int(block[rows[0]]))[inside[rows]]
        return result

    def _read_range(self, array: Array, start: int, stop: int) -> Any:
        count = max(0, stop - start)
        result = np.empty((count, *array.shape[len(self.shape) :]), array.dtype)
        done = 0
        while done < count:
            block, inside = divmod(start + done, self.block_size)
            values = self._fetch(array, block)[inside : inside + count - done]
            result[done : done + len(values)] = values
            done += len(values)
        return result

    def _fetch(self, array: Array, block: int) -> NDArray[Any]:
        """One block, flat."""
        place = block_place(self.shape[: leading_axes(self.shape)], block)
        try:
            return np.asarray(array[place]).reshape(self.block_size, *array.shape[len(self.shape) :])
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"cannot read table {self.name!r} at index {place} of its leading axes: {error}; the file is"
                " damaged, write it again"
            ) from error


def points_at(axes: Sequence[Axis], index: NDArray[np.int64]) -> NDArray[np.float32]:
    """Coordinates (b, axes) float32 of the points of a flat index (b,), the last axis fastest."""
    points = np.empty((len(index), len(axes)), np.float32)
    for column in reversed(range(len(axes))):
        values = axes[column].values.astype(np.float32)
        index, place = np.divmod(index, len(values))
        points[:, column] = values[place]
    return points


class _Part:
    """An array with some axes held at an index, read when asked for."""

    def __init__(self, array: Array, places: tuple[int | None, ...]) -> None:
        self._array, self._places = array, places
        free = [size for size, place in zip(array.shape, places, strict=False) if place is None]
        self.shape = (*free, *array.shape[len(places) :])
        self.dtype = array.dtype

    def __getitem__(self, key: tuple[int, ...], /) -> Any:
        given = iter(key)
        full = (next(given, slice(None)) if place is None else place for place in self._places)
        return self._array[cast(tuple[int, ...], tuple(full))]


def leading_axes(shape: tuple[int, ...]) -> int:
    """How many leading axes number the blocks: as few as keep a block at most 131,072 points."""
    leading = 0
    while leading < len(shape) - 1 and math.prod(shape[leading:]) > _BLOCK:
        leading += 1
    return leading


def block_place(leading: tuple[int, ...], block: int) -> tuple[int, ...]:
    """The indices of a block on leading axes of given lengths."""
    return tuple(int(place) for place in np.unravel_index(block, leading)) if leading else ()


def _table(file: Any, path: Path) -> Table:
    """The table in an open file; a message says what is wrong, the caller of which file."""
    h5py = require("h5py", EXTRA)

    def dataset(name: str) -> Any:
        found = file.get(name)
        if not isinstance(found, h5py.Dataset) or found.shape is None:
            raise InputError(f"has no dataset {name!r}; see docs/acas.md for the layout")
        chunk = math.prod(found.chunks or ()) * found.dtype.itemsize
        if chunk > _MOST_CHUNK:
            raise InputError(f"dataset {name!r} has chunks of {chunk:,} bytes; at most {_MOST_CHUNK:,}")
        if found.size and not found.is_virtual and not found.id.get_storage_size():
            raise InputError(f"the values of dataset {name!r} were never written; write it again")
        return found

    axes = []
    for name in _texts(file, "axes"):
        stored = dataset(name)
        if stored.ndim != 1:
            raise InputError(f"axis {name!r} has shape {stored.shape}; expected one dimension")
        if stored.dtype.kind not in "iuf" or stored.size > _MOST_VALUES:
            raise InputError(
                f"axis {name!r} has values of {stored.dtype} and shape {stored.shape}; expected one or more"
                f" numbers, at most {_MOST_VALUES:,}"
            )
        unit = stored.attrs.get("unit", "")
        if not _is_text(unit):
            raise InputError(f"attribute 'unit' of axis {name!r} is {shortened(repr(unit))}; expected a text")
        axes.append(Axis(name, unit, stored[:]))
    cost = dataset("cost") if "cost" in file else None
    name = file.attrs.get("name", path.stem)
    if not _is_text(name):
        raise InputError(f"attribute 'name' is {shortened(repr(name))}; expected a text")
    return Table(name, tuple(axes), _texts(file, "actions"), dataset("decision"), cost)


def _texts(file: Any, name: str) -> tuple[str, ...]:
    values = file.attrs.get(name)
    texts = [] if values is None else list(np.atleast_1d(values))
    texts = [text.decode(errors="replace") if isinstance(text, bytes) else text for text in texts]
    if not texts or not all(map(_is_text, texts)):
        raise InputError(
            f"attribute {name!r} is {shortened(repr(values))}; expected a list of texts, see docs/acas.md"
        )
    return tuple(texts)


def _is_text(value: Any) -> bool:
    """HDF5 holds any bytes as text; those that are not UTF-8 could not be printed."""
    return misfit(value, str) is None
