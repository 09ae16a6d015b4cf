"""Pictures that are not held in memory: folders by class, and parquet files, a shard at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import row_name
from swaypoint.data.readers.class_folders import folder_files
from swaypoint.data.readers.image_columns import encoded_pictures, image_column
from swaypoint.data.readers.image_folder import IMAGE_FOLDER, PICTURES
from swaypoint.data.readers.images import Encoded, decoded_images, own_side
from swaypoint.data.readers.labelled_tables import readable
from swaypoint.data.readers.parquet_files import ParquetFiles, Piece, parquet_files
from swaypoint.data.readers.tables import label_column
from swaypoint.errors import InputError

SHARD = 8192
"""Pictures of one shard at most, where the source leaves the choice."""
FEATURES, PICTURE = "features", "picture"
"""The columns that are added."""
_BATCH = 256


@dataclass(frozen=True)
class PictureBatch:
    """Some pictures in the order of their source.

    Attributes:
        others: what a person can read of each beside the picture, its label included.
        pixels: (b, side, side, 3) uint8.
    """

    others: pa.Table
    pixels: np.ndarray


class PictureShard(Protocol):
    """Pictures that a worker reads by itself; it is sent by pickle."""

    def batches(self) -> Iterator[PictureBatch]:
        """In order, without those that cannot be decoded where the options leave them out.

        Raises:
            InputError: one cannot be decoded, or its file is gone.
        """


@dataclass(frozen=True)
class PictureSource:
    """A dataset of pictures, by the shard.

    Attributes:
        name: as given.
        shards: in the order of the pictures.
        label: the column of the label.
        pictures: how many there are.
        fingerprint: sha256 in hex of names, sizes and dates, and of what is read of them.
    """

    name: str
    shards: Sequence[PictureShard]
    label: str
    pictures: int
    fingerprint: str


def open_pictures(source: str | Path, options: ReadOptions) -> PictureSource:
    """A folder ``CLASS/FILE``, or parquet files with a column of pictures: a file, a folder or a URL.

    ``options.image_size`` None takes the side of the first picture, where it is square and at most
    ``largest_side``, and that otherwise.

    Raises:
        InputError: neither, or no such columns.
        MissingExtra: Pillow is not installed.
    """
    by_class = IMAGE_FOLDER.matches(str(source))
    return _files(Path(source), options) if by_class else _rows(source, options)


def _files(root: Path, options: ReadOptions) -> PictureSource:
    name = str(root)
    found = [
        f"{folder}/{file}"
        for folder, names in folder_files(root, options, PICTURES).items()
        for file in names
    ]
    options = replace(
        options,
        image_size=options.image_size
        or own_side([root / file for file in found[:_BATCH]], options.largest_side),
    )
    shards = [
        _FileShard(root.absolute(), tuple(found[start : start + SHARD]), options)
        for start in range(0, len(found), SHARD)
    ]
    stats = [(root / file).stat() for file in found]
    stamps = [(file, stat.st_size, stat.st_mtime_ns) for file, stat in zip(found, stats, strict=True)]
    return PictureSource(name, shards, "label", len(found), _digest(stamps, options))


def _rows(source: str | Path, options: ReadOptions) -> PictureSource:
    files = parquet_files(source, options.split)
    empty = files.schema.empty_table()
    label = label_column(files.name, empty, options.label)
    image = image_column(files.name, empty, options.image)
    if taken := {FEATURES, PICTURE} & {label, *readable(empty, label).column_names}:
        raise InputError(f"{files.name}: it has a column {min(taken)!r}, which would be written; rename it")
    if image is None:
        raise InputError(f"{files.name}: no column of pictures; expected one, or a folder of CLASS/FILE.png")
    if options.image_size is None:
        _, first = next(files.read(files.groups[0], [image], batch=_BATCH))
        options = replace(options, image_size=own_side(encoded_pictures(first[image]), options.largest_side))
    shards = [_RowShard(files, piece, label, image, options) for piece in files.pieces(SHARD)]
    return PictureSource(
        files.name, shards, label, files.rows, _digest([label, image, files.stamps], options)
    )


def _digest(stamps: object, options: ReadOptions) -> str:
    read = [options.image_size, options.skip_bad]
    return hashlib.sha256(json.dumps([stamps, read]).encode()).hexdigest()


@dataclass(frozen=True)
class _FileShard:
    root: Path
    files: tuple[str, ...]
    options: ReadOptions

    def batches(self) -> Iterator[PictureBatch]:
        for start in range(0, len(self.files), _BATCH):
            files = self.files[start : start + _BATCH]
            names = [file.split("/")[0] for file in files]
            others = pa.table({"file": files, "label": names})
            yield _decoded(
                str(self.root), [self.root / file for file in files], others, files, options=self.options
            )


@dataclass(frozen=True)
class _RowShard:
    files: ParquetFiles
    piece: Piece
    label: str
    image: str
    options: ReadOptions

    def batches(self) -> Iterator[PictureBatch]:
        for start, batch in self.files.read(self.piece, batch=_BATCH):
            table = pa.Table.from_batches([batch])
            others = readable(table, self.label).append_column(
                table.schema.field(self.label), table[self.label]
            )
            names = [row_name(start + row) for row in range(len(batch))]
            yield _decoded(
                self.files.name, encoded_pictures(batch[self.image]), others, names, options=self.options
            )


def _decoded(
    name: str, encoded: list[Encoded], others: pa.Table, names: Sequence[str], *, options: ReadOptions
) -> PictureBatch:
    pixels, faults = decoded_images(
        name,
        lambda: iter([encoded]),
        len(encoded),
        image_size=options.image_size,
        largest=options.largest_side,
    )
    if faults and not options.skip_bad:
        first = min(faults)
        raise InputError(
            f"{name}: {names[first]}: {faults[first]}; repair or remove it, or leave it out with --skip-bad"
        )
    good = np.setdiff1d(np.arange(len(encoded)), np.fromiter(faults, np.int64, len(faults)))
    return PictureBatch(others.take(pa.array(good)), pixels[good])
