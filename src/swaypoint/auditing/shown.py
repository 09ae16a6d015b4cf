"""What an audit folder shows of its points: for the report, and for a reviewer."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from swaypoint.data.dataset import Dataset
from swaypoint.errors import require
from swaypoint.folder.items import item_id, project

_LONGEST_TEXT = 10_000  # characters of a value that a reviewer can read


def items(dataset: Dataset, rows: np.ndarray, features: torch.Tensor) -> pa.Table:
    """What a review shows of each point; see :class:`swaypoint.review.items.Items`."""
    pictures = dataset.pixels
    names = [dataset.names[row] if dataset.names else "" for row in rows]
    places = project(features.numpy())
    return pa.table(
        {
            "id": [
                item_id(dataset.inputs[row].tobytes(), name or str(dataset.index[row]))
                for row, name in zip(rows, names, strict=True)
            ],
            "name": pa.array(names, pa.large_string()),
            "picture": pa.array(
                (None if pictures is None else _png(pictures[row], quick=True) for row in rows),
                pa.large_binary(),
            ),
            "row": pa.array((_described(dataset, row) for row in rows), pa.large_string()),
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )


def _described(dataset: Dataset, row: int) -> str | None:
    values = dataset.describe(int(row), longest=_LONGEST_TEXT)
    return json.dumps(values) if values else None


def examples(dataset: Dataset, rows: np.ndarray, near: Any, agreement: np.ndarray) -> pa.Table:
    images, pictures = dataset.kind == "images", dataset.pixels
    described = [dataset.describe(int(row)) for row in rows]
    return pa.table(
        {
            "rank": np.arange(1, len(rows) + 1),
            "index": dataset.index[rows],
            "name": [dataset.names[row] if dataset.names else "" for row in rows],
            "picture": pa.array(
                [None if pictures is None else _png(pictures[row]) for row in rows], type=pa.binary()
            ),
            "row": pa.array([None if images else json.dumps(value) for value in described], type=pa.string()),
            "neighbour_agreement": pa.array(agreement, from_pandas=True),
            "neighbour_distance": near.distance,
        }
    )


def _png(pixels: np.ndarray, *, quick: bool = False) -> bytes:
    options = {"compress_level": 1} if quick else {"optimize": True}
    buffer = io.BytesIO()
    require("PIL.Image", "images").fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()
