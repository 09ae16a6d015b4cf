"""Two sources as one: a model is trained on the first, and the second is its split ``test``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions, marked
from swaypoint.data.readers.declared import class_names, with_splits
from swaypoint.data.readers.images import Progress
from swaypoint.data.readers.labelled_tables import as_stored
from swaypoint.data.readers.sources import read_stored
from swaypoint.data.readers.stored import PictureColumn, Stored, StoredPictures
from swaypoint.errors import InputError
from swaypoint.folder.manifest import TEST, TRAIN


@dataclass(frozen=True, eq=False)
class PicturesBeside(StoredPictures):
    """Those of two sources, ``count`` of the first."""

    first: StoredPictures
    second: StoredPictures
    count: int

    def _of(self, row: int) -> tuple[StoredPictures, int]:
        return (self.first, row) if row < self.count else (self.second, row - self.count)

    def encoded(self, row: int) -> bytes:
        pictures, own = self._of(row)
        return pictures.encoded(own)

    def file(self, row: int) -> Path | None:
        pictures, own = self._of(row)
        return pictures.file(own)


def read_beside(
    source: str | Path, test: str | Path, *, options: ReadOptions, on_progress: Progress = None
) -> Stored:
    """The records of ``source``, to train on, and those of ``test``, read alike: the dataset's ``split``.

    Raises:
        InputError: as :func:`~swaypoint.data.readers.sources.read_stored`, or the two do not fit together.
        MissingExtra: as there.
    """
    first = read_stored(source, options=options, on_progress=on_progress)
    _check_train(first.dataset)
    if first.dataset.kind == "images" and options.image_size is None:
        options = replace(options, image_size=first.dataset.inputs.shape[1])
    second = read_stored(test, options=options, on_progress=on_progress)
    second = replace(second, dataset=replace(second.dataset, split=None))
    if first.dataset.kind == second.dataset.kind == "rows" and first.dataset.raw is not None:
        return _one_table(first, second, options, on_progress)
    dataset = datasets_beside(first.dataset, second.dataset)
    table = _stacked(first, second, dataset.classes)
    pictures: StoredPictures | None = None
    if first.pictures is not None and second.pictures is not None:
        pictures = PicturesBeside(first.pictures, second.pictures, len(first.dataset))
        if first.pictures.stored and second.pictures.stored and first.image is not None:
            pictures = PictureColumn(table[first.image], dataset.index)
    index = np.concatenate([first.dataset.index, len(first.table) + second.dataset.index])
    return Stored(replace(dataset, index=index), table, first.label, first.image, pictures)


def datasets_beside(first: Dataset, second: Dataset) -> Dataset:
    """Two datasets in memory as one, the second as its split ``test``.

    Raises:
        InputError: their inputs differ in form, or the second has classes that the first has not.
    """
    _check_train(first)
    for name, own, other in (
        ("kind", first.kind, second.kind),
        ("inputs", first.inputs.shape[1:], second.inputs.shape[1:]),
        ("columns", first.columns, second.columns),
        ("labels", bool(first.classes), bool(second.classes)),
    ):
        if own != other:
            raise InputError(f"{second.name} has other {name} than {first.name}: {other}, expected {own}")
    rest = first.index[-1] + 1 if len(first.index) else 0
    raw = None
    if first.raw is not None and second.raw is not None:
        raw = pa.concat_tables([first.raw, second.raw], promote_options="permissive")
    shown = [one.pictures for one in (first, second) if one.pictures is not None]
    alike = len(shown) == 2 and shown[0].shape[1:] == shown[1].shape[1:]
    pictures = np.concatenate(shown) if alike else None
    return marked(
        replace(
            first,
            inputs=np.concatenate([first.inputs, second.inputs]),
            labels=np.concatenate([first.labels, _in_classes(second, first.classes)]),
            index=np.concatenate([first.index, rest + second.index]),
            names=_names(first, second),
            skipped=(*first.skipped, *second.skipped),
            raw=raw,
            pictures=pictures,
            split=np.concatenate([np.full(len(first), TRAIN), np.full(len(second), TEST)]),
            of=_of(first, second),
        )
    )


def _of(first: Dataset, second: Dataset) -> int | None:
    if first.of is None and second.of is None:
        return None
    return sum(len(one) if one.of is None else one.of for one in (first, second))


def _names(first: Dataset, second: Dataset) -> tuple[str, ...]:
    """Files may have the same name in both."""
    if not first.names and not second.names:
        return ()
    own = first.names or tuple(str(index) for index in first.index)
    return (*own, *(f"{TEST}/{name}" for name in second.names or map(str, second.index)))


def _check_train(first: Dataset) -> None:
    if first.split is not None:
        own = ", ".join(sorted(set(first.split.tolist())))
        raise InputError(
            f"{first.name} has splits of its own ({own}), which are audited too; leave --test out, or choose"
            f" one with --split {TRAIN}"
        )


def _in_classes(dataset: Dataset, classes: Sequence[str]) -> np.ndarray:
    """The labels as indices of other ``classes``; values as they are."""
    if not dataset.classes:
        return dataset.labels
    used = [dataset.classes[label] for label in np.unique(dataset.labels)]
    if unknown := [name for name in used if name not in classes]:
        raise unknown_class(dataset.name, unknown[0])
    index = {name: position for position, name in enumerate(classes)}
    return np.array([index.get(name, -1) for name in dataset.classes], dtype=np.int64)[dataset.labels]


def unknown_class(name: str, label: str) -> InputError:
    """Of records beside those to train on."""
    return InputError(
        f"{name} has the class {label!r}, of which there is nothing to train on, so no model can know it;"
        " leave its records out, or give their label the name that it has there"
    )


def _one_table(first: Stored, second: Stored, options: ReadOptions, on_progress: Progress) -> Stored:
    """Rows of tables: what is made of a column hangs on all its values."""
    name = first.dataset.name
    if first.table.column_names != second.table.column_names:
        missing = [c for c in first.table.column_names if c not in second.table.column_names]
        what = f"no column {missing[0]!r}" if missing else "other columns"
        raise InputError(f"{second.dataset.name} has {what}; expected those of {name}, in the same order")
    try:
        table = pa.concat_tables([first.table, second.table], promote_options="permissive")
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{second.dataset.name} has columns of other types than {name}: {reason}; write both alike"
        ) from error
    counts = {TRAIN: len(first.table), TEST: len(second.table)}
    return as_stored(name, with_splits(table, counts), _of_both(options, first.label), on_progress)


def _of_both(options: ReadOptions, label: str) -> ReadOptions:
    """The limit is each source's."""
    both = 2 * options.limit if options.spread and options.limit is not None else options.limit
    return replace(options, label=label, limit=both)


def _stacked(first: Stored, second: Stored, classes: Sequence[str]) -> pa.Table:
    """The stored columns that both have, the second's labels the way the first stores its own."""
    theirs = second.table
    if second.label != first.label:
        names = [first.label if name == second.label else name for name in theirs.column_names]
        theirs = theirs.rename_columns(names)
    declared = class_names(second.table.schema).get(second.label)
    if declared is not None and first.label in class_names(first.table.schema):
        index = {name: position for position, name in enumerate(classes)}
        values = [None if v is None else index.get(declared[v]) for v in theirs[first.label].to_pylist()]
        column = pa.array(values, first.table[first.label].type)
        theirs = theirs.set_column(theirs.column_names.index(first.label), first.label, column)
    shared = [name for name in first.table.column_names if name in theirs.column_names]
    own = first.table.select(shared)
    metadata = own.schema.metadata
    parts = [own.replace_schema_metadata(None), theirs.select(shared).replace_schema_metadata(None)]
    return pa.concat_tables(parts, promote_options="permissive").replace_schema_metadata(metadata)
