"""Delimited text: a ``.csv`` or ``.tsv`` file with a header."""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.errors import InputError, reading

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def _matches(source: str) -> bool:
    return Path(source).suffix.lower() in _DELIMITERS and os.path.isfile(source)


def _table(source: str, options: ReadOptions) -> pa.Table:
    path = Path(source)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: it is empty; expected a header and at least one record per class")
    with reading(str(path), "a table", "check its delimiter and that every line has as many fields"):
        delimiter = _DELIMITERS[path.suffix.lower()]
        table = pa_csv.read_csv(
            path,
            parse_options=pa_csv.ParseOptions(delimiter=delimiter),
            convert_options=pa_csv.ConvertOptions(strings_can_be_null=True),
        )
        fields = list(zip(table.column_names, table.schema.types, strict=True))
    for column, kind in fields:
        if pa.types.is_binary(kind):
            raise InputError(f"{path}: column {column!r} is not UTF-8 text; save the file as UTF-8")
    return table


DELIMITED = readers.register("delimited", table_reader(_matches, _table))
