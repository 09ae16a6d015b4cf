"""Encoded pictures to one uint8 array, and folders of pictures by class."""

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

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.arrays import Faults, RawLabels, usable_records
from swaypoint.errors import InputError, reading, require, shortened
from swaypoint.folder.documents import require_memory

Encoded = bytes | Path | None
"""A picture as stored; None where the source holds nothing."""
Progress = Callable[[int, int], None] | None

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
# Only these decoders see the bytes: Pillow would otherwise also start Ghostscript for an EPS file.
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF")
_LARGEST_OWN_SIDE = 64
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
    on_progress: Progress = None,
) -> tuple[np.ndarray, Faults]:
    """All pictures as one array (total, side, side, 3) uint8, black where a picture is bad.

    Args:
        name: of the source, for messages.
        chunks: starts the pictures from the first one; called again to look at the first picture, and
            once more when a picture's size differs from the first one's.
        image_size: the side; default as in :class:`ReadOptions`.

    Raises:
        InputError: they do not fit into memory.
        MissingExtra: Pillow is not installed.
    """
    image, operations = require("PIL.Image", "images"), require("PIL.ImageOps", "images")
    side = image_size or _LARGEST_OWN_SIDE
    require_memory(name, 3 * total * side**2, f"{total:,} pictures of {side} x {side}")
    with warnings.catch_warnings():
        warnings.simplefilter("error", image.DecompressionBombWarning)
        width, height = _first_size(image, chunks())
        threads = width * height >= _THREADED_PIXELS
        own = image_size is None and width == height <= _LARGEST_OWN_SIDE
        if own:
            try:
                decoder = _Decoder(image, operations, width, exact=True)
                return _decode(decoder, chunks(), total, threads=threads, on_progress=on_progress)
            except _SizesDiffer:
                pass
        decoder = _Decoder(image, operations, side, exact=False)
        return _decode(decoder, chunks(), total, threads=threads, on_progress=on_progress)


def own_side(encoded: list[Encoded]) -> int:
    """The side to bring pictures to where none is asked for: that of the first which can be read, where it is
    square and at most 64; otherwise 64.

    Raises:
        MissingExtra: Pillow is not installed.
    """
    width, height = _first_size(require("PIL.Image", "images"), iter([encoded]))
    return width if width == height <= _LARGEST_OWN_SIDE else _LARGEST_OWN_SIDE


def _first_size(image: ModuleType, chunks: Iterator[list[Encoded]]) -> tuple[int, int]:
    for chunk in chunks:
        for encoded in chunk:
            try:
                if encoded is not None:
                    with _opened(image, encoded) as picture:
                        return int(picture.size[0]), int(picture.size[1])
            except Exception:  # a fault of this record, which decoding reports
                continue
    return _LARGEST_OWN_SIDE, _LARGEST_OWN_SIDE


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


def pixel_images(pixels: np.ndarray, image_size: int | None) -> np.ndarray:
    """Pixels (n, H, W) or (n, H, W, 1 or 3) uint8 as (n, side, side, 3) uint8.

    Raises:
        MissingExtra: they must be resized, and Pillow is not installed.
    """
    if pixels.ndim == 3:
        pixels = pixels[..., None]
    height, width = pixels.shape[1:3]
    own = width if width == height <= _LARGEST_OWN_SIDE else _LARGEST_OWN_SIDE
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


def read_image_folder(root: Path, options: ReadOptions, *, name: str, on_progress: Progress) -> Dataset:
    """The pictures ``root/CLASS/file``, classes and files sorted by name, hidden ones left out.

    Raises:
        InputError: no class folders, other layouts, and what :func:`usable_records` refuses.
        MissingExtra: Pillow is not installed.
    """
    if options.regression:
        raise InputError(f"{name}: a folder of images by class has no real values for --loss squared_error")
    found = folder_files(root, options)
    classes = tuple(found)
    files = [(label, file) for label, names in enumerate(found.values()) for file in names]
    files = files[: options.limit]
    relative = [f"{classes[label]}/{file}" for label, file in files]

    def chunks() -> Iterator[list[Encoded]]:
        for start in range(0, len(relative), _CHUNK):
            yield [root / file for file in relative[start : start + _CHUNK]]

    images, faults = decoded_images(
        name, chunks, len(files), image_size=options.image_size, on_progress=on_progress
    )
    labels = RawLabels(
        "class", np.array([label for label, _ in files]), np.zeros(len(files), dtype=bool), names=classes
    )
    records = usable_records(name, labels, faults=faults, options=options, where=relative.__getitem__)
    names = tuple(relative[row] for row in records.rows)
    return records.dataset("images", records.of(images), names=names)


def folder_files(root: Path, options: ReadOptions) -> dict[str, list[str]]:
    """Class name -> sorted image files.

    Raises:
        InputError: no class folders, or other layouts.
    """
    name = str(root)
    with reading(name, "a directory", "check its permissions"):
        return _folder_files(root, options, name)


def _folder_files(root: Path, options: ReadOptions, name: str) -> dict[str, list[str]]:
    folders, files = _visible(root)
    loose = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
    if not folders or loose:
        what = f"{len(loose)} images (such as {loose[0]}) outside" if loose else "no"
        raise InputError(
            f"{name}: it holds {what} class folders; expected images as CLASS/FILE.png, parquet files, or"
            " a saved Hugging Face dataset"
        )
    found = {}
    for folder in folders:
        inner, files = _visible(root / folder)
        images = [file for file in files if Path(file).suffix.lower() in SUFFIXES]
        if inner:
            raise InputError(
                f"{name}: the folder {folder} holds the folder {inner[0]}; expected only images in it, as"
                f" CLASS/FILE.png. To read one split, pass {root / folder}"
            )
        if images:
            found[folder] = images
        elif not options.skip_bad:
            raise InputError(
                f"{name}: the class folder {folder} holds no images; expected {', '.join(sorted(SUFFIXES))};"
                " remove it, or leave it out with --skip-bad"
            )
    if not found:
        raise InputError(f"{name}: its folders hold no images; expected {', '.join(sorted(SUFFIXES))}")
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
