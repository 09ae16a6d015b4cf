"""Arrow tables to arrays: numeric columns, categories, vectors, labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.readers.arrays import Faults, RawLabels, listed, number_faults
from swaypoint.data.readers.encoding import encoded, floats, is_encodable, is_number, is_text
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import require_memory

LABEL_NAMES = ("label", "target", "class", "y")


@dataclass(frozen=True)
class Vectors:
    """A column of vectors: values (n, D) float32, names of the D numbers, bad rows."""

    values: np.ndarray
    names: tuple[str, ...]
    faults: Faults


@dataclass(frozen=True)
class Inputs:
    """The columns beside the labels as inputs.

    Attributes:
        values: (n, D) float32, finite.
        names: of the D inputs.
        treatments: what was done to a column, where it is no number as it is, nor one input a category.
        prose: columns of free text, which are left out.
    """

    values: np.ndarray
    names: tuple[str, ...]
    treatments: dict[str, str]
    prose: tuple[str, ...]


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """No dictionary, and no view of strings, which few functions of Arrow take."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column


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
    usual = [column for column in available if column.lower() in LABEL_NAMES]
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
    elif is_number(kind):
        array = values.cast(pa.float64()).fill_null(0.0).to_numpy()
    else:
        raise InputError(f"{name}: label column {column!r} has type {kind}; expected numbers or text")
    return RawLabels(f"label column {column!r}", array, missing, class_names)


def input_faults(name: str, table: pa.Table) -> Faults:
    """Rows of a table, less its labels, whose numbers are infinite in float32. What is missing is no fault.

    Raises:
        InputError: no columns, or columns of types that hold neither numbers, text nor times.
    """
    if not table.num_columns:
        raise InputError(f"{name}: no columns beside the label; expected at least one input column")
    faults: Faults = {}
    for column in table.column_names:
        kind = table[column].type
        plain = kind.value_type if pa.types.is_dictionary(kind) else kind
        if not is_encodable(plain):
            raise InputError(
                f"{name}: column {column!r} has type {kind}; expected numbers, text or times: encode it as"
                " numbers or remove it, or, if it holds vectors, pass --features"
            )
        if is_number(plain):
            numbers = floats(_plain(table[column]))
            known = np.where(np.isnan(numbers), 0.0, numbers)
            for row, reason in number_faults(known[:, None], [f"column {column!r}"]).items():
                faults.setdefault(row, reason)
    return faults


def input_columns(name: str, table: pa.Table) -> Inputs:
    """The columns of a table, less its labels and the rows of :func:`input_faults`, in their order; see
    :func:`~swaypoint.data.readers.encoding.encoded`. D = 0 where all were left out.

    Raises:
        InputError: a time is out of any calendar.
    """
    parts: list[np.ndarray] = []
    names: list[str] = []
    treatments: dict[str, str] = {}
    prose: list[str] = []
    for column in table.column_names:
        with reading(name, f"a table whose column {column!r} has values", "repair or remove that column"):
            found = encoded(column, _plain(table[column]))
        parts.append(found.values)
        names += found.names
        if found.said:
            treatments[column] = found.said
        if found.prose:
            prose.append(column)
            treatments[column] += f"; to audit the texts: --text {column}"
    return Inputs(np.concatenate(parts, axis=1, dtype=np.float32), tuple(names), treatments, tuple(prose))


def no_inputs(name: str, inputs: Inputs) -> InputError:
    """What to say where every column was left out."""
    reasons = [f"{column!r}: {said}" for column, said in inputs.treatments.items()]
    more = f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
    found = "; ".join(reasons[:3])
    return InputError(
        f"{name}: no column beside the label can be used ({found}{more}); add one that can, or say"
        " with --text which are texts"
    )


def vector_column(name: str, table: pa.Table, column: str) -> Vectors:
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
    if not nested or not is_number(kind.value_type):
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
    numbers[good] = floats(pa.chunked_array([flat])).reshape(-1, width)
    names = tuple(f"{column}[{i}]" for i in range(width))
    faults = number_faults(numbers, names)
    for row in np.flatnonzero(~good & ~missing).tolist():
        faults[row] = (
            f"column {column!r} has {lengths[row]} numbers; expected {width}, as in the first record"
        )
    faults |= dict.fromkeys(np.flatnonzero(missing).tolist(), f"column {column!r} is missing")
    with np.errstate(over="ignore"):
        return Vectors(numbers.astype(np.float32), names, faults)
