"""Spreadsheets: ``.xlsx``, ``.xls``, ``.ods``, the first sheet with cells, whose first row is a header."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.declared import with_note
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.data.readers.python_values import table_of
from swaypoint.errors import InputError, reading, require
from swaypoint.folder.documents import require_memory

_REPAIR = "open it in the program that wrote it and save it again"
_SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")


def _matches(source: str) -> bool:
    return Path(source).suffix.lower() in _SUFFIXES and os.path.isfile(source)


def _table(source: str, options: ReadOptions) -> pa.Table:
    calamine = require("python_calamine", "tables")
    if zipfile.is_zipfile(source):
        with reading(source, "a spreadsheet", _REPAIR), zipfile.ZipFile(source) as archive:
            require_memory(source, sum(member.file_size for member in archive.infolist()), "its cells")
    with (
        reading(source, "a spreadsheet", _REPAIR),
        calamine.CalamineWorkbook.from_path(source) as book,
    ):
        names = list(book.sheet_names)
        sheets = ((name, book.get_sheet_by_name(name).to_python()) for name in names)
        chosen, rows = next(((name, rows) for name, rows in sheets if rows), ("", []))
    if not rows:
        raise InputError(
            f"{source}: its sheets are empty; expected a header and at least one record per class"
        )
    header, *records = rows
    limited: list[Any] = records[: options.limit]
    columns = {
        str(name).strip(): [None if row[place] == "" else row[place] for row in limited]
        for place, name in enumerate(header)
    }
    if len(columns) < len(header):
        raise InputError(f"{source}: two columns of the sheet {chosen!r} have the same name; rename one")
    return with_note(
        table_of(columns), f"the sheet {chosen!r}, one of {len(names)}" if len(names) > 1 else ""
    )


SPREADSHEETS = readers.register("spreadsheet", table_reader(_matches, _table))
