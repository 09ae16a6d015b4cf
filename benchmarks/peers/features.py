"""Features of a trained network from a file: .npz, or .safetensors of the CIFAR-10 study."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file


@dataclass(frozen=True)
class Features:
    """What the head saw of each point, the label that it was trained with, and the head."""

    source: str
    features: np.ndarray
    given: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.features, self.given.astype(np.int64), self.weight, self.bias

    def first(self, count: int) -> Features:
        return Features(
            f"{self.source}, first {count}", self.features[:count], self.given[:count], self.weight, self.bias
        )


def read_features(path: Path, images: Path | None = None) -> Features:
    """``features`` (n, D), ``given`` (n,), ``weight`` (C, D) and ``bias`` (C,) of ``path``.

    A cell of the study keeps no labels: they are those of ``images`` (train.parquet of CIFAR-10) with the
    wrong ones planted as ``facts.json`` beside the features says.
    """
    kept = load_file(path) if path.suffix == ".safetensors" else dict(np.load(path))
    if "given" not in kept:
        if images is None:
            raise SystemExit(f"{path} has no array 'given' (labels); name the study's images by --images")
        kept["given"] = _study_labels(path.parent / "facts.json", images)
    return Features(
        f"{path.parent.name}/{path.name}", *(kept[k] for k in ("features", "given", "weight", "bias"))
    )


def _study_labels(facts: Path, images: Path) -> np.ndarray:
    import pyarrow.parquet as pq

    from swaypoint.studies.cifar10.images import Images, Noise

    labels: Any = pq.read_table(images, columns=["label"]).column("label").to_numpy()
    ranked = Images(labels, labels).ranked  # which points they are depends on their number alone
    return Noise(**json.loads(facts.read_text())["cell"]["noise"]).flip(labels[ranked])[0]
