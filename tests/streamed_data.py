"""Parquet files of features, many row groups in several files, for audits that stream them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROWS, WIDTH, CLASSES = 1500, 5, 3


def points(rows: int = ROWS, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features (n, D) float32 and labels (n,) that a linear head predicts in part."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((rows, WIDTH), dtype=np.float32)
    return features, (features[:, :CLASSES] + rng.gumbel(size=(rows, CLASSES))).argmax(1)


def table(features: np.ndarray, labels: np.ndarray) -> pa.Table:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    names = pa.array([f"class {label}" for label in labels])
    return pa.table({"embedding": vectors, "label": names, "note": np.arange(len(labels)).astype(str)})


def write(folder: Path, whole: pa.Table, *, files: int = 3, group: int = 100) -> Path:
    """``folder/part-N.parquet``, in the order of the rows."""
    folder.mkdir()
    size = -(-len(whole) // files)
    for number in range(files):
        part = whole.slice(number * size, size)
        pq.write_table(part, folder / f"part-{number}.parquet", row_group_size=group)
    return folder
