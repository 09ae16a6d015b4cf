"""A directory that ``datasets.save_to_disk`` wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import listed
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.declared import with_features, with_splits
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.errors import InputError, reading, require
from swaypoint.folder.manifest import TRAIN

_SAVED = ("dataset_info.json", "state.json", "dataset_dict.json")
_REMEDY = "save it again with save_to_disk"


def is_saved(source: str | Path) -> bool:
    """A directory that ``datasets`` saved."""
    # Not Path.is_file(), which raises for a name too long.
    return any(os.path.isfile(os.path.join(source, marker)) for marker in _SAVED)


def _table(source: str, options: ReadOptions) -> pa.Table:
    datasets = require("datasets", "hub")
    with reading(source, "a saved Hugging Face dataset", _REMEDY):
        loaded = datasets.load_from_disk(source)
    return rows_table(source, loaded, options)


def rows_table(name: str, loaded: Any, options: ReadOptions) -> pa.Table:
    """A ``datasets.Dataset``, or a split of a ``DatasetDict``, or all of them, ``train`` first, each less the
    records beyond ``options.limit``.

    Raises:
        InputError: no such split, or damaged.
    """
    if not hasattr(loaded, "keys"):
        return _rows(name, loaded, options)
    if options.split is None and len(loaded) > 1 and TRAIN in loaded:
        parts = {
            split: _rows(name, loaded[split], options)
            for split in (TRAIN, *(s for s in loaded if s != TRAIN))
        }
        with reading(
            name, "a Hugging Face dataset whose splits have the same columns", "choose with --split"
        ):
            table = pa.concat_tables(parts.values(), promote_options="none")
        return with_splits(table, {split: len(part) for split, part in parts.items()})
    split = TRAIN if options.split is None else options.split
    if split not in loaded:
        raise InputError(f"{name}: no split {split!r}; it has {listed(list(loaded))}; choose with --split")
    return _rows(name, loaded[split], options)


def _rows(name: str, loaded: Any, options: ReadOptions) -> pa.Table:
    with reading(name, "a Hugging Face dataset", _REMEDY):
        table = loaded.with_format("arrow")[: options.limit]
    return with_features(table, loaded.features.to_dict())


SAVED = readers.register("saved", table_reader(is_saved, _table))
