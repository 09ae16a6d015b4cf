"""Wrong labels planted on purpose, to count how many of them an audit finds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from swaypoint.data.dataset import Dataset, fingerprint
from swaypoint.errors import InputError


def plant(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, np.ndarray]:
    """Flip ``share`` of the labels to another class, uniformly; (n,) bool says which.

    The same arguments plant the same errors.

    Raises:
        InputError: the labels are no classes, or there is no such share or seed.
    """
    if not 0.0 <= share < 1.0 or seed < 0:
        raise InputError(f"flip is {share} and seed {seed}; expected 0 <= flip < 1, and a seed of at least 0")
    flipped = np.zeros(len(dataset), dtype=bool)
    if share == 0.0:
        return dataset, flipped
    classes = len(dataset.classes)
    if classes < 2:
        raise InputError("flip needs class labels; this dataset has real-valued ones")
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(dataset), round(share * len(dataset)), replace=False)
    labels = dataset.labels.copy()
    labels[rows] = (labels[rows] + generator.integers(1, classes, len(rows))) % classes
    flipped[rows] = True
    changed = replace(
        dataset, labels=labels, fingerprint=fingerprint(dataset.inputs, labels, dataset.classes)
    )
    return changed, flipped
