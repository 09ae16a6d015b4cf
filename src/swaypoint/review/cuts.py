"""A cut: the map along two columns of the table instead of the features' principal components."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swaypoint.findings.regions import Table

_JITTER = 0.25


@dataclass(frozen=True)
class Axis:
    """One column on the map: its values at the coordinates -1 and 1, or the names of its categories, which
    stand at the values 0, 1, …"""

    name: str
    low: float
    high: float
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Cut:
    """Places of the points, ``(n, 2)`` float32, and what the two coordinates mean."""

    places: np.ndarray
    x: Axis
    y: Axis


def cut(table: Table, x: str, y: str) -> Cut:
    """Each column scaled to -1..1 at its 1 % and 99 % quantiles, categories a little jittered.

    Raises:
        InputError: there is no such column.
    """
    generator = np.random.default_rng(0)
    places, axes = [], []
    for name in (x, y):
        values, names = table.column(name, table.inputs)
        low, high = (-0.5, len(names) - 0.5) if names else np.quantile(values, [0.01, 0.99]).tolist()
        if not high > low:
            low, high = float(values.min()), float(values.max())
        if not high > low:
            low, high = low - 0.5, high + 0.5
        if names:
            values = values + generator.uniform(-_JITTER, _JITTER, len(values))
        places.append(2.0 * (values - low) / (high - low) - 1.0)
        axes.append(Axis(name, low, high, names))
    return Cut(np.stack(places, 1).astype(np.float32), *axes)
