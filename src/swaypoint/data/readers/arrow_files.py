"""Arrow's own files: ``.feather`` and ``.arrow``, files or streams."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
from pyarrow import feather, ipc

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.errors import reading
from swaypoint.folder.documents import checked_table

_SUFFIXES = (".feather", ".arrow", ".ipc")


def _matches(source: str) -> bool:
    return Path(source).suffix.lower() in _SUFFIXES and os.path.isfile(source)


def _table(source: str, options: ReadOptions) -> pa.Table:
    with reading(source, "an Arrow file", "check that the file is whole, and fetch or write it again"):
        with open(source, "rb") as file:
            is_file = file.read(4) in (b"ARRO", b"FEA1")
        table = feather.read_table(source) if is_file else ipc.open_stream(pa.OSFile(source)).read_all()
        return checked_table(table)


ARROW = readers.register("arrow", table_reader(_matches, _table))
