"""Labels as people have them: codes, texts, booleans, categoricals, mapped to the classes that occur."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from swaypoint.errors import InputError

_FEW = 20
"""Different numbers up to which they may be classes however few the points."""


@dataclass(frozen=True, eq=False)
class ClassLabels:
    """Which class each point has.

    Attributes:
        index: positions in ``values``, (n,) int64.
        values: the labels that occur, ascending, (C,).
    """

    index: np.ndarray
    values: np.ndarray

    @property
    def are_indices(self) -> bool:
        """The labels were 0 … C - 1 already."""
        return self.values.dtype.kind in "biuf" and np.array_equal(self.values, np.arange(len(self.values)))

    def named(self, index: np.ndarray) -> np.ndarray:
        """The labels of classes by index, of any shape."""
        return self.values[index.astype(np.int64)]


def class_labels(labels: Any) -> ClassLabels:
    """The classes of ``labels``, (n,) of integers, texts, booleans or whole numbers: an array, a list, a
    tensor, a column of a data frame.

    >>> class_labels(["cat", "dog", "cat"]).index.tolist()
    [0, 1, 0]
    >>> class_labels([0, 200]).index.tolist()
    [0, 1]

    Raises:
        InputError: a label is missing, or they are real values or too many different numbers to be classes.
    """
    values = labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if values.ndim != 1:
        raise InputError(f"labels have shape {values.shape}; expected (n,), a class a point")
    missing = np.array([v is None or v != v for v in values]) if values.dtype.kind in "Of" else np.zeros(0)
    if missing.any():
        raise InputError(f"the label of row {int(missing.argmax())} is missing; drop that row or label it")
    if values.dtype.kind == "f" and (broken := values != np.floor(values)).any():
        raise InputError(
            f"the label of row {int(broken.argmax())} is {values[broken][0]:g}, a real value and no class;"
            " for a regression pass loss='squared_error'"
        )
    if values.dtype.kind == "O":
        values = values.astype(str) if len({type(v) for v in values}) > 1 else np.array(values.tolist())
    found, index = np.unique(values, return_inverse=True)
    if values.dtype.kind in "iuf" and len(found) > max(_FEW, len(values) / 3):
        raise InputError(
            f"the labels are {len(found)} different numbers in {len(values)} points: for a regression pass"
            " loss='squared_error'; if they are classes, pass them as text"
        )
    return ClassLabels(index.astype(np.int64), found)
