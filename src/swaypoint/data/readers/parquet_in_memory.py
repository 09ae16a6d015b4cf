"""Parquet files that are read whole: one, or a directory of them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import listed
from swaypoint.data.readers.base import Wanted, readers
from swaypoint.data.readers.declared import with_splits
from swaypoint.data.readers.image_columns import encoded_pictures, image_column
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.data.readers.saved import is_saved
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import read_parquet
from swaypoint.folder.manifest import TRAIN

SPLITS = (TRAIN, "test", "validation", "valid", "dev")
"""Names of splits that the files, or folders, of a source may have."""
_REPAIR = "check that the file is whole, and fetch or write it again"
_MOST_COLUMN = 1 << 30  # bytes of a row group's pictures, which are read up to the one that is wanted
_BATCH = 32


def is_parquet(source: str) -> bool:
    """Whether a source is parquet files: a URL, a name that ends so, or a folder of them that ``datasets``
    did not save."""
    return "://" in source or Path(source).suffix.lower() == ".parquet" or _is_folder(source)


def _is_folder(source: str) -> bool:
    return os.path.isdir(source) and not is_saved(source) and bool(_inside(Path(source)))


def _matches(source: str) -> bool:
    is_file = Path(source).suffix.lower() == ".parquet" and os.path.isfile(source)
    return is_file or _is_folder(source)


def _inside(folder: Path) -> list[Path]:
    """The parquet files of a folder, else of its ``data``, in the order of their records; those of its other
    folders belong to neither."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def of_split(name: str, files: Sequence[str], split: str | None) -> list[str]:
    """Those of ``files`` whose names begin with ``split``, of itself ``train``; all where no name begins with
    one.

    Raises:
        InputError: there are only those of other splits.
    """
    split = TRAIN if split is None else split
    if not any(file.startswith((split, *SPLITS)) for file in files):
        return list(files)
    chosen = [file for file in files if file.startswith(split)]
    if not chosen:
        raise InputError(
            f"{name}: no parquet files of the split {split!r}; it has {listed(list(files))};"
            " choose with --split"
        )
    return chosen


def _files(source: str, options: ReadOptions) -> dict[str, list[Path]]:
    """The files of each split that is read, ``train`` first; under no name where they are not told apart."""
    if not os.path.isdir(source):
        return {"": [Path(source)]}
    found: dict[str, list[Path]] = {}
    for file in _inside(Path(source)):
        found.setdefault(next((name for name in SPLITS if file.name.startswith(name)), ""), []).append(file)
    if options.split is None and TRAIN in found and len(found) > 1 and "" not in found:
        return {name: found[name] for name in SPLITS if name in found}
    files = [file for part in found.values() for file in part]
    chosen = set(of_split(source, sorted(file.name for file in files), options.split))
    return {"": sorted(file for file in files if file.name in chosen)}


def _table(source: str, options: ReadOptions) -> pa.Table:
    if not os.path.isdir(source):
        return read_parquet(Path(source), _REPAIR, limit=options.limit, own=True)
    parts = {name: _joined(source, files, options.limit) for name, files in _files(source, options).items()}
    if len(parts) == 1:
        return next(iter(parts.values()))
    parts = {name: part.slice(0, options.limit) for name, part in parts.items()}
    with reading(source, "a directory whose splits have the same columns", "choose one with --split"):
        table = pa.concat_tables(parts.values(), promote_options="permissive")
    return with_splits(table, {name: len(part) for name, part in parts.items()})


def _joined(source: str, files: Sequence[Path], limit: int | None) -> pa.Table:
    with reading(source, "a directory of parquet files", _REPAIR):
        tables: list[pa.Table] = []
        for file in files:
            missing = None if limit is None else limit - sum(map(len, tables))
            if missing is not None and missing <= 0:
                break
            tables.append(read_parquet(file, _REPAIR, limit=missing, own=True))
        alike = all(table.column_names == tables[0].column_names for table in tables)
        return pa.concat_tables(tables, promote_options="permissive" if alike else "none")


def _picture(source: str, options: ReadOptions, wanted: Wanted) -> bytes | None:
    index = wanted.index
    for path in (file for files in _files(source, options).values() for file in files):
        with pq.ParquetFile(path, buffer_size=1 << 20) as file:
            if index < file.metadata.num_rows:
                return _of_row(file, index, options.image, wanted.most)
            index -= file.metadata.num_rows
    return None


def _of_row(file: pq.ParquetFile, row: int, image: str | None, most: int) -> bytes | None:
    column = image_column("", file.schema_arrow.empty_table(), image)
    if column is None:
        return None
    is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
    leaf, group = f"{column}.bytes" if is_struct else column, 0
    while row >= file.metadata.row_group(group).num_rows:
        row -= file.metadata.row_group(group).num_rows
        group += 1
    parts = file.metadata.row_group(group)
    chunks = [parts.column(i) for i in range(parts.num_columns)]
    sizes = [chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema == leaf]
    if not sizes or sizes[0] > _MOST_COLUMN:
        return None
    for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[leaf]):
        if row < len(batch):
            (found,) = encoded_pictures(batch.column(0).slice(row, 1))
            assert not isinstance(found, Path)
            return found if found is not None and len(found) <= most else None
        row -= len(batch)
    return None


PARQUET = readers.register("parquet", table_reader(_matches, _table, picture=_picture))
