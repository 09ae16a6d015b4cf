"""Columns of texts in Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import listed
from swaypoint.data.readers.encoding import is_text
from swaypoint.errors import InputError
from swaypoint.folder.documents import require_memory

_BYTES = 80  # of a text in Python beside its characters


def text_columns(name: str, table: pa.Table, options: ReadOptions, label: str) -> tuple[str, ...]:
    """The columns that ``options.text`` names: one, or several with commas between.

    Raises:
        InputError: no such column, one that holds no text, the labels', one twice, or other inputs are asked
            for too.
    """
    wanted, available = str(options.text), table.column_names
    for other in ("features", "image"):
        if getattr(options, other) is not None:
            raise InputError(f"{name}: --text and --{other} are two kinds of input; leave one of them out")
    columns = (wanted,) if wanted in available else tuple(part.strip() for part in wanted.split(","))
    for column in columns:
        if column not in available:
            raise InputError(f"{name}: no column {column!r}; it has {listed(available)}")
        if column == label:
            raise InputError(f"{name}: the column {column!r} is the label; --text takes the inputs' column")
        if columns.count(column) > 1:
            raise InputError(f"{name}: --text names the column {column!r} twice; name it once")
        if not (is_text(table[column].type) or pa.types.is_null(table[column].type)):
            raise InputError(f"{name}: column {column!r} has type {table[column].type}; expected text")
    return columns


def texts_of(name: str, table: pa.Table, columns: Sequence[str], rows: np.ndarray) -> np.ndarray:
    """The texts (n, k) of the ``rows`` (n,), read-only; empty where missing.

    Raises:
        InputError: all are empty, or they do not fit into memory.
    """
    texts = np.empty((len(rows), len(columns)), dtype=object)
    chosen = [table[column].cast(pa.large_string()).take(pa.array(rows)).fill_null("") for column in columns]
    characters = sum(pc.sum(pc.binary_length(column)).as_py() or 0 for column in chosen)
    require_memory(name, 2 * characters + _BYTES * texts.size, f"{len(rows):,} texts")
    for place, column in enumerate(chosen):
        texts[:, place] = column.to_pylist()
    return frozen(name, texts)


def frozen(name: str, texts: np.ndarray) -> np.ndarray:
    """Texts (n, k), read-only.

    Raises:
        InputError: all are empty.
    """
    if not any(text.strip() for text in texts.flat):
        raise InputError(f"{name}: all of its texts are empty; expected words in them")
    texts.flags.writeable = False
    return texts


def said_of_empty(texts: np.ndarray, columns: Sequence[str]) -> dict[str, str]:
    """Of each column (n, k) with empty texts how many there are."""
    counts = (np.array([[not text.strip() for text in row] for row in texts])).sum(0).tolist()
    return {
        column: f"{count:,} of {len(texts):,} texts are empty or missing, and kept"
        for column, count in zip(columns, counts, strict=True)
        if count
    }
