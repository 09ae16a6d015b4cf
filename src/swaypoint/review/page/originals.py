"""The pictures of the audited source as they are stored there, where the audit kept only what the model saw.

A picture is shown only if, read and resized as the audit did, it is the very point: its id is a digest of
that. So neither a changed file, nor a path or a link that leads elsewhere, ever shows something else.
"""

from __future__ import annotations

import io
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from swaypoint.data.readers.images import whole_image
from swaypoint.data.readers.sources import image_column, is_saved, parquet_files
from swaypoint.errors import InputError
from swaypoint.folder.items import item_id
from swaypoint.review.cleaning.source import origin
from swaypoint.review.items import Items

MOST_PIXELS = 4096 * 4096
MOST_BYTES = 32 << 20
_MOST_COLUMN = 1 << 30  # bytes of a row group's pictures, which are read up to the one that is wanted
_BATCH = 32
_LOSSLESS = 256 * 256  # pixels; beyond, a PNG takes a second and megabytes


class _Stored(ABC):
    """Encoded pictures of a source."""

    @abstractmethod
    def encoded(self, name: str, index: int) -> bytes | None:
        """Of the record with that name and position in the source.

        Raises:
            OSError, pyarrow.ArrowException: it is not there, or cannot be read.
        """


@dataclass(frozen=True)
class _Folder(_Stored):
    root: Path

    def encoded(self, name: str, index: int) -> bytes | None:
        root = Path(os.path.realpath(self.root, strict=True))
        path = Path(os.path.realpath(root / name, strict=True))
        if not path.is_relative_to(root):
            return None
        # Not followed once more, and not waited for, should it have become a link or a pipe by now.
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return None
            data = file.read(MOST_BYTES + 1)
        return data if len(data) <= MOST_BYTES else None


@dataclass(frozen=True)
class _Parquet(_Stored):
    files: Sequence[Path]
    image: str | None

    def encoded(self, name: str, index: int) -> bytes | None:
        for path in self.files:
            with pq.ParquetFile(path, buffer_size=1 << 20) as file:
                if index < file.metadata.num_rows:
                    return self._read(file, index)
                index -= file.metadata.num_rows
        return None

    def _read(self, file: pq.ParquetFile, row: int) -> bytes | None:
        column = image_column("", file.schema_arrow.empty_table(), self.image)
        if column is None:
            return None
        is_struct = pa.types.is_struct(file.schema_arrow.field(column).type)
        leaf, group = f"{column}.bytes" if is_struct else column, 0
        while row >= file.metadata.row_group(group).num_rows:
            row -= file.metadata.row_group(group).num_rows
            group += 1
        parts = file.metadata.row_group(group)
        sizes = [parts.column(i).total_uncompressed_size for i in range(parts.num_columns)
                 if parts.column(i).path_in_schema == leaf]  # fmt: skip
        if not sizes or sizes[0] > _MOST_COLUMN:
            return None
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[leaf]):
            if row < len(batch):
                value = batch.column(0)[row].as_py()
                found: bytes | None = value["bytes"] if isinstance(value, dict) else value
                return found if found is not None and len(found) <= MOST_BYTES else None
            row -= len(batch)
        return None


def _stored(items: Items) -> _Stored | None:
    """What can be read picture by picture: a folder of pictures, or parquet files.

    Raises:
        InputError, OSError: the source is not what it was.
    """
    read = origin(items)
    if read is None or items.kind != "images":
        return None
    path, options = Path(read[0]), read[1]
    if path.is_dir():
        if is_saved(path):
            return None
        files = parquet_files(path, options.split)
        return _Parquet(files, options.image) if files else _Folder(path)
    is_parquet = path.suffix.lower() == ".parquet" and path.is_file()
    return _Parquet([path], options.image) if is_parquet else None


class Originals:
    """The source's pictures by position among the items.

    Nothing of a client's request but the position gets here.
    """

    def __init__(self, items: Items) -> None:
        self._items = items

    def picture(self, position: int, side: int) -> Image.Image | None:
        """In RGB, upright; None where it is no larger than what the model saw, ``side`` pixels wide and
        high, where the source is elsewhere or has changed, or where it is beyond 16.8 million pixels (a
        decompression bomb) or 32 MB."""
        name, index = self._items.source(position), int(self._items.scores["index"][position])
        try:
            stored = _stored(self._items)
            encoded = None if stored is None else stored.encoded(name, index)
            if encoded is None:
                return None
            whole, seen = whole_image(encoded, side, most_pixels=MOST_PIXELS)
        except (InputError, OSError, ValueError, pa.ArrowException):
            return None
        if item_id(seen.tobytes(), name) != self._items.ids[position] or max(whole.size) <= side:
            return None
        return whole


def shown(picture: Image.Image, side: int) -> tuple[bytes, str]:
    """Encoded anew, at most ``side`` pixels wide and high, and its media type."""
    if max(picture.size) > side:
        picture.thumbnail((side, side))
    buffer = io.BytesIO()
    if picture.width * picture.height <= _LOSSLESS:
        picture.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue(), "image/png"
    picture.save(buffer, "JPEG", quality=92)
    return buffer.getvalue(), "image/jpeg"
