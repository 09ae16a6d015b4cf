"""What the experts of Picard et al. (2022) found in the ACAS Xu table, as shares with their base rates."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swaypoint.data.splitting import Split
from swaypoint.studies.acas.learning import draw
from swaypoint.studies.acas.scoring import TableScores, cut_size
from swaypoint.studies.acas.tables import Table

_SAMPLE = 200_000
_CUTS = 100
_SENSE = np.array([0, 1, -1, 1, -1])
"""Of COC, weak left, weak right, left, right."""


@dataclass(frozen=True)
class Finding:
    """A claim as two shares: among the most influential, and among all; ``ratio`` of the two."""

    claim: str
    measure: str
    influential: float
    base: float

    @property
    def ratio(self) -> float:
        return self.influential / self.base if self.base else float("nan")


@dataclass(frozen=True)
class Surroundings:
    """Of points of a table, ``(b,)`` each: does a grid neighbour along theta or rho decide otherwise, one
    along any axis, one along theta or rho to the other side; and the root of the area [ft] in the plane
    that the point stands for."""

    differs: np.ndarray
    differs_anywhere: np.ndarray
    opposite: np.ndarray
    spacing: np.ndarray


def surroundings(table: Table, index: np.ndarray) -> Surroundings:
    """Of the points of a flat index ``(b,)``."""
    places = np.stack(np.unravel_index(index, table.shape), 1)
    own = table.decisions(index)
    differs, anywhere, opposite = (np.zeros(len(index), bool) for _ in range(3))
    for axis, size in enumerate(table.shape):
        for step in (-1, 1):
            there = places.copy()
            there[:, axis] += step
            inside = (there[:, axis] >= 0) & (there[:, axis] < size)
            there[~inside, axis] = places[~inside, axis]
            other = table.decisions(np.ravel_multi_index(tuple(there.T), table.shape))
            anywhere |= other != own
            if axis >= len(table.shape) - 2:
                differs |= other != own
                opposite |= _SENSE[other] * _SENSE[own] < 0
    return Surroundings(differs, anywhere, opposite, _spacing(table, places))


def _spacing(table: Table, places: np.ndarray) -> np.ndarray:
    theta, rho = (axis.values for axis in table.axes[-2:])
    edges = np.concatenate([rho[:1], (rho[1:] + rho[:-1]) / 2, rho[-1:]])
    rings = 0.5 * np.diff(edges**2) * (theta[1] - theta[0])
    return np.sqrt(rings[places[:, -1]])


def findings(table: Table, split: Split, scores: TableScores) -> list[Finding]:
    """Each claim measured on the kept points, and on the first hundred cuts by summed influence.

    Base rates of points are those of a random sample of 200,000 training points; of cuts those of all, or
    of 2,000 at random where a cut has to be looked into.
    """
    rng = np.random.default_rng(0)
    index = draw(table, _SAMPLE, seed=0)
    index = index[~split.held_out(index)]
    top, base = surroundings(table, scores.index), surroundings(table, index)
    labels = table.decisions(scores.index)
    points = f"{len(labels):,} most influential points"
    cuts = np.argsort(-scores.cut_sum, kind="stable")[:_CUTS]
    fast = fast_aircraft(table)
    pictured = [_inside(table, cut) for cut in cuts]
    others = [_inside(table, cut) for cut in rng.integers(0, len(scores.cut_sum), 20 * _CUTS)]

    def of_points(claim: str, measure: str, influential: np.ndarray, every: np.ndarray) -> Finding:
        return Finding(claim, f"{points}: {measure}", float(influential.mean()), float(every.mean()))

    def of_cuts(claim: str, measure: str, influential: list[float], every: list[float]) -> Finding:
        measure = f"first {len(cuts)} cuts: {measure}"
        return Finding(claim, measure, float(np.mean(influential)), float(np.mean(every)))

    boundary, mixed, switch = "on decision boundaries", "neighbours of different classes", "sudden switches"
    quick = "one or both aircraft fast"
    sparse = np.median(base.spacing)
    errs = Finding(
        "where the model errs",
        f"{points}: the model decides otherwise than the table",
        float((labels != scores.predicted).mean()),
        1 - scores.accuracy,
    )
    return [
        of_points(boundary, "a neighbour in theta or rho decides otherwise", top.differs, base.differs),
        of_points(boundary, "a neighbour along any axis does", top.differs_anywhere, base.differs_anywhere),
        errs,
        of_points("in sparse regions", "it stands for more area than the median point",
                  top.spacing > sparse, base.spacing > sparse),
        of_points(switch, "a neighbour in theta or rho turns to the other side", top.opposite, base.opposite),
        of_cuts(mixed, "neighbouring pairs that decide differently",
                [cut.differing for cut in pictured], [cut.differing for cut in others]),
        of_cuts(switch, "cuts with a pair that turns to opposite sides",
                [cut.opposite > 0 for cut in pictured], [cut.opposite > 0 for cut in others]),
        of_cuts(quick, "one or both in the upper third of speeds",
                list(fast[cuts] > 0), list(fast > 0)),
        of_cuts(quick, "both in the upper third of speeds", list(fast[cuts] == 2), list(fast == 2)),
    ]  # fmt: skip


def fast_aircraft(table: Table) -> np.ndarray:
    """How many aircraft fly in the upper third of their speeds, ``(cuts,)``."""
    states = table.points(np.arange(0, table.size, cut_size(table)))
    fast = np.zeros(len(states), int)
    for column, axis in enumerate(table.axes):
        if axis.name in ("v_own", "v_int"):
            low, high = axis.values[0], axis.values[-1]
            fast += states[:, column] > low + 2 / 3 * (high - low)
    return fast


@dataclass(frozen=True)
class _Inside:
    """Of the neighbouring pairs of a cut: the share that decides differently, and to opposite sides."""

    differing: float
    opposite: float


def _inside(table: Table, cut: int) -> _Inside:
    size = cut_size(table)
    picture = table.decisions(slice(cut * size, (cut + 1) * size)).reshape(table.shape[-2:])
    # theta = -pi and pi are the same direction, not a pair of neighbours.
    pairs = [(picture[1:], picture[:-1]), (picture[:, 1:], picture[:, :-1])]
    differing = sum(int((a != b).sum()) for a, b in pairs)
    opposite = sum(int((_SENSE[a] * _SENSE[b] < 0).sum()) for a, b in pairs)
    count = sum(a.size for a, _ in pairs)
    return _Inside(differing / count, opposite / count)
