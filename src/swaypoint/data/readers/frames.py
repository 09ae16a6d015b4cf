"""Frames in memory: of pandas, polars, pyarrow, or whatever gives Arrow's stream of records."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.arrays import listed
from swaypoint.data.readers.declared import with_splits
from swaypoint.data.readers.labelled_tables import read_table
from swaypoint.data.readers.saved import rows_table
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import checked_table
from swaypoint.folder.manifest import TEST, TRAIN

FRAME = "frame"
"""How a dataset of a frame is called."""


def read_frame(frame: Any, options: ReadOptions | None = None, *, test: Any = None) -> Dataset:
    """A labelled dataset of a frame, or of a ``datasets.DatasetDict``; the index of one of pandas is left
    out.

    Args:
        test: another frame of the same columns, which becomes the split ``test``.

    Raises:
        InputError: as :func:`~swaypoint.data.readers.sources.read_dataset`, or it is no frame.
    """
    options = options or ReadOptions()
    if type(frame).__name__ == "DatasetDict" and test is None:
        return read_table(FRAME, rows_table(FRAME, frame, options.whole), options)
    table = _table(frame)
    if test is not None:
        beside = _table(test)
        if beside.column_names != table.column_names:
            raise InputError(
                f"the test frame has the columns {listed(beside.column_names)}; expected those of"
                f" the first, {listed(table.column_names)}"
            )
        with reading(FRAME, "two frames of the same types", "give each column of both values of one type"):
            joined = pa.concat_tables([table, beside], promote_options="permissive")
        table = with_splits(joined, {TRAIN: len(table), TEST: len(beside)})
    return read_table(FRAME, table, options)


def _table(frame: Any) -> pa.Table:
    kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
    with reading(FRAME, "a table", "give each column values of one type"):
        if isinstance(frame, pa.Table):
            return checked_table(frame)
        if kind.startswith("pandas.") and hasattr(frame, "columns"):
            frame = frame.set_axis([str(name) for name in frame.columns], axis="columns")
            return checked_table(pa.Table.from_pandas(frame, preserve_index=False))
        if hasattr(frame, "__arrow_c_stream__") and hasattr(frame, "columns"):
            return checked_table(pa.table(frame))
    raise InputError(
        f"a {kind} is no source of an audit; expected a path, a name, or a frame of pandas, polars or pyarrow"
    )
