"""How sure a mean over several seeds is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swaypoint.errors import require

_LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval (Student's t); ``values`` by seed.

    The interval says where the mean of further seeds would lie, not how far seeds spread.
    """

    mean: float
    low: float
    high: float
    values: tuple[float, ...]


def interval(values: Sequence[float]) -> Interval:
    """Of at least two values.

    Raises:
        MissingExtra: scipy is not installed.
    """
    quantile = require("scipy.special", "study").stdtrit(len(values) - 1, 0.5 + _LEVEL / 2)
    mean = float(np.mean(values))
    half = float(quantile * np.std(values, ddof=1) / math.sqrt(len(values)))
    return Interval(mean, mean - half, mean + half, tuple(map(float, values)))
