"""The most influential points, grouped into regions of the input space, each with what to do there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from swaypoint.errors import InputError, require
from swaypoint.findings.regions.table import Table
from swaypoint.scoring.kinds import BOUNDARY

Action = Literal["check labels", "gather", "boundary", "filter", "keep"]
GATHERING: tuple[Action, ...] = ("gather", "boundary")
"""Actions that ask for new inputs."""

_FEWEST, _MOST = 20, 2_000
_CLOSE = 0.5
"""Points belong together up to this share of the distance of two random rows …"""
_NEAR = 1.5
"""… or up to this multiple of the usual distance to the tenth neighbour, in many dimensions."""
_SPARSE, _FAR = 1.5, 3.0
"""Multiples of the usual distance to the tenth neighbour."""
_ALONE = 2
_WRONG = 0.1
"""Share of labels that are expected to be wrong from which on they should be looked at."""
_NARROW, _SHOWN, _CLASSES = 0.5, 4, 3


@dataclass(frozen=True, eq=False)
class Points:
    """Ranked points: all of a dataset, or the top of a ranking.

    Attributes:
        inputs: ``(n, d)``.
        cook: ``(n,)`` Cook's distances.
        labels: ``(n,)`` class indices or real values.
        predicted: ``(n,)`` alike, by the model; best by the model fitted without the point.
        margin: ``(n,)`` of that prediction, -1..1; None, or NaN, where not known.
        wrong: ``(n,)`` probability that the label is wrong. None: whether labels are is told by the
            neighbours, as it should be where these are no work of the model.
    """

    inputs: np.ndarray
    cook: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    margin: np.ndarray | None = None
    wrong: np.ndarray | None = None

    def __post_init__(self) -> None:
        shapes = {name: np.shape(value) for name, value in vars(self).items() if value is not None}
        n = shapes["inputs"][0]
        if any(shape != (n,) for name, shape in shapes.items() if name != "inputs") or n == 0:
            raise InputError(f"points have the shapes {shapes}; expected inputs (n, d) and the others (n,)")
        if np.isnan(self.cook).any() or (self.cook < 0).any():
            raise InputError("cook holds NaN or negative values; expected Cook's distances, at least 0")


@dataclass(frozen=True)
class Bound:
    """A region's extent in one column of the source: a range in the column's units, or categories.

    ``share`` is that of the table's rows inside it.
    """

    column: str
    low: float
    high: float
    values: tuple[str, ...]
    share: float

    def __str__(self) -> str:
        if self.values:
            return f"{self.column} = {' or '.join(self.values)}"
        low, high = f"{self.low:.4g}", f"{self.high:.4g}"
        return f"{self.column} {low}" if low == high else f"{self.column} {low} to {high}"


@dataclass(frozen=True)
class Region:
    """Influential points that lie together.

    Attributes:
        members: positions of the points, the most influential first.
        influence: their summed Cook's distance; ``share`` of all points'.
        bounds: at most four columns in which the region is narrow, the narrowest first.
        classes: labels of the members, name and count, the most frequent first; () for regression.
        spacing: median distance of a member to its tenth neighbour, as a multiple of the table's median.
        reach: the same distance in units of the columns' spread.
        disagreement: mean share of a member's neighbours with another label; NaN for regression.
        errors: share of the members to which the model gives another class; NaN for regression.
        margin: median; NaN where not known.
        action: what to do: ``check labels``, ``gather`` data, gather at the ``boundary``, ``filter``
            what does not belong to the data, ``keep``.
        reason: why, in words.
        predicted: classes that the model gives the members, as ``classes``.
        wrong: share of the members' labels that is expected to be wrong; NaN where not known.
    """

    members: tuple[int, ...]
    influence: float
    share: float
    bounds: tuple[Bound, ...]
    classes: tuple[tuple[str, int], ...]
    spacing: float
    reach: float
    disagreement: float
    errors: float
    margin: float
    action: Action
    reason: str
    predicted: tuple[tuple[str, int], ...] = ()
    wrong: float = float("nan")

    def __len__(self) -> int:
        return len(self.members)

    @property
    def where(self) -> str:
        """Its place in words: ``bounds``, or what the model takes the members for; "" of coordinates and
        real values."""
        if self.bounds or not self.predicted:
            return ", ".join(map(str, self.bounds))
        more = " …" if len(self.predicted) > _CLASSES else ""
        return "the model sees " + ", ".join(name for name, _ in self.predicted[:_CLASSES]) + more


def regions(
    points: Points, table: Table, *, top: float = 0.5, total: float | None = None
) -> tuple[Region, ...]:
    """Group the most influential of ``points`` by where they lie, the most influential region first.

    Taken are the fewest points that carry the share ``top`` of the influence (at least 20, at most 2,000).
    They are merged by average linkage (Sokal & Michener, 1958) as long as the mean distance of two groups
    stays below half of the median distance of two rows of the table, or 1.5 times the usual distance to the
    tenth neighbour where that is more. A point near no other is a region of its own.

    The answer does not depend on the units of a column nor on the order of the rows.

    Args:
        points: what was ranked.
        table: the data around them; it may be the points' own inputs.
        top: a share, 0 < top <= 1.
        total: summed influence of all points, where ``points`` are only the top of them.

    Raises:
        InputError: ``top`` out of range, or points and table with other columns.
        MissingExtra: scikit-learn is not installed.
    """
    if not 0.0 < top <= 1.0:
        raise InputError(f"top is {top}; expected a share of the influence, 0 < top <= 1")
    if points.inputs.ndim != 2 or points.inputs.shape[1] != table.inputs.shape[1]:
        raise InputError(
            f"points have inputs of shape {points.inputs.shape}, the table {table.inputs.shape};"
            " expected the same columns"
        )
    cook = np.minimum(points.cook.astype(np.float64), np.finfo(np.float32).max)  # removal may be infinite
    total = float(cook.sum()) if total is None else total
    chosen = _most_influential(cook, top * total)
    near, distances = table.neighbours(points.inputs[chosen], points.labels[chosen])
    other = (table.labels[near] != points.labels[chosen, None]).mean(1)
    found = []
    for group in _groups(table, points.inputs[chosen]):
        members = chosen[group]
        reach, disagreement = float(np.median(distances[group, -1])), float(other[group].mean())
        found.append(_region(points, table, members, cook[members].sum(), total, reach, disagreement))
    return tuple(sorted(found, key=lambda region: (-region.influence, region.members)))


def central(region: Region, points: Points, table: Table) -> np.ndarray:
    """The region's members, nearest to their mean first, ``(m,)`` int64."""
    members = np.array(region.members, dtype=np.int64)
    places = table.places(points.inputs[members])
    return members[np.argsort(np.linalg.norm(places - places.mean(0), axis=1), kind="stable")]


def _most_influential(cook: np.ndarray, wanted: float) -> np.ndarray:
    """The fewest positions whose sum reaches ``wanted``, the largest first."""
    order = np.argsort(-cook, kind="stable")
    count = int(np.searchsorted(np.cumsum(cook[order]), wanted * (1 - 1e-12))) + 1
    return order[: min(max(count, _FEWEST), _MOST)]


def _groups(table: Table, inputs: np.ndarray) -> list[np.ndarray]:
    """Positions of each group, ascending."""
    if len(inputs) < 2:
        return [np.arange(len(inputs))]
    linkage = require("sklearn.cluster", "sklearn").AgglomerativeClustering(
        n_clusters=None,
        linkage="average",
        distance_threshold=max(_CLOSE * table.apart, _NEAR * table.usual),
    )
    labels = linkage.fit_predict(table.places(inputs))
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


def _region(
    points: Points,
    table: Table,
    members: np.ndarray,
    influence: float,
    total: float,
    reach: float,
    disagreement: float,
) -> Region:
    labels, predicted = points.labels[members], points.predicted[members]
    margin, errors, wrong = float("nan"), float("nan"), float("nan")
    if table.classes:
        errors = float((labels != predicted).mean())
        if points.margin is not None:
            margin = float(np.median(points.margin[members]))
        if points.wrong is not None:
            wrong = float(points.wrong[members].mean())
    else:
        disagreement = float("nan")
    spacing, guesses = reach / table.usual, _counted(predicted, table.classes)
    mixed = len(guesses) > 1
    action, reason = _suggest(len(members), spacing, disagreement, errors, margin, wrong, mixed=mixed)
    return Region(
        members=tuple(members.tolist()),
        influence=float(influence),
        share=float(influence) / max(total, 1e-300),
        bounds=narrowest(bounds(points.inputs[members], table, reach)),
        classes=_counted(labels, table.classes),
        spacing=spacing,
        reach=reach,
        disagreement=disagreement,
        errors=errors,
        margin=margin,
        action=action,
        reason=reason,
        predicted=guesses,
        wrong=wrong,
    )


def _counted(codes: np.ndarray, classes: tuple[str, ...]) -> tuple[tuple[str, int], ...]:
    """Name and count, the most frequent first; () for regression."""
    if not classes:
        return ()
    counts = np.bincount(codes.astype(np.int64), minlength=len(classes))
    return tuple((classes[c], int(counts[c])) for c in np.argsort(-counts, kind="stable") if counts[c])


def _suggest(
    size: int,
    spacing: float,
    disagreement: float,
    errors: float,
    margin: float,
    wrong: float,
    *,
    mixed: bool,
) -> tuple[Action, str]:
    """What to do with a region. Comparisons with NaN are False: nothing is said of what is not known."""
    lie = f"the tenth neighbour lies at {spacing:.1f} × the usual distance"
    around = f"{disagreement:.0%} of the neighbours carry another label"
    if size <= _ALONE and spacing >= _FAR:
        return "filter", f"far from all other data: {lie}; does it belong to it?"
    sure = not abs(margin) < BOUNDARY
    contradicted = disagreement >= 0.5 or (sure and spacing < _SPARSE)  # in sparse data the model may err
    them = "it" if size == 1 else f"{errors:.0%} of them"
    if not np.isnan(wrong):
        contradicted = wrong >= _WRONG
        around += f", {wrong:.0%} of the labels are expected to be wrong"
    if errors >= 0.5 and spacing < _FAR and contradicted:
        return "check labels", f"the model gives {them} another class, {around}, and {lie}"
    if spacing >= _SPARSE:
        known = "" if np.isnan(disagreement) else f"; {around}"
        return "gather", f"sparsely sampled: {lie}{known}"
    beyond = errors >= 0.5 and not np.isnan(wrong)
    if not sure or mixed or beyond:
        between = "several classes are predicted" if mixed else "the model hesitates"
        between = f"the model gives {them} another class" if beyond else between
        return "boundary", f"on the decision boundary: {between}, {around}"
    known = "" if np.isnan(errors) else f", and the model agrees with {1 - errors:.0%} of the labels"
    return "keep", f"as densely sampled as usual ({lie}){known}"


# -- boxes ------------------------------------------------------------------------------------------


def box(inputs: np.ndarray, table: Table, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Low and high of some inputs in each column, ``(d,)`` each.

    Numbers are widened by ``reach`` / √d spreads, so that one point has a region around it, but not
    beyond the table's own range.
    """
    values = inputs.astype(np.float64)
    spread = np.where(table.binary | np.isinf(table.spread), 0.0, table.spread)
    wider = reach / np.sqrt(values.shape[1]) * spread
    low, high = values.min(0), values.max(0)
    return (
        np.minimum(low, np.maximum(low - wider, table.ascending[:, 0])),
        np.maximum(high, np.minimum(high + wider, table.ascending[:, -1])),
    )


def bounds(inputs: np.ndarray, table: Table, reach: float) -> list[Bound]:
    """The box of some inputs by the source's columns: categories together again."""
    low, high = box(inputs, table, reach)
    found: list[Bound] = []
    taken: set[int] = set()
    for name, group in table.categories.items():
        taken.update(group)
        present = [index for index in group if inputs[:, index].any()]
        values = tuple(table.columns[index][len(name) + 1 :] for index in present)
        share = sum(table.share(index, 1.0, 1.0) for index in present)
        found.append(Bound(name, 0.0, 0.0, values, share))
    for index, name in enumerate(table.columns):
        if index not in taken:
            ends = float(low[index]), float(high[index])
            found.append(Bound(name, *ends, (), table.share(index, *ends)))
    return found


def narrowest(found: Sequence[Bound]) -> tuple[Bound, ...]:
    """Those that hold at most half of the table's rows, at most four; the narrowest if there is none."""
    order = sorted(found, key=lambda bound: bound.share)
    return tuple(bound for bound in order if bound.share <= _NARROW)[:_SHOWN] or tuple(order[:1])
