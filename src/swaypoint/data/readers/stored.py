"""The records of a source as they are stored there: every column, and the pictures as they are encoded."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset
from swaypoint.errors import require

_MAGIC = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}


class StoredPictures(ABC):
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
class PictureFiles(StoredPictures):
    root: Path
    names: Sequence[str]

    def encoded(self, row: int) -> bytes:
        return self.file(row).read_bytes()

    def file(self, row: int) -> Path:
        return self.root / self.names[row]


@dataclass(frozen=True, eq=False)
class PictureColumn(StoredPictures):
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
class PicturePixels(StoredPictures):
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
class Stored:
    """A dataset, and the records that it was read from.

    Attributes:
        table: the columns as they are stored, one row a record of the source, the unusable ones too; the
            pictures are among them if they are a column there.
        label: name of the labels' column.
        image: name of the pictures' column; None where points are no pictures.
        pictures: None where points are no pictures.
    """

    dataset: Dataset
    table: pa.Table
    label: str
    image: str | None = None
    pictures: StoredPictures | None = None
