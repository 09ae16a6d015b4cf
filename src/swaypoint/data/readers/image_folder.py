"""A folder of pictures by class: ``CLASS/FILE.png``."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions, Skipped, marked
from swaypoint.data.readers.arrays import RawLabels, usable_records
from swaypoint.data.readers.base import Reader, Wanted, readers
from swaypoint.data.readers.declared import with_class_names
from swaypoint.data.readers.images import Encoded, Progress, decoded_images
from swaypoint.data.readers.parquet_in_memory import SPLITS, is_parquet
from swaypoint.data.readers.saved import is_saved
from swaypoint.data.readers.stored import PictureFiles, Stored
from swaypoint.errors import InputError, reading
from swaypoint.folder.manifest import TRAIN

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
_CHUNK = 256


def _matches(source: str) -> bool:
    return os.path.isdir(source) and not is_saved(source) and not is_parquet(source)


def _read(source: str, options: ReadOptions, on_progress: Progress) -> Dataset:
    """The pictures ``source/CLASS/file``, or ``source/SPLIT/CLASS/file``, classes and files sorted by name,
    hidden ones left out."""
    root = Path(source)
    if options.regression:
        raise InputError(f"{source}: a folder of images by class has no real values for --loss squared_error")
    places = split_folders(root, options)
    parts = {split: folder_files(root / split, options) for split in places}
    classes = tuple(sorted({name for found in parts.values() for name in found}))
    files: list[tuple[int, str, str]] = []
    for split, found in parts.items():
        counts = _shares([len(names) for names in found.values()], options.limit)
        for (name, inside), count in zip(found.items(), counts, strict=True):
            place = f"{split}/{name}" if split else name
            files += [(classes.index(name), f"{place}/{file}", split) for file in inside[:count]]
    relative = [file for _, file, _ in files]

    def chunks() -> Iterator[list[Encoded]]:
        for start in range(0, len(relative), _CHUNK):
            yield [root / file for file in relative[start : start + _CHUNK]]

    images, faults = decoded_images(
        source, chunks, len(files), image_size=options.image_size, on_progress=on_progress
    )
    labels = RawLabels(
        "class", np.array([label for label, _, _ in files]), np.zeros(len(files), dtype=bool), names=classes
    )
    records = usable_records(source, labels, faults=faults, options=options, where=relative.__getitem__)
    names = tuple(relative[row] for row in records.rows)
    dataset = records.dataset("images", records.of(images), names=names)
    strays = [f"{split}/{file}" if split else file for split in places for file in _loose(root / split)]
    stray = tuple(Skipped(file, "outside the class folders") for file in strays)
    dataset = replace(dataset, skipped=(*stray, *dataset.skipped))
    if len(places) == 1:
        return dataset
    splits = np.array([split for _, _, split in files])
    return marked(replace(dataset, split=splits[dataset.index]))


def split_folders(root: Path, options: ReadOptions) -> list[str]:
    """The folders of the splits that are read, ``train`` first; "" where class folders lie in ``root``.

    Splits are told by their names, where each of the folders there has one and holds folders in turn.
    """
    with reading(str(root), "a directory", "check its permissions"):
        folders = _visible(root)[0]
        apart = TRAIN in folders and len(folders) > 1 and set(folders) <= {*SPLITS, "val"}
        if not apart or not all(_visible(root / folder)[0] for folder in folders):
            return [""]
    if options.split is None:
        return sorted(folders, key=lambda folder: folder != TRAIN)
    if options.split not in folders:
        raise InputError(f"{root}: no split {options.split!r}; it has {', '.join(folders)}")
    return [options.split]


def _shares(counts: list[int], limit: int | None) -> list[int]:
    """How many of each class to read, ``limit`` in all: one of each in turn, until there are enough.

    >>> _shares([5, 1, 4], 6)
    [3, 1, 2]
    """
    if limit is None or limit >= sum(counts):
        return counts
    taken = [0] * len(counts)
    for position in range(max(counts)):
        for label, count in enumerate(counts):
            if position < count and sum(taken) < limit:
                taken[label] += 1
    return taken


def _loose(root: Path) -> list[str]:
    """Pictures beside the class folders."""
    return [file for file in _visible(root)[1] if Path(file).suffix.lower() in _SUFFIXES]


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


def folder_files(root: Path, options: ReadOptions) -> dict[str, list[str]]:
    """Class name -> sorted image files.

    Raises:
        InputError: no class folders, or other layouts.
    """
    name = str(root)
    with reading(name, "a directory", "check its permissions"):
        return _folder_files(root, options, name)


def _folder_files(root: Path, options: ReadOptions, name: str) -> dict[str, list[str]]:
    folders, loose = _visible(root)[0], _loose(root)
    if not folders or (loose and not options.skip_bad):
        what = f"{len(loose)} images (such as {loose[0]}) outside" if loose else "no"
        remedy = "; move them into one, or leave them out with --skip-bad" if folders else ""
        raise InputError(
            f"{name}: it holds {what} class folders; expected images as CLASS/FILE.png, parquet files, or"
            f" a saved Hugging Face dataset{remedy}"
        )
    found = {}
    for folder in folders:
        inner, files = _visible(root / folder)
        images = [file for file in files if Path(file).suffix.lower() in _SUFFIXES]
        if inner:
            raise InputError(
                f"{name}: the folder {folder} holds the folder {inner[0]}; expected only images in it, as"
                f" CLASS/FILE.png. To read one split, pass {root / folder}"
            )
        if images:
            found[folder] = images
        elif not options.skip_bad:
            raise InputError(
                f"{name}: the class folder {folder} holds no images; expected {', '.join(sorted(_SUFFIXES))};"
                " remove it, or leave it out with --skip-bad"
            )
    if not found:
        raise InputError(f"{name}: its folders hold no images; expected {', '.join(sorted(_SUFFIXES))}")
    return found


def _visible(folder: Path) -> tuple[list[str], list[str]]:
    """Sorted names of the folders and of the files in ``folder`` that are not hidden."""
    with os.scandir(folder) as entries:
        shown = sorted((entry.name, _is_folder(entry)) for entry in entries if not entry.name.startswith("."))
    for name, _ in shown:
        if name.encode("utf-8", "ignore").decode() != name:
            raise InputError(f"{folder}: the name {os.fsencode(name)!r} is not UTF-8 text; rename it")
    return [name for name, is_folder in shown if is_folder], [
        name for name, is_folder in shown if not is_folder
    ]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


IMAGE_FOLDER = readers.register("image_folder", Reader(_matches, _read, _stored, _picture))
