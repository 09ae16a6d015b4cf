"""Cook's distance of every training point of a table, streamed: nothing of the table's size is held."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.data.folds import Fold, Statistic
from swaypoint.data.splitting import Split
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.scores import Facts
from swaypoint.studies.acas.surrogate import Surrogate
from swaypoint.studies.acas.tables import Table

CUT_AXES = ("tau", "v_own", "v_int", "psi")
"""Held fixed in a cut; theta and rho, the last two axes, span it."""
_BATCH = 8192


class TablePoints(FeatureBatches):
    """The training points of a stretch of a table, as the surrogate's head sees them; made anew each time.

    Args:
        table: with the axes of :data:`CUT_AXES`, theta and rho.
        split: which points are held out.
        parts: flat indices of each shard.
    """

    def __init__(self, table: Table, surrogate: Surrogate, split: Split, parts: Sequence[slice]) -> None:
        self.table, self.surrogate, self._split, self._parts = table, surrogate, split, list(parts)

    def shards(self) -> Sequence[TablePoints]:
        return [TablePoints(self.table, self.surrogate, self._split, [part]) for part in self._parts]

    @property
    def start(self) -> int:
        return self._parts[0].start

    @property
    def stop(self) -> int:
        return self._parts[-1].stop

    def index(self) -> np.ndarray:
        """Flat indices of the points, ascending."""
        rows = [np.arange(part.start, part.stop) for part in self._parts]
        return np.concatenate([part[~self._split.held_out(part)] for part in rows])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for part in self._parts:
            rows = np.arange(part.start, part.stop)
            kept = ~self._split.held_out(rows)
            rows, labels = rows[kept], self.table.decisions(part)[kept]
            for start in range(0, len(rows), _BATCH):
                piece = slice(start, start + _BATCH)
                yield self._features(rows[piece]), torch.from_numpy(labels[piece]).long()

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        count = self.stop - self.start
        rows = self.start + np.arange(0, count, max(1, count // size))
        return self._features(rows), torch.from_numpy(self.table.decisions(rows)).long()

    def _features(self, rows: np.ndarray) -> Tensor:
        return self.surrogate.columns(torch.from_numpy(self.table.points(rows))).T


@dataclass(frozen=True)
class TableScores:
    """What is kept of a streamed scoring.

    Attributes:
        points: training points scored; ``accuracy`` of the surrogate on them.
        total, effective: sum of Cook's distances; (sum I)^2 / sum I^2.
        index, cook, predicted: the most influential points, ``(k,)`` each, the first first.
        cut_sum, cut_max, cut_points: per cut in the table's order, ``(cuts,)``.
        ridge, damping: of the head and of the Hessian; ``facts`` of the solve.
    """

    points: int
    accuracy: float
    total: float
    effective: float
    index: np.ndarray
    cook: np.ndarray
    predicted: np.ndarray
    cut_sum: np.ndarray
    cut_max: np.ndarray
    cut_points: np.ndarray
    ridge: float
    damping: float
    facts: Facts


def head_of(surrogate: Surrogate) -> HeadWeights:
    return HeadWeights(surrogate.head.weight, surrogate.head.bias, CrossEntropy())


def shards_of(table: Table) -> list[slice]:
    """One (tau, v_own) of the table each."""
    size = table.size // (table.shape[0] * table.shape[1])
    return [slice(start, start + size) for start in range(0, table.size, size)]


def factorize(
    table: Table, surrogate: Surrogate, split: Split, fold: Fold, *, head: HeadWeights | None = None
) -> Influence:
    """The first pass: the Hessian of the last layer's loss on all training points, inverted; of the
    surrogate's own ``head``, or of another one.

    In float64: the surrogates' features are too collinear for float32, and a pass is long.
    """
    points = TablePoints(table, surrogate, split, shards_of(table))
    return Influence(head or head_of(surrogate), points, dtype=torch.float64, fold=fold)


def score(influence: Influence, fold: Fold, *, top: int = 10_000) -> TableScores:
    """The second pass: every training point's Cook's distance; the ``top`` largest are kept.

    Args:
        influence: of :func:`factorize`,
            :func:`~swaypoint.studies.acas.optimum.at_optimum`, or :meth:`~Influence.damped`.
    """
    points = influence.data
    assert isinstance(points, TablePoints)
    sums: dict[str, float] = {"points": 0.0, "right": 0.0, "cook": 0.0, "square": 0.0}
    cuts: dict[str, list[np.ndarray]] = {"cut_sum": [], "cut_max": [], "cut_points": []}
    best: dict[str, np.ndarray] = {}
    kept = f"scores-{influence.risk.damping!r}"  # of one damping they are none of another's
    for statistic in fold.map(kept, partial(_scores, influence, top), points.shards()):
        part = {name: value.numpy() for name, value in statistic.items()}
        for name in sums:
            sums[name] += float(part[name])
        for name, values in cuts.items():
            values.append(part[name])
        joined = {
            n: np.concatenate([best.get(n, part[n][:0]), part[n]]) for n in ("index", "best", "predicted")
        }
        order = np.argsort(-joined["best"], kind="stable")[:top]
        best = {name: values[order] for name, values in joined.items()}
    return TableScores(
        points=int(sums["points"]),
        accuracy=sums["right"] / sums["points"],
        total=sums["cook"],
        effective=sums["cook"] ** 2 / sums["square"] if sums["square"] else 0.0,
        index=best["index"],
        cook=best["best"],
        predicted=best["predicted"],
        cut_sum=np.concatenate(cuts["cut_sum"]),
        cut_max=np.concatenate(cuts["cut_max"]),
        cut_points=np.concatenate(cuts["cut_points"]),
        ridge=influence.head.l2,
        damping=influence.risk.damping,
        facts=influence.facts(),
    )


def _scores(influence: Influence, top: int, shard: TablePoints) -> Statistic:
    """What is kept of one shard."""
    cook, predicted, right = [], [], 0
    for chunk, values in influence.cook(shard):
        given = chunk.logits.argmax(1)
        right += int((given == chunk.targets).sum())
        cook.append(values)
        predicted.append(given.to(torch.uint8))
    values, given, index = torch.cat(cook), torch.cat(predicted), torch.from_numpy(shard.index())
    size = cut_size(shard.table)
    first, cuts = shard.start // size, (shard.stop - shard.start) // size
    cut = index // size - first
    best = values.topk(min(top, len(values))).indices.sort().values  # ties in the order of the table
    return {
        "points": torch.tensor(len(values)),
        "right": torch.tensor(right),
        "cook": values.sum(),
        "square": values.square().sum(),
        "index": index[best],
        "best": values[best],
        "predicted": given[best],
        "cut_sum": torch.zeros(cuts, dtype=torch.float64).index_add_(0, cut, values),
        "cut_max": torch.zeros(cuts, dtype=torch.float64).scatter_reduce_(0, cut, values, "amax"),
        "cut_points": torch.bincount(cut, minlength=cuts),
    }


def cut_size(table: Table) -> int:
    """Points of one cut: all theta and rho."""
    return table.shape[-2] * table.shape[-1]


@dataclass(frozen=True)
class Cut:
    """One theta x rho picture of a table, ``(thetas, rhos)`` each: the table's decisions, the model's, and
    the Cook's distances of its training points, NaN of those held out.

    ``state`` has the values of :data:`CUT_AXES`.
    """

    number: int
    state: dict[str, float]
    decided: np.ndarray
    predicted: np.ndarray
    cook: np.ndarray


def cut(influence: Influence, split: Split, number: int) -> Cut:
    """The cut of a number in the order of ``TableScores.cut_sum``."""
    points = influence.data
    assert isinstance(points, TablePoints)
    table, size = points.table, cut_size(points.table)
    rows = slice(number * size, (number + 1) * size)
    whole = TablePoints(table, points.surrogate, Split(share=0.0), [rows])
    chunks, values = zip(*influence.cook(whole), strict=True)
    predicted = torch.cat([chunk.logits.argmax(1) for chunk in chunks]).numpy()
    held_out = split.held_out(np.arange(rows.start, rows.stop))
    cook = np.where(held_out, np.nan, torch.cat(values).numpy())
    shape = table.shape[-2:]
    state = dict(zip(CUT_AXES, table.points(np.array([rows.start]))[0].tolist(), strict=False))
    return Cut(
        number, state, table.decisions(rows).reshape(shape), predicted.reshape(shape), cook.reshape(shape)
    )


def key_of(table: Table, surrogate: Surrogate, split: Split, *further: Any) -> str:
    """Of everything that scores depend on."""
    digest = hashlib.sha256(json.dumps([table.name, table.shape, str(split), *further]).encode())
    for axis in table.axes:
        digest.update(axis.values.tobytes())
    for tensor in surrogate.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()
