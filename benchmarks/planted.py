"""Wrong labels of three kinds, planted as the study of labels plants them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from swaypoint.data.dataset import Dataset
from swaypoint.studies.labels.noise import Noise, weak_probabilities

_NOISES = ("uniform:0.005", "uniform:0.05", "class:0.05")


def planted(dataset: Dataset) -> Iterator[tuple[str, np.ndarray]]:
    """The kind and share, and the given labels ``(n,)``, of one draw each."""
    weak = weak_probabilities(dataset)
    for noise in _NOISES:
        yield noise, Noise.of(noise).given(dataset.labels, weak, seed=0)
