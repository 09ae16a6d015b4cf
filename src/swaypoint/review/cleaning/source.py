"""The audited source read again, record by record, with every column and picture as it is stored."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.dataset import Dataset, ReadOptions, fingerprint
from swaypoint.data.planting import plant
from swaypoint.data.readers import Stored, StoredPictures, read_stored
from swaypoint.data.readers.beside import read_beside
from swaypoint.data.readers.images import Progress
from swaypoint.errors import InputError
from swaypoint.folder.documents import misfit
from swaypoint.folder.items import item_id
from swaypoint.folder.manifest import HELD_OUT, TRAIN
from swaypoint.review.items import Items

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""How Arrow tables of ``datasets`` hold a picture."""


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
        ranked: records that the audit ranked, ``(m,)``, in the order of its items; of an older audit those
            that it trained on alone.
        split: of each record, ``(n,)``, see :meth:`~swaypoint.review.items.Items.split`.
    """

    path: str
    dataset: Dataset
    given: np.ndarray
    table: pa.Table
    label: str
    image: str | None
    pictures: StoredPictures | None
    ids: list[str]
    ranked: np.ndarray
    split: np.ndarray

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def planted(self) -> int:
        return int((self.given != self.dataset.labels).sum())

    @property
    def train(self) -> np.ndarray:
        """Records that the model was trained on, ascending."""
        return np.flatnonzero(self.split == TRAIN)

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
    **dict.fromkeys(("label", "features", "image", "text"), (str, None)),
    **dict.fromkeys(("image_size", "limit"), (int, None)),
    **dict.fromkeys(("skip_bad", "regression", "spread"), bool),
    "split": (str, None),
    "largest_side": int,
}


def origin(items: Items) -> tuple[str, ReadOptions] | None:
    """Where the audited source was and how it was read; None of a dataset in memory, or an older audit.

    Raises:
        InputError: the manifest says it in another way.
    """
    stored = items.manifest.data.origin
    if stored is None:
        return None
    read: Any = stored.get("read")
    if isinstance(read, dict):  # of an audit before there were such options
        read = {"largest_side": ReadOptions.largest_side, "text": None, "spread": False} | read
    if (problem := misfit(stored | {"read": read}, {"path": str, "read": _READ}, "origin")) is not None:
        raise InputError(f"{items.folder.path / 'manifest.json'}: {problem}; make the audit again")
    return stored["path"], ReadOptions(**{name: read[name] for name in _READ})


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
    beside = None if data.origin is None else data.origin.get("test")
    where = str(stored if path is None else path)
    if Path(where).is_absolute() and not os.path.exists(where):  # Path.exists() raises for a name too long
        raise InputError(f"the audited source {where} is not there; put it back, or say where with --source")
    if beside is None:
        found = read_stored(where, options=options, on_progress=on_progress)
    else:
        found = read_beside(where, beside, options=options, on_progress=on_progress)
    given = found.dataset
    # Older audits know the inputs, labels and classes alone.
    earlier = fingerprint(given.inputs, given.labels, given.classes)
    if data.fingerprint not in (given.fingerprint, earlier):
        raise InputError(
            f"{where} is not what {items.folder.path} audited on {items.manifest.created[:10]}: inputs or"
            " labels differ; restore it, say where it is with --source, or audit it again"
        )
    return _as_audited(where, found, items)


def _as_audited(where: str, stored: Stored, items: Items) -> Source:
    arguments, given = items.manifest.arguments, stored.dataset
    try:
        dataset, _ = plant(given, arguments["flip"], arguments["seed"])
    except InputError as error:
        raise InputError(f"{items.folder.path / 'manifest.json'}: {error}; make the audit again") from error
    ranked = np.searchsorted(dataset.index, items.scores["index"]).clip(max=len(dataset) - 1)
    names = dataset.names or [str(index) for index in dataset.index]
    ids = [item_id(dataset.content(row), name) for row, name in enumerate(names)]
    if [ids[row] for row in ranked] != items.ids or (dataset.labels[ranked] != items.scores["label"]).any():
        raise InputError(f"{items.folder.path}: its items are not the records of its source; audit again")
    split = np.full(len(dataset), HELD_OUT, dtype=object)
    split[ranked] = items.scores["split"]
    return Source(
        where,
        dataset,
        given.labels,
        stored.table,
        stored.label,
        stored.image,
        stored.pictures,
        ids,
        ranked,
        split,
    )
