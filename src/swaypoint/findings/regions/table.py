"""A table as a metric space: numbers measured by their spread, categories by whether they differ.

Points of pictures and texts are one too: a table of coordinates, whose columns have no names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import unquote

import numpy as np

from swaypoint.errors import InputError, require

NEIGHBOURS = 10
_REFERENCE, _CELLS = 100_000, 20_000_000
_SAMPLE = 2_000
_PAIRS = 500
_QUARTILES = 1.3489795003921634
"""Distance of the quartiles of a normal distribution, in standard deviations."""
_SAME = 1e-6
_TREE = 6


@dataclass(frozen=True)
class Range:
    """Of a column of the source, ends included, as text: numbers, or twice one category."""

    column: str
    low: str
    high: str

    @classmethod
    def parse(cls, text: str) -> Range:
        """``column:low:high``, or ``column:value``; ``%3A`` stands for a colon within.

        Raises:
            InputError: something else.

        >>> Range.parse("alcohol:12:13.5")
        Range(column='alcohol', low='12', high='13.5')
        """
        parts = [unquote(part) for part in text.split(":")]
        if len(parts) not in (2, 3) or not parts[0]:
            raise InputError(f"range is {text!r}; expected COLUMN:LOW:HIGH, or COLUMN:VALUE")
        return cls(parts[0], parts[1], parts[-1])

    def __str__(self) -> str:
        ends = (self.low,) if self.low == self.high else (self.low, self.high)
        return ":".join(part.replace("%", "%25").replace(":", "%3A") for part in (self.column, *ends))


def _number(text: str, names: tuple[str, ...], column: str) -> float:
    if text in names:
        return float(names.index(text))
    try:
        if names:
            raise ValueError
        return float(text)
    except ValueError:
        expected = f"one of {', '.join(names[:20])}" if names else "a number"
        raise InputError(f"{text!r} is no value of column {column!r}; expected {expected}") from None


@dataclass(frozen=True, eq=False)
class Table:
    """The data that ranked points come from: all of it, or a random sample.

    Attributes:
        inputs: ``(m, d)``, finite.
        labels: ``(m,)`` indices into ``classes``, or real values.
        columns: names of the d inputs. Columns ``c=a``, ``c=b`` … of which each row has exactly one are
            the categories of one column ``c``. (): the inputs are coordinates, all of one unit, and none of
            them means anything by itself.
        classes: names in index order; () for regression.
        axes: per column the values that a new input may take (a grid's), None where any may. Left out:
            whole numbers in columns that hold nothing else.

    Raises:
        InputError: shapes that do not fit, fewer than two rows, values that are not finite.
    """

    inputs: np.ndarray
    labels: np.ndarray
    columns: tuple[str, ...]
    classes: tuple[str, ...] = ()
    axes: tuple[np.ndarray | None, ...] | None = None

    def __post_init__(self) -> None:
        shape = self.inputs.shape
        if len(shape) != 2 or shape[0] < 2 or shape[1] < 1:
            raise InputError(f"inputs have shape {shape}; expected (m, d) with at least two rows")
        if len(self.labels) != shape[0] or len(self.columns) not in (0, shape[1]):
            raise InputError(
                f"inputs have shape {shape} with {len(self.labels)} labels and {len(self.columns)} column"
                " names; expected one label a row and one name a column"
            )
        if self.axes is not None and len(self.axes) != shape[1]:
            raise InputError(f"{len(self.axes)} axes for {shape[1]} columns; expected one each, or None")
        if not np.isfinite(self.inputs).all():
            raise InputError("inputs hold values that are not finite; remove those rows")

    @cached_property
    def rows(self) -> np.ndarray:
        """What is measured against, ``(r,)``: at most 100,000 rows, fewer of many columns, evenly spaced."""
        most = min(_REFERENCE, max(_SAMPLE, _CELLS // self.inputs.shape[1]))
        return np.arange(0, len(self.inputs), -(-len(self.inputs) // most))

    @cached_property
    def reference(self) -> np.ndarray:
        """Inputs of :attr:`rows`, ``(r, d)`` float64."""
        return self.inputs[self.rows].astype(np.float64)

    @cached_property
    def ascending(self) -> np.ndarray:
        """:attr:`reference` with each column sorted, ``(d, r)``."""
        return np.sort(self.reference.T, axis=1)

    def share(self, index: int, low: float, high: float) -> float:
        """Of the rows with ``low <= value <= high`` in a column."""
        column = self.ascending[index]
        inside = np.searchsorted(column, high, side="right") - np.searchsorted(column, low)
        return float(inside / len(column))

    @cached_property
    def categories(self) -> dict[str, tuple[int, ...]]:
        """Column of the source -> its one-hot columns."""
        found: dict[str, tuple[int, ...]] = {}
        for split in (str.partition, str.rpartition):  # a name may hold "=" itself, and so may a category
            groups = defaultdict(list)
            taken = {index for group in found.values() for index in group}
            for index, name in enumerate(self.columns):
                if index not in taken and "=" in name:
                    groups[split(name, "=")[0]].append(index)
            for name, group in groups.items():
                block = self.reference[:, group]
                if np.isin(block, (0.0, 1.0)).all() and (block.sum(1) == 1.0).all():
                    found[name] = tuple(group)
        return found

    @cached_property
    def binary(self) -> np.ndarray:
        """Which columns hold two values and no more, ``(d,)`` bool; one-hot columns among them."""
        low, high = self.reference.min(0), self.reference.max(0)
        return ((self.reference == low) | (self.reference == high)).all(0) & (high > low)

    @cached_property
    def spread(self) -> np.ndarray:
        """Unit of each column, ``(d,)``; infinite where nothing varies; 1 of coordinates.

        Numbers: the distance of their quartiles, which a few wild values do not change, as a standard
        deviation; the standard deviation itself where the quartiles are equal. Two values, or two
        categories, are 1 apart.
        """
        values = self.reference
        if not self.columns:
            return np.ones(values.shape[1])
        low, high = np.quantile(values, [0.25, 0.75], axis=0)
        range_, deviation = values.max(0) - values.min(0), values.std(0)
        spread = np.where(high > low, (high - low) / _QUARTILES, deviation)
        spread = np.where(self.binary, range_, spread)
        for group in self.categories.values():
            spread[list(group)] = np.sqrt(2.0)  # two of its columns differ
        return np.where(range_ > 0, spread, np.inf)

    def places(self, inputs: np.ndarray) -> np.ndarray:
        """``(n, d)`` in units of :attr:`spread`, float64; distances are Euclidean."""
        return (inputs.astype(np.float64) - self._centre) / self.spread

    @cached_property
    def _centre(self) -> np.ndarray:
        return np.median(self.reference, axis=0)

    @cached_property
    def _index(self) -> Any:
        # For a few thousand queries a tree pays in few dimensions only.
        algorithm = "kd_tree" if self.inputs.shape[1] <= _TREE else "brute"
        nearest = require("sklearn.neighbors", "sklearn").NearestNeighbors(algorithm=algorithm)
        return nearest.fit(self.places(self.reference))

    def distances(self, inputs: np.ndarray) -> np.ndarray:
        """To the nearest row, ``(n,)``."""
        return self._index.kneighbors(self.places(inputs), n_neighbors=1)[0][:, 0]

    def neighbours(
        self, inputs: np.ndarray, labels: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ten nearest other rows (fewer of a tiny table) of each input.

        A row in the same place is the input itself, and left out once; of several the one with its label.

        Returns:
            Their rows in the table ``(n, k)`` int64, and distances ``(n, k)``, ascending.
        """
        places = self.places(inputs)
        k = min(NEIGHBOURS, len(self.rows) - 1)
        distances, found = self._index.kneighbors(places, n_neighbors=k + 1)
        rows = self.rows[found]
        same = distances <= _SAME * (1.0 + np.linalg.norm(places, axis=1))[:, None]
        score = same.astype(np.int64)
        if labels is not None:
            score += same & (self.labels[rows] == np.asarray(labels)[:, None])
        itself = np.where(same.any(1), score.argmax(1), k)
        kept = np.arange(k + 1)[None, :] != itself[:, None]
        return rows[kept].reshape(-1, k), distances[kept].reshape(-1, k)

    @cached_property
    def usual(self) -> float:
        """Median distance of a row to its tenth neighbour."""
        sample = self._sample(_SAMPLE)
        return max(float(np.median(self.neighbours(sample)[1][:, -1])), 1e-12)

    @cached_property
    def apart(self) -> float:
        """Median distance of two rows."""
        places = self.places(self._sample(_PAIRS))
        pairwise = require("sklearn.metrics", "sklearn").pairwise_distances(places)
        return float(np.median(pairwise[np.triu_indices(len(places), 1)]))

    @cached_property
    def source(self) -> tuple[str, ...]:
        """Names of the source's columns, in the table's order: categories together again."""
        merged = {index: name for name, group in self.categories.items() for index in group}
        return tuple(dict.fromkeys(merged.get(index, name) for index, name in enumerate(self.columns)))

    def column(self, name: str, inputs: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """One column of the source, of some inputs: values ``(n,)`` float64, and () or, where they are
        indices of categories, the categories' names.

        Raises:
            InputError: there is no such column.
        """
        if name in self.categories:
            group = list(self.categories[name])
            names = tuple(self.columns[index][len(name) + 1 :] for index in group)
            return inputs[:, group].argmax(1).astype(np.float64), names
        if name not in self.columns:
            if not self.columns:
                raise InputError(f"there is no column {name!r}: pictures and texts have none to cut along")
            known = ", ".join(self.source[:20]) + (" …" if len(self.source) > 20 else "")
            raise InputError(f"there is no column {name!r}; expected one of {known}")
        return inputs[:, self.columns.index(name)].astype(np.float64), ()

    def inside(self, ranges: Sequence[Range], inputs: np.ndarray) -> np.ndarray:
        """Which inputs lie in all the ranges, ends included, ``(n,)`` bool.

        Raises:
            InputError: no such column, or no number or category that it could have.
        """
        kept = np.ones(len(inputs), dtype=bool)
        kind = inputs.dtype if inputs.dtype.kind == "f" else np.dtype(np.float64)
        for range_ in ranges:
            values, names = self.column(range_.column, inputs)
            # Rounded as the inputs were, so that an end written in decimals meets its value.
            low, high = (kind.type(_number(end, names, range_.column)) for end in (range_.low, range_.high))
            kept &= (values >= low) & (values <= high)
        return kept

    def _sample(self, size: int) -> np.ndarray:
        return self.reference[:: -(-len(self.reference) // size)]
