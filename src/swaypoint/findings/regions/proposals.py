"""New inputs for a region: inside its box, far from what there is already and from each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from swaypoint.errors import InputError
from swaypoint.findings.regions.finding import Points, Region, box
from swaypoint.findings.regions.table import Table

_CANDIDATES, _EACH = 1_024, 64
_MIXED = 3
_THERE = 1e-6


def propose(region: Region, points: Points, table: Table, *, k: int = 10, seed: int = 0) -> np.ndarray:
    """New inputs inside the region, by max-min distance (Gonzalez, 1985) over random candidates.

    A candidate is a random mean of three members, moved at random within the region's reach: columns that
    go together stay together. Categories are a member's own, other columns keep to the table's axes.

    Args:
        region: one of :func:`swaypoint.findings.regions.regions` of these points and table.
        k: how many.
        seed: of the candidates.

    Returns:
        ``(k, d)`` float64, distinct and none of them a row of the table; fewer where a grid has no more
        places in the region.

    Raises:
        InputError: ``k`` < 1.
    """
    if k < 1:
        raise InputError(f"k is {k}; expected a positive number of proposals")
    members = points.inputs[list(region.members)].astype(np.float64)
    found = candidates(region, members, table, max(_CANDIDATES, _EACH * k), np.random.default_rng(seed))
    places, own = table.places(found), table.places(members)
    # The members may be missing in a table that is a sample.
    nearest = np.minimum(table.distances(found), _distances(places, own).min(1))
    found, places, nearest = (
        values[nearest > _THERE * (1 + np.linalg.norm(places, axis=1))] for values in (found, places, nearest)
    )
    chosen: list[int] = []
    while len(chosen) < min(k, len(found)):
        best = int(nearest.argmax())
        if chosen and nearest[best] <= 0.0:
            break
        chosen.append(best)
        nearest = np.minimum(nearest, np.linalg.norm(places - places[best], axis=1))
    return found[chosen]


def _distances(places: np.ndarray, others: np.ndarray) -> np.ndarray:
    """``(n, m)`` Euclidean."""
    from sklearn.metrics import pairwise_distances

    return pairwise_distances(places, others)


def candidates(
    region: Region, members: np.ndarray, table: Table, count: int, generator: np.random.Generator
) -> np.ndarray:
    """Random inputs inside the region, distinct, ``(at most count, d)`` float64."""
    low, high = box(members, table, region.reach)
    drawn = generator.integers(len(members), size=(count, _MIXED))
    weights = generator.dirichlet(np.ones(_MIXED), count)
    means = sum(weights[:, [i]] * members[drawn[:, i]] for i in range(_MIXED))
    spread = np.where(np.isinf(table.spread), 0.0, table.spread)
    wider = region.reach / np.sqrt(members.shape[1]) * spread
    found = np.clip(means + wider * generator.uniform(-1.0, 1.0, means.shape), low, high)
    grouped = [list(group) for group in table.categories.values()]
    single = [
        [index] for index in np.flatnonzero(table.binary) if not any(index in group for group in grouped)
    ]
    for group in grouped + single:
        found[:, group] = members[generator.integers(len(members), size=count)][:, group]
    for index in range(found.shape[1]):
        found[:, index] = _on_axis(found[:, index], low[index], high[index], table, index)
    return np.unique(found, axis=0)


def _on_axis(values: np.ndarray, low: float, high: float, table: Table, index: int) -> np.ndarray:
    axis = None if table.axes is None else table.axes[index]
    if axis is None:
        column = table.reference[:, index]
        if table.axes is not None or not (column == np.rint(column)).all():
            return values
        return np.clip(np.rint(values), np.ceil(low), np.floor(high))
    within = np.sort(axis[(axis >= low) & (axis <= high)].astype(np.float64))
    if len(within) == 0:
        return values
    after = np.clip(np.searchsorted(within, values), 1, max(len(within) - 1, 1))
    left, right = within[after - 1], within[np.minimum(after, len(within) - 1)]
    return np.where(values - left <= right - values, left, right)


def proposal_table(proposals: Sequence[tuple[int, np.ndarray]], table: Table) -> pa.Table:
    """Proposals as rows of the source: the region's number, then its columns, categories as text.

    Args:
        proposals: number of a region, and its ``(k, d)`` inputs.
    """
    inputs = np.concatenate([np.empty((0, len(table.columns))), *(found for _, found in proposals)])
    numbers = np.repeat([number for number, _ in proposals], [len(found) for _, found in proposals])
    columns = {"region": pa.array(numbers, pa.int64())}
    for name in table.source:
        values, names = table.column(name, inputs)
        given, _ = table.column(name, table.reference)
        if names:
            columns[name] = pa.array([names[int(value)] for value in values], pa.string())
        elif (given == np.rint(given)).all() and (values == np.rint(values)).all():
            columns[name] = pa.array(values.astype(np.int64))
        else:
            columns[name] = pa.array([float(f"{value:.7g}") for value in values], pa.float64())
    return pa.table(columns)
