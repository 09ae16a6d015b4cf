"""In what rows of a table differ: the columns that tell one from another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swaypoint.review.items import Items

COLUMNS = 3


@dataclass(frozen=True)
class Difference:
    """A column in which another row differs from this one: its value, and this one's."""

    column: str
    value: str
    own: str


def differences(items: Items, position: int, other: int) -> tuple[Difference, ...]:
    """The columns in which ``other`` differs most, at most :data:`COLUMNS`, the largest difference first.

    Numbers are measured in units of their column's spread, two categories are 1 apart (see
    :attr:`~swaypoint.findings.regions.Table.spread`). Where the audit kept no inputs, numbers in units of
    the larger of the two.
    """
    own, another = items.row(position), items.row(other)
    gaps = _gaps(items, position, other) if items.table else {}
    found = [
        (gaps.get(name, _apart(own[name], value)), Difference(name, value, own[name]))
        for name, value in another.items()
        if name in own and value != own[name]
    ]
    found.sort(key=lambda pair: -pair[0])
    return tuple(difference for _, difference in found[:COLUMNS])


def _gaps(items: Items, position: int, other: int) -> dict[str, float]:
    """By column of the source."""
    table = items.needed_table()
    places = table.places(table.inputs[[position, other]])
    square = np.square(places[0] - places[1])
    groups = table.categories
    coded = {index for group in groups.values() for index in group}
    gaps = {name: float(square[i]) for i, name in enumerate(table.columns) if i not in coded}
    return gaps | {name: float(square[list(group)].sum()) for name, group in groups.items()}


def _apart(own: str, value: str) -> float:
    try:
        a, b = float(own), float(value)
    except ValueError:
        return 1.0
    largest = max(abs(a), abs(b))
    return abs(a - b) / largest if np.isfinite(largest) and largest > 0.0 else 1.0
