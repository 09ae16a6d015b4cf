"""Delimited text with a header: ``.csv``, ``.tsv``, also compressed, any separator and encoding."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.charsets import MARKS, encoding_of
from swaypoint.data.readers.compressed import inner_suffix, opened
from swaypoint.data.readers.declared import with_note
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.errors import InputError, reading

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_SAMPLE = 64 << 10
_LINES = 100


def _matches(source: str) -> bool:
    return inner_suffix(source) in _DELIMITERS and os.path.isfile(source)


def _table(source: str, options: ReadOptions) -> pa.Table:
    path = Path(source)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: it is empty; expected a header and at least one record per class")
    with reading(str(path), "a table", "check its delimiter and that every line has as many fields"):
        with opened(path) as stream:
            sample = stream.read(_SAMPLE)
        encoding = MARKS.get(sample[:2], "utf-8")
        usual = _DELIMITERS[inner_suffix(source)]
        delimiter = _delimiter(sample.decode(encoding, errors="replace"), usual)
        table = _parsed(path, delimiter, encoding, quoted=b'"' in sample)
        if table is None:
            encoding = encoding_of(path, _blocks(path))
            table = _parsed(path, delimiter, encoding, quoted=b'"' in sample)
        if table is None:
            raise InputError(
                f"{path}: it is not UTF-8 text, and not all of it {encoding}, as its words are; save"
                " it as UTF-8"
            )
    said = [f"{_NAMES[delimiter]} between the fields"] if delimiter != usual else []
    said += [f"taken for {encoding}, as it is not UTF-8"] if encoding != "utf-8" else []
    # Blanks after the separators are no part of a name.
    return with_note(table.rename_columns([name.strip() for name in table.column_names]), ", ".join(said))


def _delimiter(sample: str, usual: str) -> str:
    """The separator that cuts every line of the sample into as many fields, and the most; else the usual one.

    Not ``csv.Sniffer``: its patterns are quadratic on unbalanced quotes, and it guesses from characters.
    """
    lines = sample.splitlines()
    lines = lines[:-1] if len(sample) >= _SAMPLE // 4 and len(lines) > 1 else lines  # the last may be cut
    widths = {usual: 1}
    for delimiter in _NAMES:
        try:
            found = {len(row) for row in csv.reader(lines[:_LINES], delimiter=delimiter) if row}
        except csv.Error:
            continue
        if len(found) == 1:
            widths[delimiter] = found.pop()
    return max(widths, key=lambda delimiter: (widths[delimiter], delimiter == usual))


def _parsed(path: Path, delimiter: str, encoding: str, *, quoted: bool) -> pa.Table | None:
    """The table, None where it is not of that encoding."""
    try:
        with opened(path) as stream:
            table = pa_csv.read_csv(
                stream,
                read_options=pa_csv.ReadOptions(encoding=encoding),
                parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=quoted),
                convert_options=pa_csv.ConvertOptions(strings_can_be_null=True),
            )
        return (
            None
            if any(map(pa.types.is_binary, table.schema.types))
            else table.rename_columns(table.column_names)
        )
    except UnicodeDecodeError:
        return None


def _blocks(path: Path) -> Iterator[bytes]:
    with opened(path) as stream:
        while block := stream.read(1 << 20):
            yield block


DELIMITED = readers.register("delimited", table_reader(_matches, _table))
