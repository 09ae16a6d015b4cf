"""Arrow tables to arrays: numeric columns, categories, vectors, labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import Faults, RawLabels, listed, number_faults
from swaypoint.errors import InputError
from swaypoint.folder.documents import require_memory

MOST_CATEGORIES = 100
_LABEL_NAMES = ("label", "target", "class", "y")


@dataclass(frozen=True)
class Columns:
    """Inputs of a table: values (n, D) float32, names of the D columns, bad rows, and which of the
    columns are one category of a text column."""

    values: np.ndarray
    names: tuple[str, ...]
    faults: Faults
    categories: tuple[bool, ...] = ()

    def without_empty_categories(self, values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """``values`` (m, D), and the names, less the categories that only skipped rows had."""
        kept = values.any(axis=0) | ~np.array(self.categories)
        if kept.all():
            return values, self.names
        return values[:, kept], tuple(name for name, keep in zip(self.names, kept, strict=True) if keep)


def is_text(kind: pa.DataType) -> bool:
    """Whether a column holds categories: strings, or a dictionary of them."""
    if pa.types.is_dictionary(kind):
        return is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_number(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_number(kind.value_type)
    return (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def label_column(name: str, table: pa.Table, wanted: str | None) -> str:
    """The label column: the one asked for, or the only one with a usual name.

    Raises:
        InputError: no such column, or none or several of the usual names.
    """
    available = table.column_names
    if wanted is not None:
        if wanted not in available:
            raise InputError(f"{name}: no column {wanted!r}; it has {listed(available)}")
        return wanted
    usual = [column for column in available if column.lower() in _LABEL_NAMES]
    if len(usual) != 1:
        what = f"several label columns ({listed(usual)})" if usual else "no column called label"
        raise InputError(f"{name}: {what}; say which with --label; it has {listed(available)}")
    return usual[0]


def raw_labels(
    name: str, table: pa.Table, column: str, *, class_names: tuple[str, ...] | None = None
) -> RawLabels:
    """Labels of a table's column as they are stored.

    Raises:
        InputError: the column's type holds no labels.
    """
    values = _plain(table[column])
    kind = values.type
    missing = np.asarray(values.is_null().combine_chunks()) if len(values) else np.zeros(0, dtype=bool)
    if is_text(kind) or pa.types.is_null(kind):
        array = np.array([value if value is not None else "" for value in values.to_pylist()], dtype=object)
    elif pa.types.is_boolean(kind):
        array = np.array([bool(value) for value in values.to_pylist()], dtype=bool)
    elif pa.types.is_integer(kind):
        array = values.fill_null(0).to_numpy()
        array = array if array.dtype == np.uint64 else array.astype(np.int64)
    elif _is_number(kind):
        array = values.cast(pa.float64()).fill_null(0.0).to_numpy()
    else:
        raise InputError(f"{name}: label column {column!r} has type {kind}; expected numbers or text")
    return RawLabels(f"label column {column!r}", array, missing, class_names)


def input_columns(name: str, table: pa.Table, *, skip: tuple[str, ...], options: ReadOptions) -> Columns:
    """Numbers as they are and text one-hot, in the table's order.

    Raises:
        InputError: no columns, dates, nested values, identifiers or too many categories.
    """
    parts: list[np.ndarray] = []
    names: list[str] = []
    categories: list[bool] = []
    faults: Faults = {}
    for column in table.column_names:
        if column in skip:
            continue
        values = _plain(table[column])
        if is_text(values.type):
            encoded, labels, bad = _one_hot(name, column, values)
            parts.append(encoded)
            names += labels
            categories += [True] * len(labels)
        elif _is_number(values.type):
            numbers = _floats(values)
            bad = number_faults(numbers[:, None], [f"column {column!r}"])
            with np.errstate(over="ignore"):  # such rows are among the faults
                parts.append(numbers[:, None].astype(np.float32))
            names.append(column)
            categories.append(False)
        else:
            raise InputError(
                f"{name}: column {column!r} has type {values.type}; expected numbers or text:"
                " encode it as numbers or remove it"
            )
        for row, reason in bad.items():
            faults.setdefault(row, reason)
    if not parts:
        raise InputError(f"{name}: no columns beside the label; expected at least one input column")
    values = np.concatenate(parts, axis=1, dtype=np.float32)
    return Columns(values, tuple(names), faults, tuple(categories))


def _floats(values: pa.ChunkedArray) -> np.ndarray:
    """(n,) float64, NaN where missing."""
    return values.cast(pa.float64(), safe=False).to_numpy().astype(np.float64)


def _one_hot(name: str, column: str, values: pa.ChunkedArray) -> tuple[np.ndarray, list[str], Faults]:
    missing = values.is_null().to_numpy()
    categories = sorted(pc.unique(values.drop_null()).to_pylist())
    if len(categories) == len(values) - int(missing.sum()) and len(categories) > 20:
        raise InputError(
            f"{name}: column {column!r} is different in every row, like an identifier; remove that column"
        )
    if len(categories) > MOST_CATEGORIES:
        raise InputError(
            f"{name}: column {column!r} has {len(categories)} categories; expected at most"
            f" {MOST_CATEGORIES}: encode it as numbers or remove it"
        )
    index = pc.index_in(values, value_set=pa.array(categories, type=values.type)).fill_null(0).to_numpy()
    encoded = np.zeros((len(values), len(categories)), dtype=np.float32)
    if categories:
        encoded[np.arange(len(values)), index] = 1.0
    faults = dict.fromkeys(np.flatnonzero(missing).tolist(), f"column {column!r} is missing")
    return encoded, [f"{column}={category}" for category in categories], faults


def vector_column(name: str, table: pa.Table, column: str) -> Columns:
    """A column of equally long lists of numbers as (n, D).

    Vectors of another length than the first are bad records.

    Raises:
        InputError: no such column, other types, or no numbers at all.
    """
    if column not in table.column_names:
        raise InputError(f"{name}: no column {column!r}; it has {listed(table.column_names)}")
    values = table[column].combine_chunks()
    kind = values.type
    nested = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not nested or not _is_number(kind.value_type):
        raise InputError(f"{name}: column {column!r} has type {kind}; expected a list of numbers per record")
    missing = values.is_null().to_numpy(zero_copy_only=False)
    lengths = pc.list_value_length(values).fill_null(-1).to_numpy(zero_copy_only=False)
    if (lengths < 1).all():
        raise InputError(f"{name}: column {column!r} is empty; expected numbers in every record")
    width = int(lengths[np.flatnonzero(lengths > 0)[0]])
    require_memory(name, 16 * len(values) * width, f"{len(values):,} vectors of {width:,} numbers")
    good = lengths == width
    flat = values.filter(pa.array(good)).flatten()
    numbers = np.full((len(values), width), np.nan)
    numbers[good] = _floats(pa.chunked_array([flat])).reshape(-1, width)
    names = tuple(f"{column}[{i}]" for i in range(width))
    faults = number_faults(numbers, names)
    for row in np.flatnonzero(~good & ~missing).tolist():
        faults[row] = (
            f"column {column!r} has {lengths[row]} numbers; expected {width}, as in the first record"
        )
    faults |= dict.fromkeys(np.flatnonzero(missing).tolist(), f"column {column!r} is missing")
    with np.errstate(over="ignore"):
        return Columns(numbers.astype(np.float32), names, faults)
