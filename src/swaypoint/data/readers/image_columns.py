"""Columns of encoded pictures in Arrow tables."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.arrays import Faults, listed
from swaypoint.data.readers.images import Encoded, Progress, decoded_images
from swaypoint.errors import InputError

_CHUNK = 1000


def is_image(kind: pa.DataType) -> bool:
    """Whether a column may hold pictures: bytes, or what ``datasets`` makes of them."""
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind.fields)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def image_column(name: str, table: pa.Table, wanted: str | None) -> str | None:
    """The column of encoded pictures: the one asked for, or the only one; None where there is none.

    Raises:
        InputError: no such column, or several.
    """
    if wanted is not None:
        if wanted not in table.column_names:
            raise InputError(f"{name}: no column {wanted!r}; it has {listed(table.column_names)}")
        if not is_image(table[wanted].type):
            raise InputError(f"{name}: column {wanted!r} has type {table[wanted].type}; expected images")
        return wanted
    images = [column for column in table.column_names if is_image(table[column].type)]
    if len(images) > 1:
        raise InputError(f"{name}: several image columns ({listed(images)}); say which with --image")
    return images[0] if images else None


def encoded_pictures(column: pa.Array | pa.ChunkedArray) -> list[Encoded]:
    """Of a column that :func:`image_column` named."""
    return [value["bytes"] if isinstance(value, dict) else value for value in column.to_pylist()]


def image_pixels(
    name: str, column: pa.ChunkedArray, options: ReadOptions, on_progress: Progress = None
) -> tuple[np.ndarray, Faults]:
    """A column of encoded pictures; see :func:`~swaypoint.data.readers.images.decoded_images`."""

    def chunks() -> Iterator[list[Encoded]]:
        for start in range(0, len(column), _CHUNK):
            yield encoded_pictures(column.slice(start, _CHUNK))

    return decoded_images(
        name,
        chunks,
        len(column),
        image_size=options.image_size,
        largest=options.largest_side,
        on_progress=on_progress,
    )
