"""Delimited text with a header: ``.csv``, ``.tsv``, also compressed, any separator and encoding."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pa_csv

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.compressed import inner_suffix, opened
from swaypoint.data.readers.declared import with_note
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.errors import InputError, reading, require

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
_SAMPLE = 64 << 10
_LINES = 100
_WORDS = 64 << 10  # bytes of words that are not ASCII, by which an encoding is told
_LATIN = ("cp1252", "cp1250")  # of equal ones the first: western
_ENCODINGS = [
    *(*_LATIN, "cp1251", "koi8_r", "cp1253", "cp1254", "cp1255", "cp1256"),
    *("shift_jis", "euc_jp", "gb18030", "big5", "euc_kr"),
]
"""What tables are written in. Of all that there are, charset-normalizer finds rare ones in short texts."""


def _matches(source: str) -> bool:
    return inner_suffix(source) in _DELIMITERS and os.path.isfile(source)


def _table(source: str, options: ReadOptions) -> pa.Table:
    path = Path(source)
    if path.stat().st_size == 0:
        raise InputError(f"{path}: it is empty; expected a header and at least one record per class")
    with reading(str(path), "a table", "check its delimiter and that every line has as many fields"):
        with opened(path) as stream:
            sample = stream.read(_SAMPLE)
        encoding = _MARKS.get(sample[:2], "utf-8")
        usual = _DELIMITERS[inner_suffix(source)]
        delimiter = _delimiter(sample.decode(encoding, errors="replace"), usual)
        table = _parsed(path, delimiter, encoding, quoted=b'"' in sample)
        if table is None:
            encoding = _encoding(path)
            table = _parsed(path, delimiter, encoding, quoted=b'"' in sample)
    if table is None:
        raise _of_no_encoding(path)
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


def _encoding(path: Path) -> str:
    """Of a file that is not UTF-8, by its words that are not ASCII.

    Raises:
        InputError: none fits.
        MissingExtra: charset-normalizer is not installed.
    """
    words = b" ".join(_foreign_words(path))[:_WORDS]
    best = (
        require("charset_normalizer", "tables")
        .from_bytes(words, cp_isolation=_ENCODINGS, threshold=0.5)
        .best()
    )
    if best is None:
        raise _of_no_encoding(path)
    return _latin(words) if best.encoding in _LATIN else str(best.encoding)


def _of_no_encoding(path: Path) -> InputError:
    return InputError(f"{path}: it is not UTF-8 text, nor of a known encoding; save the file as UTF-8")


def _latin(words: bytes) -> str:
    """Which of the two encodings of Latin letters makes the more letters of what stands beside letters."""
    beside = b" ".join(word for word in words.split() if re.search(rb"[A-Za-z]", word))
    return max(_LATIN, key=lambda name: sum(map(str.isalpha, beside.decode(name, errors="replace"))))


def _foreign_words(path: Path) -> Iterator[bytes]:
    found = 0
    with opened(path) as stream:
        while found < _WORDS and (block := stream.read(1 << 20)):
            for word in block.replace(b",", b" ").replace(b";", b" ").split():
                if not word.isascii():
                    found += len(word)
                    yield word


DELIMITED = readers.register("delimited", table_reader(_matches, _table))
