"""Wrong labels planted on purpose, to count how many of them an audit finds.

Of classes another class; of real values gross errors of :data:`GROSS` standard deviations of the noise,
either way, each size in the same number of points.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from swaypoint.data.dataset import Dataset, marked
from swaypoint.errors import InputError

GROSS = (10.0, 4.0)
_NORMAL = 1.4826  # a normal distribution's standard deviation by its median absolute deviation
_WIDE = 1000


@dataclass(frozen=True, eq=False)
class Flips:
    """Which labels are wrong, and how.

    Attributes:
        rows: their positions among n, ascending, (k,) int64.
        shifts: what is added to each one's class, modulo ``classes``, (k,) int64 in 1..classes - 1; of a
            regression, of 0 classes, to its value, (k,) float64.
    """

    rows: np.ndarray
    shifts: np.ndarray
    classes: int

    def among(self, index: np.ndarray) -> np.ndarray:
        """Whether each of the positions ``(b,)`` is one of them, bool ``(b,)``."""
        return self._places(index)[1]

    def applied(self, index: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The labels ``(b,)`` of the positions ``(b,)``, with the wrong ones among them."""
        if not len(self.rows):
            return labels
        places, here = self._places(index)
        moved = labels + self.shifts[places]
        return np.where(here, moved % self.classes if self.classes else moved, labels)

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
    _check(share, seed)
    if share == 0.0:
        return Flips(np.empty(0, np.int64), np.empty(0, np.int64), classes)
    if classes < 2:
        raise InputError("flip needs class labels; this dataset has real-valued ones")
    generator = np.random.default_rng(seed)
    rows = generator.choice(points, round(share * points), replace=False)
    shifts = generator.integers(1, classes, len(rows))
    order = np.argsort(rows)
    return Flips(rows[order], shifts[order], classes)


def gross_errors(labels: np.ndarray, spread: float, share: float, seed: int) -> Flips:
    """``share`` of the values ``(n,)``, drawn without replacement, half of them moved by ten times ``spread``
    and half by four, up or down; up where a value that cannot be negative would be.

    The same arguments draw the same ones.

    Raises:
        InputError: there is no such share or seed.
    """
    _check(share, seed)
    generator = np.random.default_rng(seed)
    rows = generator.choice(len(labels), round(share * len(labels)), replace=False)
    sizes = spread * np.array(GROSS)[np.arange(len(rows)) % len(GROSS)]
    shifts = sizes * generator.choice([-1.0, 1.0], len(rows))
    if len(labels) and labels.min() >= 0:
        shifts = np.where(labels[rows] + shifts < 0, sizes, shifts)
    order = np.argsort(rows)
    return Flips(rows[order], shifts[order], 0)


def noise(inputs: np.ndarray, labels: np.ndarray) -> float:
    """Robust standard deviation of the residuals of least squares on the inputs ``(n, D)``, or of the values
    ``(n,)`` themselves where these are no table or a wide one; to three digits, so that every machine plants
    the same."""
    residuals = labels - np.median(labels)
    numbers = inputs.dtype != object  # texts are none
    flat = inputs.reshape(len(inputs), -1).astype(np.float64) if numbers else np.empty((len(inputs), 0))
    if numbers and inputs.ndim == 2 and 2 * flat.shape[1] < len(flat) and flat.shape[1] <= _WIDE:
        spread = flat.std(0)
        table = (flat - flat.mean(0)) / np.where(spread > 0, spread, 1.0)
        table = np.hstack([table, np.ones((len(flat), 1))])
        residuals = labels - table @ np.linalg.lstsq(table, labels, rcond=1e-6)[0]
    found = _NORMAL * float(np.median(np.abs(residuals - np.median(residuals))))
    return float(f"{found or float(labels.std()) or 1.0:.3g}")


def _check(share: float, seed: int) -> None:
    if not 0.0 <= share < 1.0 or seed < 0:
        raise InputError(f"flip is {share} and seed {seed}; expected 0 <= flip < 1, and a seed of at least 0")


def plant(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, np.ndarray]:
    """The dataset with the wrong labels of :func:`flips`, or :func:`gross_errors`; (n,) bool says which.

    Raises:
        InputError: as there.
    """
    index = np.arange(len(dataset))
    if dataset.classes or not share:
        drawn = flips(len(dataset), share, seed, len(dataset.classes))
    else:
        drawn = gross_errors(dataset.labels, noise(dataset.inputs, dataset.labels), share, seed)
    if not len(drawn.rows):
        return dataset, drawn.among(index)
    labels = drawn.applied(index, dataset.labels)
    return marked(replace(dataset, labels=labels)), drawn.among(index)
