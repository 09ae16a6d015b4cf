"""Wrong labels planted on purpose, to count how many of them an audit finds."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from swaypoint.data.dataset import Dataset, marked
from swaypoint.errors import InputError


@dataclass(frozen=True, eq=False)
class Flips:
    """Which labels are wrong, and how.

    Attributes:
        rows: their positions among n, ascending, (k,) int64.
        shifts: what is added to each one's class, modulo ``classes``, (k,) int64 in 1..classes - 1.
    """

    rows: np.ndarray
    shifts: np.ndarray
    classes: int

    def among(self, index: np.ndarray) -> np.ndarray:
        """Whether each of the positions ``(b,)`` is one of them, bool ``(b,)``."""
        return self._places(index)[1]

    def applied(self, index: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The labels ``(b,)`` int64 of the positions ``(b,)``, with the wrong ones among them."""
        places, here = self._places(index)
        return (
            np.where(here, (labels + self.shifts[places]) % self.classes, labels)
            if len(self.rows)
            else labels
        )

    def _places(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not len(self.rows):
            return np.zeros(len(index), dtype=np.int64), np.zeros(len(index), dtype=bool)
        places = np.searchsorted(self.rows, index).clip(max=len(self.rows) - 1)
        return places, self.rows[places] == index


def flips(points: int, share: float, seed: int, classes: int) -> Flips:
    """``share`` of ``points`` labels, drawn without replacement, each to another class, uniformly.

    The same arguments draw the same ones.

    Raises:
        InputError: the labels are no classes, or there is no such share or seed.
    """
    if not 0.0 <= share < 1.0 or seed < 0:
        raise InputError(f"flip is {share} and seed {seed}; expected 0 <= flip < 1, and a seed of at least 0")
    if share == 0.0:
        return Flips(np.empty(0, np.int64), np.empty(0, np.int64), classes)
    if classes < 2:
        raise InputError("flip needs class labels; this dataset has real-valued ones")
    generator = np.random.default_rng(seed)
    rows = generator.choice(points, round(share * points), replace=False)
    shifts = generator.integers(1, classes, len(rows))
    order = np.argsort(rows)
    return Flips(rows[order], shifts[order], classes)


def plant(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, np.ndarray]:
    """The dataset with the wrong labels of :func:`flips`; (n,) bool says which.

    Raises:
        InputError: as there.
    """
    drawn, index = flips(len(dataset), share, seed, len(dataset.classes)), np.arange(len(dataset))
    if not len(drawn.rows):
        return dataset, drawn.among(index)
    labels = drawn.applied(index, dataset.labels)
    return marked(replace(dataset, labels=labels)), drawn.among(index)
