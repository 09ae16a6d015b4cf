"""What an audit folder shows of its points: for the report, and for a reviewer."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from swaypoint.auditing.records import Records
from swaypoint.auditing.scored import Columns, Scored
from swaypoint.data.dataset import Dataset
from swaypoint.data.neighbours import neighbours
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import require
from swaypoint.findings.outliers import FOREIGN, LEARNED, foreign_p_values
from swaypoint.folder.items import item_id, project
from swaypoint.folder.manifest import TRAIN, ranking_column
from swaypoint.folder.writing import write_arrow, write_table
from swaypoint.models.predictor import Predictor
from swaypoint.scoring.kinds import suggest_kinds, suggest_regression_kinds
from swaypoint.scoring.ranking import COLUMNS, positions

_DESCRIBED, _TOLD = 10_000, 500
_LONGEST_VALUE, _LONGEST_TEXT = 10_000, 1_000_000  # characters that a reviewer can read of a value, of a text


def explain(
    path: Path,
    records: Records,
    predictor: Predictor,
    scored: Scored,
    on_progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write the scores with suggested kinds and ranks, and what is shown of the points.

    ``scores.parquet`` of all points, or ``top.parquet`` of the top; ``examples.parquet``, ``items.arrow`` and
    the features.
    """
    shown, columns, options = records.shown(predictor, scored), scored.columns, records.options
    order = np.argsort(-columns[ranking_column(scored.ranked_by)], kind="stable")
    top = order[: options.top]
    near = neighbours(shown.features, shown.labels, top, reference=shown.reference)
    agreement = np.full(len(order), np.nan)
    if shown.dataset.classes:
        agreement[top] = near.agreement
    mean = _mean_leverage(columns) if scored.streamed is None else scored.streamed.leverage
    if "studentised" in columns:
        kinds = suggest_regression_kinds(columns["studentised"], columns["leverage"], mean_leverage=mean)
    else:
        kinds = suggest_kinds(columns["margin"], columns["leverage"], agreement=agreement, mean_leverage=mean)
    features, inputs = shown.features[: len(order)], records.inputs(predictor)
    if options.keep_features:
        write_tensors(path / "features.safetensors", {"features": features})
        if inputs is not None:
            write_tensors(path / "inputs.safetensors", {"inputs": torch.from_numpy(inputs)})
    if scored.streamed is None:
        labels = columns["label"] if shown.dataset.classes else None
        points = features.numpy() if inputs is None else inputs
        with suppress(MemoryError, np.linalg.LinAlgError):  # the audit is of use without
            p = foreign_p_values(points, labels, columns["split"], learned=shown.dataset.kind == LEARNED)
            columns = columns if np.isnan(p).all() else {**columns, FOREIGN: p}
    write_arrow(path / "items.arrow", items(shown.dataset, shown.rows, features, on_progress))
    rows = shown.rows[top]
    write_table(path / "examples.parquet", examples(shown.dataset, rows, near, agreement[top]))
    name = "scores.parquet" if scored.streamed is None else "top.parquet"
    write_table(path / name, _table(columns, kinds, order))


def _mean_leverage(columns: Columns) -> float | None:
    """Of the points trained on; None where these are too few to tell."""
    leverage = columns["leverage"][columns["split"] == TRAIN]
    return float(leverage.mean()) if len(leverage) > 4 else None


def _table(columns: Columns, kinds: np.ndarray, order: np.ndarray) -> pa.Table:
    usual = ("index", *COLUMNS, "standard_error")
    first = {name: columns[name] for name in usual if name in columns}
    further = {name: values for name, values in columns.items() if name not in usual}
    index, split = first.pop("index"), pa.array(further.pop("split").tolist(), pa.string())
    return pa.table(
        {"index": index, "split": split, **first, "kind": kinds, "rank": positions(order), **further}
    )


def items(
    dataset: Dataset,
    rows: np.ndarray,
    features: torch.Tensor,
    on_progress: Callable[[int, int], None] | None = None,
) -> pa.Table:
    """What a review shows of each point; see :class:`swaypoint.review.items.Items`."""
    pictures = dataset.pixels
    names = [dataset.names[row] if dataset.names else "" for row in rows]
    places = project(features.numpy())
    return pa.table(
        {
            "id": [
                item_id(dataset.content(row), name or str(dataset.index[row]))
                for row, name in zip(rows, names, strict=True)
            ],
            "name": pa.array(names, pa.large_string()),
            "picture": pa.array(
                (
                    None if pictures is None else _png(pictures[row], quick=True)
                    for row in _counted(rows, on_progress)
                ),
                pa.large_binary(),
            ),
            "row": pa.array(_described(dataset, rows), pa.large_string()),
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )


def _counted(rows: np.ndarray, on_progress: Callable[[int, int], None] | None) -> Iterator[int]:
    for done, row in enumerate(rows.tolist()):
        if on_progress is not None and done % _TOLD == 0:
            on_progress(done, len(rows))
        yield row


def _described(dataset: Dataset, rows: np.ndarray) -> Iterator[str | None]:
    longest = _LONGEST_TEXT if dataset.kind == "texts" else _LONGEST_VALUE
    for start in range(0, len(rows), _DESCRIBED):
        for values in dataset.described_json(rows[start : start + _DESCRIBED], longest=longest):
            yield None if values == "{}" else values


def examples(dataset: Dataset, rows: np.ndarray, near: Any, agreement: np.ndarray) -> pa.Table:
    images, pictures = dataset.kind == "images", dataset.pixels
    whole = {"longest": _LONGEST_TEXT} if dataset.kind == "texts" else {}
    described = dataset.described(rows, **whole)
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
