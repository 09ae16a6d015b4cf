"""Frames in memory: of pandas, polars, pyarrow, or whatever gives Arrow's stream of records."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.labelled_tables import read_table
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import checked_table

FRAME = "frame"
"""How a dataset of a frame is called."""


def read_frame(frame: Any, options: ReadOptions | None = None) -> Dataset:
    """A labelled dataset of a frame; the index of one of pandas is left out.

    Raises:
        InputError: as :func:`~swaypoint.data.readers.sources.read_dataset`, or it is no frame.
    """
    return read_table(FRAME, _table(frame), options or ReadOptions())


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
