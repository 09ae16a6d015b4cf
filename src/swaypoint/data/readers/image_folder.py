"""A folder of pictures by class: ``CLASS/FILE.png``, or deeper, ``CLASS/FOLDER/FILE.png``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.arrays import RawLabels, usable_records
from swaypoint.data.readers.base import Reader, Wanted, readers
from swaypoint.data.readers.class_folders import Layout, class_files
from swaypoint.data.readers.declared import with_class_names
from swaypoint.data.readers.images import Encoded, Progress, decoded_images
from swaypoint.data.readers.parquet_in_memory import is_parquet
from swaypoint.data.readers.saved import is_saved
from swaypoint.data.readers.stored import PictureFiles, Stored
from swaypoint.data.readers.text_folder import is_text_folder
from swaypoint.errors import InputError

PICTURES = Layout(
    frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}),
    "images",
    "FILE.png",
    "texts as CLASS/FILE.txt, parquet files, or a saved Hugging Face dataset",
)
_CHUNK = 256


def _matches(source: str) -> bool:
    other = is_saved(source) or is_parquet(source) or is_text_folder(source)
    return os.path.isdir(source) and not other


def _read(source: str, options: ReadOptions, on_progress: Progress) -> Dataset:
    """The pictures in ``source/CLASS``, or ``source/SPLIT/CLASS``, at any depth; classes and files sorted,
    hidden ones left out."""
    root = Path(source)
    if options.regression:
        raise InputError(f"{source}: a folder of images by class has no real values for --loss squared_error")
    found = class_files(root, options, PICTURES)

    def chunks() -> Iterator[list[Encoded]]:
        for start in range(0, len(found.names), _CHUNK):
            yield [root / file for file in found.names[start : start + _CHUNK]]

    images, faults = decoded_images(
        source,
        chunks,
        len(found.names),
        image_size=options.image_size,
        largest=options.largest_side,
        on_progress=on_progress,
    )
    labels = RawLabels("class", found.labels, np.zeros(len(found.names), dtype=bool), names=found.classes)
    records = usable_records(source, labels, faults=faults, options=options, where=found.names.__getitem__)
    names = tuple(found.names[row] for row in records.rows)
    return found.beside(records.dataset("images", records.of(images), names=names))


def _stored(source: str, options: ReadOptions, on_progress: Progress) -> Stored:
    dataset = _read(source, options, on_progress)
    # Rows of unusable files stay empty: positions in the table are those in the source.
    names = np.full(int(dataset.index[-1]) + 1, "", dtype=object)
    labels = np.zeros(len(names), dtype=np.int64)
    names[dataset.index], labels[dataset.index] = dataset.names, dataset.labels
    table = pa.table({"file_name": pa.array(names, pa.string()), "label": labels})
    table = with_class_names(table, {"label": dataset.classes})
    return Stored(dataset, table, "label", "image", PictureFiles(Path(source), dataset.names))


def _picture(source: str, options: ReadOptions, wanted: Wanted) -> bytes | None:
    root = Path(os.path.realpath(source, strict=True))
    path = Path(os.path.realpath(root / wanted.name, strict=True))
    if not path.is_relative_to(root):
        return None
    # Not followed once more, and not waited for, should it have become a link or a pipe by now.
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return None
        data = file.read(wanted.most + 1)
    return data if len(data) <= wanted.most else None


IMAGE_FOLDER = readers.register("image_folder", Reader(_matches, _read, _stored, _picture))
