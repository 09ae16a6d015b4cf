"""Parquet files in any file system of fsspec, read by row groups: no file is ever held whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from swaypoint.data.readers.arrays import listed
from swaypoint.data.readers.parquet_in_memory import of_split
from swaypoint.errors import InputError, reading

_BATCH = 16_384
_WHOLE = "check that the file is whole, and fetch or write it again"


@dataclass(frozen=True)
class Piece:
    """Neighbouring row groups of one file.

    Attributes:
        file: its path in its file system.
        groups: their numbers in it.
        start, rows: position of the first row in the dataset, and how many they are.
    """

    file: str
    groups: tuple[int, ...]
    start: int
    rows: int


@dataclass(frozen=True)
class ParquetFiles:
    """Parquet files of the same columns, in the order of their names.

    Attributes:
        name: as given; also where their file system is found.
        schema: of the first file.
        groups: one piece for each row group that has rows.
        stamps: of each file its name, size and date (or tag): what tells that it has changed.
    """

    name: str
    schema: pa.Schema
    groups: tuple[Piece, ...]
    stamps: tuple[tuple[str, int | None, str], ...]

    @property
    def rows(self) -> int:
        return sum(piece.rows for piece in self.groups)

    def first(self, count: int) -> ParquetFiles:
        """The first ``count`` rows alone, of which there is at least one.

        Raises:
            InputError: ``count`` < 1.
        """
        if count < 1:
            raise InputError(f"limit is {count}; expected a positive number of records")
        kept = [replace(piece, rows=min(piece.rows, count - piece.start)) for piece in self.groups]
        return replace(self, groups=tuple(piece for piece in kept if piece.rows > 0))

    def pieces(self, most: int) -> list[Piece]:
        """Row groups joined while they have at most ``most`` rows together, never across files."""
        joined: list[Piece] = []
        for piece in self.groups:
            last = joined[-1] if joined else None
            if last and last.file == piece.file and last.rows + piece.rows <= most:
                groups, rows = last.groups + piece.groups, last.rows + piece.rows
                joined[-1] = replace(last, groups=groups, rows=rows)
            else:
                joined.append(piece)
        return joined

    def read(
        self, piece: Piece, columns: Sequence[str] | None = None, *, batch: int = _BATCH
    ) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of a piece and the positions of their first rows; a batch, not the piece, is held.

        Raises:
            InputError: the file is gone or damaged.
        """
        with _opened(self.name, piece.file) as file:
            start = piece.start
            for found in file.iter_batches(
                batch, list(piece.groups), columns, use_threads=torch.get_num_threads() > 1
            ):
                found = found.slice(0, piece.start + piece.rows - start)  # of the first rows alone
                if len(found):
                    yield start, found
                start += len(found)

    def take(self, index: np.ndarray) -> pa.Table:
        """The records at the ascending positions ``index`` (k,), all their columns, from those row groups
        that have them."""
        parts: list[pa.Table] = []
        for piece in self.groups:
            low, high = np.searchsorted(index, [piece.start, piece.start + piece.rows])
            if low == high:
                continue
            for start, batch in self.read(piece):
                first, last = np.searchsorted(index, [start, start + len(batch)])
                if first < last:
                    parts.append(pa.Table.from_batches([batch.take(pa.array(index[first:last] - start))]))
        return pa.concat_tables(parts, promote_options="permissive")


def parquet_files(source: str | Path, split: str | None) -> ParquetFiles:
    """A ``.parquet`` file, a directory of them, or the URL of either in any file system of fsspec.

    Only the files' footers are read.

    Args:
        split: the files whose names begin with it are taken, where names begin with a split.

    Raises:
        InputError: none there, damaged, of different columns, or without records.
    """
    name = str(source)
    with reading(name, "a place of parquet files", "check the address, and that its fsspec package is there"):
        system, path = fsspec.core.url_to_fs(name)
        found = _files(name, system, path, split)
        stamps = tuple(_stamp(file, system.info(file), path) for file in found)
    groups: list[Piece] = []
    schema: pa.Schema | None = None
    start = 0
    for file in found:
        with _opened(name, file) as opened:
            schema = _same(name, file, schema, opened.schema_arrow)
            for number in range(opened.num_row_groups):
                if rows := opened.metadata.row_group(number).num_rows:
                    groups.append(Piece(file, (number,), start, rows))
                    start += rows
    if schema is None or not groups:
        raise InputError(f"{name}: it holds no records; expected at least one per class")
    return ParquetFiles(name, schema, tuple(groups), stamps)


def _files(name: str, system: Any, path: str, split: str | None) -> list[str]:
    if not system.exists(path):
        raise InputError(f"{name} does not exist; expected parquet files")
    if not system.isdir(path):
        return [path]
    below = f"{path.rstrip('/')}/data"
    files = _inside(system, path) or (_inside(system, below) if system.isdir(below) else [])
    if not files:
        raise InputError(f"{name}: no parquet files in it; expected some whose names end in .parquet")
    chosen = set(of_split(name, [file.rsplit("/", 1)[-1] for file in files], split))
    return [file for file in files if file.rsplit("/", 1)[-1] in chosen]


def _inside(system: Any, folder: str) -> list[str]:
    return sorted(file for file in system.ls(folder, detail=False) if file.endswith(".parquet"))


def _stamp(file: str, info: dict[str, Any], root: str) -> tuple[str, int | None, str]:
    stamps = (info[key] for key in ("ETag", "etag", "mtime", "LastModified", "created") if info.get(key))
    return file.removeprefix(root), info.get("size"), str(next(stamps, None))


def _same(name: str, file: str, one: pa.Schema | None, other: pa.Schema) -> pa.Schema:
    if one is not None and one.names != other.names:
        raise InputError(
            f"{name}: {file} has the columns {listed(other.names)}, the first file {listed(one.names)};"
            " expected the same in all"
        )
    if one is None:
        return other
    try:  # a column without values in one file, or whole numbers of other widths, are no other type
        return pa.unify_schemas([one, other], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(
            f"{name}: {file} has columns of other types than the files before it ({error}); write them alike"
        ) from error


@contextmanager
def _opened(name: str, file: str) -> Iterator[pq.ParquetFile]:
    system, _ = fsspec.core.url_to_fs(name)
    with reading(file, "a parquet file", _WHOLE):
        local = "file" in (system.protocol if isinstance(system.protocol, tuple) else (system.protocol,))
        # Buffered: without it a column of a row group is read whole, however large.
        with (
            open(file, "rb") if local else system.open(file, "rb") as handle,
            pq.ParquetFile(handle, buffer_size=1 << 20) as opened,
        ):
            yield opened
