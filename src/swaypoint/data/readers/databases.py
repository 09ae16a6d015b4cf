"""A table of an SQLite or DuckDB file: its only one, or the first with the label's column."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import listed
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.declared import with_note
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.data.readers.python_values import table_of
from swaypoint.data.readers.tables import LABEL_NAMES
from swaypoint.errors import InputError, reading, require
from swaypoint.folder.documents import checked_table

_REPAIR = "check that the file is whole, and fetch or write it again"


def _magic(source: str, at: int, magic: bytes) -> bool:
    """Whether a file holds ``magic`` at a place; also the many files ``.db`` are told apart so."""
    try:
        with open(source, "rb") as file:
            return file.read(at + len(magic))[at:] == magic
    except (OSError, ValueError):
        return False


def _is_sqlite(source: str) -> bool:
    suffix = Path(source).suffix.lower()
    named = suffix in (".sqlite", ".sqlite3") and os.path.isfile(source)
    return named or (suffix == ".db" and _magic(source, 0, b"SQLite format 3\0"))


def _is_duckdb(source: str) -> bool:
    suffix = Path(source).suffix.lower()
    named = suffix in (".duckdb", ".ddb") and os.path.isfile(source)
    return named or (suffix == ".db" and _magic(source, 8, b"DUCK"))


def _sqlite(source: str, options: ReadOptions) -> pa.Table:
    with reading(source, "an SQLite database", _REPAIR):
        place = f"file:{quote(os.path.abspath(source))}?mode=ro"
        with closing(sqlite3.connect(place, uri=True)) as connection:
            found = connection.execute(
                "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite~_%'"
                " ESCAPE '~' ORDER BY type, rowid"
            ).fetchall()
            tables = {
                name: [column[1] for column in connection.execute(f"PRAGMA table_info({_quoted(name)})")]
                for (name,) in found
            }
            name = _chosen(source, tables, options)
            rows = connection.execute(_select(name, options)).fetchall()
        columns = zip(*rows, strict=True) if rows else ([] for _ in tables[name])
        table = table_of({column: list(values) for column, values in zip(tables[name], columns, strict=True)})
    return with_note(table, _said(name, tables))


def _duckdb(source: str, options: ReadOptions) -> pa.Table:
    duckdb = require("duckdb", "duckdb")
    with (
        reading(source, "a DuckDB database", _REPAIR),
        closing(duckdb.connect(source, read_only=True)) as connection,
    ):
        found = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'main'"
            " ORDER BY table_name, ordinal_position"
        ).fetchall()
        tables: dict[str, list[str]] = {}
        for name, column in found:
            tables.setdefault(name, []).append(column)
        name = _chosen(source, tables, options)
        table = checked_table(connection.sql(_select(name, options)).to_arrow_table())
    return with_note(table, _said(name, tables))


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _select(name: str, options: ReadOptions) -> str:
    limit = "" if options.limit is None else f" LIMIT {int(options.limit)}"
    return f"SELECT * FROM {_quoted(name)}{limit}"


def _chosen(source: str, tables: dict[str, list[str]], options: ReadOptions) -> str:
    if not tables:
        raise InputError(f"{source}: it has no tables; expected one with a record a row")
    if len(tables) == 1:
        return next(iter(tables))
    for name, columns in tables.items():
        usual = [column for column in columns if column.lower() in LABEL_NAMES]
        if (options.label in columns) if options.label is not None else usual:
            return name
    what = "a column called label" if options.label is None else f"a column {options.label!r}"
    raise InputError(
        f"{source}: none of its tables ({listed(list(tables))}) has {what}; say which with --label"
    )


def _said(name: str, tables: dict[str, list[str]]) -> str:
    return f"the table {name!r}, one of {len(tables)}" if len(tables) > 1 else ""


SQLITE = readers.register("sqlite", table_reader(_is_sqlite, _sqlite))
DUCKDB = readers.register("duckdb", table_reader(_is_duckdb, _duckdb))
