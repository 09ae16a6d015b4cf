"""The audited source read again, record by record, with every column and picture as it is stored."""

from __future__ import annotations

import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.planting import plant
from swaypoint.data.readers.builtin import PREFIX, builtin_table, read_builtin
from swaypoint.data.readers.images import Progress, read_image_folder
from swaypoint.data.readers.sources import (
    class_names,
    image_column,
    is_npz,
    npz_arrays,
    npz_dataset,
    npz_keys,
    read_table,
    stored_table,
)
from swaypoint.data.readers.tables import label_column
from swaypoint.errors import InputError, require
from swaypoint.folder.documents import misfit
from swaypoint.folder.items import item_id
from swaypoint.review.items import Items

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How Arrow tables of ``datasets`` hold a picture."""


_MAGIC = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}


class Pictures(ABC):
    """Encoded pictures by the position of their record in the dataset."""

    @abstractmethod
    def encoded(self, row: int) -> bytes: ...

    def file(self, row: int) -> Path | None:
        """Where it lies; None within a table or an archive."""
        return None

    def suffix(self, row: int) -> str:
        """By how it begins."""
        encoded = self.encoded(row)
        return next((suffix for magic, suffix in _MAGIC.items() if encoded.startswith(magic)), ".png")

    @property
    def stored(self) -> bool:
        """They are a column of the source's table."""
        return False


@dataclass(frozen=True)
class Files(Pictures):
    root: Path
    names: Sequence[str]

    def encoded(self, row: int) -> bytes:
        return self.file(row).read_bytes()

    def file(self, row: int) -> Path:
        return self.root / self.names[row]


@dataclass(frozen=True, eq=False)
class Cells(Pictures):
    column: pa.ChunkedArray
    index: np.ndarray

    def encoded(self, row: int) -> bytes:
        value = self.column[int(self.index[row])].as_py()
        found: bytes = value["bytes"] if isinstance(value, dict) else value
        return found

    @property
    def stored(self) -> bool:
        return True


@dataclass(frozen=True, eq=False)
class Pixels(Pictures):
    """``(N, H, W)`` or ``(N, H, W, 1 or 3)`` uint8, encoded as PNG, which loses nothing."""

    pixels: np.ndarray
    index: np.ndarray

    def encoded(self, row: int) -> bytes:
        pixels = self.pixels[self.index[row]]
        if pixels.ndim == 3 and pixels.shape[2] == 1:
            pixels = pixels[..., 0]
        buffer = io.BytesIO()
        require("PIL.Image", "images").fromarray(np.ascontiguousarray(pixels)).save(buffer, "PNG")
        return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Source:
    """The records of an audited source.

    Attributes:
        path: where it was read.
        dataset: as it was audited, with the wrong labels that the audit planted.
        given: its labels without those, ``(n,)``.
        table: the columns as they are stored, one row a record of the source, the unusable ones too; the
            pictures are among them if they are a column there.
        label: name of the labels' column.
        image: name of the pictures' column; None where points are no pictures.
        pictures: None where points are no pictures.
        ids: of each record, see :func:`~swaypoint.folder.items.item_id`.
        train: records that the audit ranked, ``(n_train,)``, in the order of its items.
    """

    path: str
    dataset: Dataset
    given: np.ndarray
    table: pa.Table
    label: str
    image: str | None
    pictures: Pictures | None
    ids: list[str]
    train: np.ndarray

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def planted(self) -> int:
        return int((self.given != self.dataset.labels).sum())

    def place(self, row: int) -> str:
        """The record's file, or its position in the source as text."""
        return self.dataset.names[row] if self.dataset.names else str(int(self.dataset.index[row]))

    def records(self, rows: np.ndarray) -> pa.Table:
        """The stored columns of ``rows`` ((m,), ascending and close to each other), less pictures that are
        no column."""
        if not len(rows):
            return self.table.slice(0, 0)
        index = self.dataset.index[rows]
        # A slice first: Arrow's take joins all chunks of a column, gigabytes of pictures, each time.
        near = self.table.slice(int(index[0]), int(index[-1] - index[0]) + 1)
        return near.take(pa.array(index - index[0]))

    def stored_labels(self, labels: np.ndarray) -> pa.ChunkedArray:
        """``labels`` (n,), indices or real values, the way the source stores its own: a text as text."""
        own = self.table[self.label].take(pa.array(self.dataset.index))
        if not self.dataset.classes:
            return _numbers(own, labels, labels != self.given)
        first = np.full(len(self.dataset.classes), -1)
        first[self.given[::-1]] = np.arange(len(self))[::-1]
        absent = np.flatnonzero(first < 0)  # only where the source declares classes, by their index
        first[absent] = len(self) + np.arange(len(absent))
        values = pa.chunked_array([*own.chunks, pa.array(absent).cast(own.type)] if len(absent) else own)
        return values.take(pa.array(np.where(labels == self.given, np.arange(len(self)), first[labels])))


def _numbers(own: pa.ChunkedArray, labels: np.ndarray, changed: np.ndarray) -> pa.ChunkedArray:
    new = pa.array(labels.astype(np.float64))
    try:
        new = new.cast(own.type)
    except pa.ArrowInvalid:  # whole numbers so far, and now a fraction
        own = own.cast(pa.float64())
    return pc.if_else(pa.array(changed), new, own)


_READ: dict[str, Any] = {
    **dict.fromkeys(("label", "features", "image"), (str, None)),
    **dict.fromkeys(("image_size", "limit"), (int, None)),
    **dict.fromkeys(("skip_bad", "regression"), bool),
    "split": str,
}


def origin(items: Items) -> tuple[str, ReadOptions] | None:
    """Where the audited source was and how it was read; None of a dataset in memory, or an older audit.

    Raises:
        InputError: the manifest says it in another way.
    """
    stored = items.manifest.data.origin
    if stored is None:
        return None
    if (problem := misfit(stored, {"path": str, "read": _READ}, "origin")) is not None:
        raise InputError(f"{items.folder.path / 'manifest.json'}: {problem}; make the audit again")
    return stored["path"], ReadOptions(**{name: stored["read"][name] for name in _READ})


def read_source(items: Items, path: str | Path | None = None, on_progress: Progress = None) -> Source:
    """Read again what ``items`` come from, and check that it is still what was audited.

    Args:
        path: where the source is now; default: where it was.

    Raises:
        InputError: it is gone, has changed, or was a dataset in memory.
        MissingExtra: as :func:`~swaypoint.data.readers.sources.read_dataset`.
    """
    items.folder.check_whole("writing the dataset out again")
    data, read = items.manifest.data, origin(items)
    if read is None:
        raise InputError(
            f"{items.folder.path} does not say how to read its source again (a dataset in memory, or an"
            " older audit); audit a file, a folder or a hub name to export it"
        )
    stored, options = read
    where = str(stored if path is None else path)
    if Path(where).is_absolute() and not os.path.exists(where):  # Path.exists() raises for a name too long
        raise InputError(f"the audited source {where} is not there; put it back, or say where with --source")
    source = _read(where, options, on_progress)
    if source.dataset.fingerprint != data.fingerprint:
        raise InputError(
            f"{where} is not what {items.folder.path} audited on {items.manifest.created[:10]}: inputs or"
            " labels differ; restore it, say where it is with --source, or audit it again"
        )
    return _as_audited(source, items)


@dataclass(frozen=True, eq=False)
class _Stored:
    where: str
    dataset: Dataset
    table: pa.Table
    label: str
    image: str | None = None
    pictures: Pictures | None = None


def _as_audited(stored: _Stored, items: Items) -> Source:
    arguments, given = items.manifest.arguments, stored.dataset
    try:
        dataset, _ = plant(given, arguments["flip"], arguments["seed"])
    except InputError as error:
        raise InputError(f"{items.folder.path / 'manifest.json'}: {error}; make the audit again") from error
    train = np.searchsorted(dataset.index, items.scores["index"]).clip(max=len(dataset) - 1)
    names = dataset.names or [str(index) for index in dataset.index]
    ids = [item_id(row.tobytes(), name) for row, name in zip(dataset.inputs, names, strict=True)]
    if [ids[row] for row in train] != items.ids or (dataset.labels[train] != items.scores["label"]).any():
        raise InputError(f"{items.folder.path}: its items are not the records of its source; audit again")
    return Source(
        stored.where,
        dataset,
        given.labels,
        stored.table,
        stored.label,
        stored.image,
        stored.pictures,
        ids,
        train,
    )


def _read(where: str, options: ReadOptions, on_progress: Progress) -> _Stored:
    if where.startswith(PREFIX):
        return _builtin(where)
    if is_npz(Path(where)):
        return _archive(where, options)
    table = stored_table(where, options)
    if table is None:
        return _folder(where, options, on_progress)
    dataset = read_table(where, table, options, on_progress)
    label = label_column(where, table, options.label)
    table = _without_dictionaries(table)
    if dataset.kind != "images":
        return _Stored(where, dataset, table, label)
    image = image_column(where, table, options.image)
    assert image is not None
    return _Stored(where, dataset, table, label, image, Cells(table[image], dataset.index))


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """``datasets`` and CSV know no dictionary columns."""
    for position, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(position).cast(field.type.value_type)
            table = table.set_column(position, field.with_type(field.type.value_type), plain)
    return table


def _builtin(where: str) -> _Stored:
    dataset, table = read_builtin(where), builtin_table(where)
    table = with_class_names(table, {"label": dataset.classes})
    if dataset.kind != "images":
        return _Stored(where, dataset, table, "label")
    return _Stored(where, dataset, table, "label", "image", Pixels(dataset.inputs, dataset.index))


def _folder(where: str, options: ReadOptions, on_progress: Progress) -> _Stored:
    dataset = read_image_folder(Path(where), options, name=where, on_progress=on_progress)
    # Rows of unusable files stay empty: positions in the table are those in the source.
    names = np.full(int(dataset.index[-1]) + 1, "", dtype=object)
    labels = np.zeros(len(names), dtype=np.int64)
    names[dataset.index], labels[dataset.index] = dataset.names, dataset.labels
    table = pa.table({"file_name": pa.array(names, pa.string()), "label": labels})
    table = with_class_names(table, {"label": dataset.classes})
    return _Stored(where, dataset, table, "label", "image", Files(Path(where), dataset.names))


def _archive(where: str, options: ReadOptions) -> _Stored:
    arrays = npz_arrays(Path(where))
    dataset = npz_dataset(where, arrays, options)
    features, label = npz_keys(where, arrays, options)
    images = dataset.kind == "images"
    columns = {
        key: column
        for key, array in arrays.items()
        if not (images and key == features) and (column := _column(array, len(arrays[label]))) is not None
    }
    table = pa.table(columns)
    if not images:
        return _Stored(where, dataset, table, label)
    return _Stored(where, dataset, table, label, features, Pixels(arrays[features], dataset.index))


def _column(array: np.ndarray, n: int) -> pa.Array | None:
    """An array of an archive as a column; None where it has no value, or no vector, a record."""
    if array.ndim not in (1, 2) or len(array) != n:
        return None
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).ravel()), array.shape[1])


def with_class_names(table: pa.Table, names: dict[str, tuple[str, ...]]) -> pa.Table:
    """Declare the classes of columns of indices, as ``datasets`` does."""
    declared = {**class_names(table.schema), **names}
    features = {
        column: {"names": list(classes), "_type": "ClassLabel"} for column, classes in declared.items()
    }
    metadata = {b"huggingface": json.dumps({"info": {"features": features}}).encode()}
    return table.replace_schema_metadata(metadata)
