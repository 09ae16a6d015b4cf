"""Encoded pictures to one uint8 array."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from swaypoint.data.readers.arrays import Faults
from swaypoint.errors import InputError, require, shortened
from swaypoint.folder.documents import require_memory

Encoded = bytes | Path | None
"""A picture as stored; None where the source holds nothing."""
Progress = Callable[[int, int], None] | None

# Only these decoders see the bytes: Pillow would otherwise also start Ghostscript for an EPS file.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_CHUNK = 256
# Two threads decode 128-pixel JPEGs 1.4 times as fast as one, but 32-pixel PNGs only 0.75 times as
# fast: there the interpreter lock changes hands for more time than a picture takes.
_THREADED_PIXELS = 100 * 100


class _SizesDiffer(Exception):
    """A picture has another size than the first."""


@dataclass(frozen=True)
class _Decoder:
    image: ModuleType  # PIL.Image
    operations: ModuleType  # PIL.ImageOps
    side: int
    exact: bool  # refuse other sizes instead of resizing

    def __call__(self, encoded: Encoded) -> np.ndarray | str:
        """The picture (side, side, 3) uint8, or why there is none."""
        if encoded is None:
            return "no image data"
        try:
            with _opened(self.image, encoded) as picture:
                upright = _upright(self.image, self.operations, picture)
                if self.exact and upright.size != (self.side, self.side):
                    raise _SizesDiffer
                return self.resized(upright)
        except _SizesDiffer:
            raise
        except Exception as error:  # Pillow's decoders raise any type at all on broken data
            return f"corrupted image ({shortened(str(error) or type(error).__name__, 120)})"

    def resized(self, picture: Any) -> np.ndarray:
        if picture.size != (self.side, self.side):
            picture = picture.resize((self.side, self.side), self.image.Resampling.BICUBIC)
        return np.asarray(picture)


def _opened(image: ModuleType, encoded: bytes | Path) -> Any:
    if isinstance(encoded, Path) and not encoded.is_file():  # a pipe would be waited for
        raise OSError("no file")
    source = io.BytesIO(encoded) if isinstance(encoded, bytes) else encoded
    return image.open(source, formats=_FORMATS)


def _upright(image: ModuleType, operations: ModuleType, picture: Any) -> Any:
    """Decoded, turned as its camera says, in RGB."""
    picture.load()
    if picture.getexif():
        operations.exif_transpose(picture, in_place=True)
    return _as_rgb(image, picture)


def whole_image(encoded: bytes, side: int, *, most_pixels: int) -> tuple[Any, np.ndarray]:
    """One picture as :func:`decoded_images` reads it, a ``PIL.Image`` in RGB, before it is resized; and
    after, ``(side, side, 3)`` uint8.

    Raises:
        InputError: it has more than ``most_pixels``, which are not decoded then, or cannot be decoded.
    """
    image, operations = require("PIL.Image", "images"), require("PIL.ImageOps", "images")
    try:
        with _opened(image, encoded) as picture:
            if picture.width * picture.height > most_pixels:
                raise InputError(
                    f"an image of {picture.width} x {picture.height}; at most {most_pixels} pixels"
                )
            upright = _upright(image, operations, picture)
        return upright, _Decoder(image, operations, side, exact=False).resized(upright)
    except InputError:
        raise
    except Exception as error:  # Pillow's decoders raise any type at all on broken data
        raise InputError(f"corrupted image ({shortened(str(error) or type(error).__name__, 120)})") from error


def _as_rgb(image: ModuleType, picture: Any) -> Any:
    if picture.mode.startswith("I;16"):  # convert("RGB") would clip at 255 instead of scaling
        return image.fromarray((np.asarray(picture) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode in ("I", "F"):
        raise ValueError("32 bits per pixel have no fixed range; save it with 8 bits")
    return picture.convert("RGB")


def decoded_images(
    name: str,
    chunks: Callable[[], Iterator[list[Encoded]]],
    total: int,
    *,
    image_size: int | None,
    largest: int,
    on_progress: Progress = None,
) -> tuple[np.ndarray, Faults]:
    """All pictures as one array (total, side, side, 3) uint8, black where a picture is bad.

    Args:
        name: of the source, for messages.
        chunks: starts the pictures from the first one; called again to look at the first picture, and
            once more when a picture's size differs from the first one's.
        image_size: the side; default as in :class:`ReadOptions`, whose ``largest_side`` is ``largest``.

    Raises:
        InputError: they do not fit into memory.
        MissingExtra: Pillow is not installed.
    """
    image, operations = require("PIL.Image", "images"), require("PIL.ImageOps", "images")
    side = image_size or largest
    require_memory(name, 3 * total * side**2, f"{total:,} pictures of {side} x {side}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", image.DecompressionBombWarning)
        width, height = _first_size(image, chunks(), largest)
        threads = width * height >= _THREADED_PIXELS
        own = image_size is None and width == height <= largest
        if own:
            try:
                decoder = _Decoder(image, operations, width, exact=True)
                return _decode(decoder, chunks(), total, threads=threads, on_progress=on_progress)
            except _SizesDiffer:
                pass
        decoder = _Decoder(image, operations, side, exact=False)
        return _decode(decoder, chunks(), total, threads=threads, on_progress=on_progress)


def own_side(encoded: list[Encoded], largest: int) -> int:
    """The side to bring pictures to where none is asked for: that of the first which can be read, where it is
    square and at most ``largest``; otherwise that.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    width, height = _first_size(require("PIL.Image", "images"), iter([encoded]), largest)
    return width if width == height <= largest else largest


def _first_size(image: ModuleType, chunks: Iterator[list[Encoded]], otherwise: int) -> tuple[int, int]:
    for chunk in chunks:
        for encoded in chunk:
            try:
                if encoded is not None:
                    with _opened(image, encoded) as picture:
                        return int(picture.size[0]), int(picture.size[1])
            except Exception:  # a fault of this record, which decoding reports
                continue
    return otherwise, otherwise


@contextmanager
def _mapping(threads: bool) -> Iterator[Callable[..., Iterable[Any]]]:
    if not threads:
        yield map
        return
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        yield pool.map


def _decode(
    decoder: _Decoder, chunks: Iterator[list[Encoded]], total: int, *, threads: bool, on_progress: Progress
) -> tuple[np.ndarray, Faults]:
    images = np.zeros((total, decoder.side, decoder.side, 3), dtype=np.uint8)
    faults: Faults = {}
    row = 0
    with _mapping(threads) as mapping:
        for chunk in chunks:
            for picture in mapping(decoder, chunk):
                if isinstance(picture, str):
                    faults[row] = picture
                else:
                    images[row] = picture
                row += 1
            if on_progress is not None:
                on_progress(row, total)
    return images, faults


def pixel_images(pixels: np.ndarray, image_size: int | None, largest: int) -> np.ndarray:
    """Pixels (n, H, W) or (n, H, W, 1 or 3) uint8 as (n, side, side, 3) uint8; the side as of
    :func:`decoded_images`.

    Raises:
        MissingExtra: they must be resized, and Pillow is not installed.
    """
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    height, width = pixels.shape[1:3]
    own = width if width == height <= largest else largest
    side = image_size or own
    pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    if height == width == side:
        return np.ascontiguousarray(pixels)
    image, operations = require("PIL.Image", "images"), require("PIL.ImageOps", "images")
    decoder = _Decoder(image, operations, side, exact=False)
    resized = np.zeros((len(pixels), side, side, 3), dtype=np.uint8)
    for row, picture in enumerate(pixels):
        resized[row] = decoder.resized(image.fromarray(np.ascontiguousarray(picture)))
    return resized
