"""The images, the split, and the wrong labels that are planted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.sources import read_dataset
from swaypoint.errors import InputError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAINING = 40_000
_CONFUSED = {"truck": "automobile", "bird": "airplane", "deer": "horse", "cat": "dog", "dog": "cat"}

Flips = Literal["uniform", "asymmetric"]


@dataclass(frozen=True)
class Noise:
    """Which labels are wrong: ``share`` of the training points, by ``seed``.

    ``"uniform"``: any other class, with equal chance. ``"asymmetric"``: truck to automobile, bird to
    airplane, deer to horse, cat to dog and back (Patrini et al., 2017), points of these classes only.
    """

    share: float
    seed: int
    kind: Flips = "uniform"

    def flip(self, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels with the wrong ones, and which are wrong, ``(n,)`` bool.

        Raises:
            InputError: there are not so many points to flip.
        """
        generator = np.random.default_rng([20_221, self.seed])
        others = _others()
        count = round(self.share * len(labels))
        eligible = np.arange(len(labels)) if self.kind == "uniform" else np.flatnonzero(others[labels] >= 0)
        if not 0 <= count <= len(eligible):
            raise InputError(
                f"noise share {self.share}: only {len(eligible):,} of {len(labels):,} labels can be flipped"
            )
        rows = generator.choice(eligible, count, replace=False)
        given, wrong = labels.copy(), np.zeros(len(labels), dtype=bool)
        if self.kind == "uniform":
            given[rows] = (labels[rows] + generator.integers(1, len(CLASSES), count)) % len(CLASSES)
        else:
            given[rows] = others[labels[rows]]
        wrong[rows] = True
        return given, wrong


def _others() -> np.ndarray:
    """The class that each is mistaken for, -1: for none."""
    others = np.full(len(CLASSES), -1)
    for name, other in _CONFUSED.items():
        others[CLASSES.index(name)] = CLASSES.index(other)
    return others


@dataclass(frozen=True)
class Images:
    """CIFAR-10: the 40,000 to train on and rank, the rest of the training set to look at while training,
    and the test set."""

    training: Dataset
    test: Dataset

    @cached_property
    def ranked(self) -> np.ndarray:
        """Rows of the training set that are trained on, ``(40000,)``, ascending."""
        order = np.random.default_rng(0).permutation(len(self.training))
        return np.sort(order[: round(len(order) * TRAINING / 50_000)])

    @cached_property
    def held(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.training)), self.ranked)


def read_images(training: str | Path, test: str | Path | None = None) -> Images:
    """Both sets, from what :func:`~swaypoint.data.readers.sources.read_dataset` reads; no ``test``: the
    split of that name of ``training``.

    Raises:
        InputError: not ten classes of images.
    """
    parts = []
    for source, split in ((training, "train"), (test or training, "train" if test else "test")):
        dataset = read_dataset(source, options=ReadOptions(split=split))
        if dataset.kind != "images" or len(dataset.classes) != len(CLASSES):
            raise InputError(
                f"{source} holds {dataset.kind} in {len(dataset.classes)} classes; expected CIFAR-10's images"
            )
        parts.append(dataset)
    return Images(*parts)
