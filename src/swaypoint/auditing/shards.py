"""The second pass of a streamed audit: every shard's scores in a file of its own, and what they sum to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from swaypoint.auditing.scored import WRONG, Columns, Pairs, columns_of
from swaypoint.data.batches import FeatureBatches
from swaypoint.data.folds import Fold, Statistic, total
from swaypoint.data.readers.parquet import ParquetPoints
from swaypoint.data.top import top_of
from swaypoint.errors import InputError
from swaypoint.folder.manifest import HELD_OUT, TRAIN
from swaypoint.folder.writing import replace_file
from swaypoint.scorers.base import of_points
from swaypoint.scorers.recommended import OneScale
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.kinds import suggest_kinds, suggest_regression_kinds
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.ranking import COLUMNS
from swaypoint.scoring.regression import Fit, suspicion
from swaypoint.scoring.scores import Removal
from swaypoint.scoring.trained_model import TrainedModel

_ROWS = 65_536
_SUMMED = ("right", "first_order")
SIDES = (TRAIN, HELD_OUT)
_SIDE = "side"
"""Column of the position in :data:`SIDES`, while columns are numbers alone."""


@dataclass(frozen=True)
class ShardScores:
    """What is kept in memory of a streamed scoring.

    Attributes:
        points: trained on.
        mean, effective: of their Cook's distances, see :class:`~swaypoint.scoring.fitness.Spread`.
        mean_leverage: of them.
        accuracy: of the head on them, and on the points held out; None without classes or such points.
        held_out: how many those are, which are scored too.
        top: the most influential points, in dataset order.
        parts: number of files.
        pairs: of a classification.
    """

    points: int
    mean: float
    effective: float
    mean_leverage: float
    accuracy: tuple[float | None, float | None]
    held_out: int
    top: Columns
    parts: int
    pairs: Pairs | None


@dataclass(frozen=True)
class ScoreShards:
    """Scores a shard, writes ``folder/part-NNNNN.parquet``, and tells what it sums to; sent to workers.

    Args:
        influence: after the first pass.
        folder: which all workers and the asker must see under the same name.
        removal: see :class:`~swaypoint.scoring.scores.Scores`.
        top: how many points to hand back whole.
        lead: the column that ranks.
        scores: further ones to be computed, each of which is pointwise, see
            :class:`~swaypoint.scorers.base.Score`; and ``auto``.
        scale: of the wrong labels of a classification, of the points trained on and of those held out; None:
            of a loss without one class a point, whose recommended score is the leave-one-out loss.
        regression: of a head of one real value, what its points' statistics are taken among.
    """

    influence: Influence
    folder: Path
    removal: Removal
    top: int
    lead: str = "cook"
    scores: tuple[str, ...] = ()
    scale: OneScale | None = None
    regression: Fit | None = None

    def __call__(self, numbered: tuple[int, ParquetPoints]) -> Statistic:
        number, points = numbered
        tally, classes = (
            _Tally(self.top, self.lead),
            0 if self.scale is None else len(self.scale.channel.told),
        )
        pairs = np.zeros((2, classes, classes))
        self.folder.mkdir(parents=True, exist_ok=True)  # of a machine that does not share it: told later

        def write(temporary: Path) -> None:
            with pq.ParquetWriter(temporary, self._schema(), compression="zstd") as writer:
                for columns in _joined(self._columns(points, pairs)):
                    tally.add(columns)
                    writer.write_table(self._table(columns))

        replace_file(part_file(self.folder, number), write)
        return {**tally.statistic(), "pairs": torch.from_numpy(pairs)}

    @property
    def mean_leverage(self) -> float:
        """The leverages sum to the rank of the features."""
        risk, summary = self.influence.risk, self.influence.summary
        return (risk.head.width - summary.dropped) / summary.points

    def _columns(self, points: ParquetPoints, pairs: np.ndarray) -> Iterator[Columns]:
        """Of all points, some at a time; to ``pairs`` (2, C, C) is added what :class:`Pairs` sums."""
        others = points.others()
        yield from _merged(
            self._side(0, points, self.influence.of(points), pairs),
            self._side(1, others, self.influence.unseen(others), pairs),
        )

    def _side(
        self, side: int, points: ParquetPoints, influence: Influence, pairs: np.ndarray
    ) -> Iterator[Columns]:
        """Of the points trained on, or of those held out, in their order."""
        numbered, further = _Numbered(points), self._further(side, points)
        done = 0
        for part in influence.columns(numbered, removal=self.removal, probabilities=self.scale is not None):
            part.setdefault("first_order", part["cook"])
            columns = {name: part[name].cpu().numpy() for name in (*COLUMNS, *_SUMMED)}
            count = len(columns["cook"])
            rows = slice(done, done := done + count)
            beside = {name: values[rows] for name, values in further.items()}
            if self.scale is not None:  # no training was recorded, so of leave-one-out alone
                p, y = part["probabilities"].cpu().numpy(), columns["label"].astype(np.int64)
                wrong = self.scale.wrong(side, p, y)
                beside |= columns_of(wrong)
                pairs += wrong.pairs, wrong.variance
            elif "auto" in self.scores and self.regression is None:
                beside["auto"] = columns["loo_loss"]
            place = {"index": numbered.take(count), _SIDE: np.full(count, side, dtype=np.int8)}
            yield {**place, **columns, **beside}

    @property
    def _known(self) -> tuple[str, ...]:
        """Columns that every audit has beside its scores."""
        if self.regression is not None:
            return ("residual", "studentised", "suggested_error", "auto")
        return () if self.scale is None else WRONG

    @property
    def _beside(self) -> list[str]:
        asked = (name for name in self.scores if name not in COLUMNS)
        return list(dict.fromkeys([*self._known, *asked]))

    def _further(self, side: int, points: ParquetPoints) -> dict[str, np.ndarray]:
        """The other scores of a shard's points, each by a pass over it, and a regression's statistics."""
        if not len(points):
            return {}
        found: dict[str, np.ndarray] = {}
        if self.regression is not None:
            risk = self.influence.risk.of(points)
            known = self.regression.unseen(risk) if side else self.regression.statistics(risk)
            found = {"residual": known.residual, "studentised": known.studentised}
            found |= {"suggested_error": known.error, "auto": suspicion(known)}
        names = [name for name in self._beside if name not in (*self._known, "auto")]
        if not names:
            return found
        seen = points if side == 0 else points.others()
        trained = TrainedModel(
            LinearHead(self.influence.head), seen, features=seen, influence=self.influence.of(seen)
        )
        if side == 1:
            trained = trained.unseen(points, points)
        return found | {name: of_points(name)(trained) for name in names}

    @property
    def told(self) -> tuple[str, ...]:
        """The columns of numbers in the order of the files, whatever the order that statistics travel in."""
        return ("index", *COLUMNS, *self._beside)

    def _schema(self) -> pa.Schema:
        label = pa.int64() if self.influence.head.loss.classifies else pa.float64()
        labels = ("label", "suggested_label", "likely")
        fields = [(name, label if name in labels else pa.float64()) for name in COLUMNS]
        split = ("split", pa.dictionary(pa.int8(), pa.string()))
        further = [(name, label if name in labels else pa.float64()) for name in self._beside]
        return pa.schema([("index", pa.int64()), split, *fields, ("kind", pa.string()), *further])

    def _table(self, columns: Columns) -> pa.Table:
        leverage, mean = columns["leverage"], self.mean_leverage
        if self.regression is None:
            kinds = suggest_kinds(columns["margin"], leverage, mean_leverage=mean)
        else:
            kinds = suggest_regression_kinds(columns["studentised"], leverage, mean_leverage=mean)
        split = pa.DictionaryArray.from_arrays(pa.array(columns[_SIDE]), SIDES)
        schema = self._schema()
        values = {"split": split, "kind": kinds, **columns}
        return pa.table([pa.array(values[f.name], f.type) for f in schema], schema=schema)


def part_file(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def score_shards(scoring: ScoreShards, points: ParquetPoints, fold: Fold) -> ShardScores:
    """Score all shards of ``points`` on ``fold``.

    Raises:
        InputError: the workers' files are not seen here, or the points changed since the first pass.
    """
    shards = points.shards()
    best: dict[str, np.ndarray] = {}
    sums: list[Statistic] = []
    for number, statistic in enumerate(fold.map("scores", scoring, list(enumerate(shards)))):
        file = part_file(scoring.folder, number)
        if not file.is_file():
            raise InputError(
                f"{file} is not there although a worker wrote it: {scoring.folder.parent} is not shared with"
                " all workers; choose an --out on a file system that they and this machine have in common"
            )
        top = {k.removeprefix("top."): v.numpy() for k, v in statistic.items() if k.startswith("top.")}
        best = _best([best, top], scoring.top, scoring.lead)
        sums.append({name: value for name, value in statistic.items() if not name.startswith("top.")})
    found = total(sums)
    count = 0 if found is None else int(found["points"])
    if found is None or count != scoring.influence.summary.points:
        raise InputError(
            f"the data gave {scoring.influence.summary.points} points in the first pass and {count} in the"
            " second; audit files that do not change meanwhile"
        )
    side = best.pop(_SIDE, np.empty(0, dtype=np.int8))
    cook, square = float(found["cook"]), float(found["square"])
    classifies = scoring.influence.head.loss.classifies
    held = int(found["held_out"])
    channel = None if scoring.scale is None else scoring.scale.channel
    expected, variance = found["pairs"].numpy()
    return ShardScores(
        points=count,
        mean=float(found["first_order"]) / count,
        effective=cook**2 / square if square > 0 else float(count),
        mean_leverage=scoring.mean_leverage,
        accuracy=(
            int(found["right"]) / count if classifies else None,
            int(found["held_out_right"]) / held if held and classifies else None,
        ),
        held_out=held,
        top={**{name: best[name] for name in scoring.told}, "split": np.array(SIDES)[side]},
        parts=len(shards),
        pairs=None if channel is None else Pairs(expected, variance, channel.believed, channel.evidence),
    )


class _Numbered(FeatureBatches):
    """The batches of some points; :meth:`take` has the positions of those read, in their order."""

    def __init__(self, points: ParquetPoints) -> None:
        self._points, self._read = points, deque[np.ndarray]()

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for index, features, targets in self._points.numbered():
            self._read.append(index)
            yield features, targets

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        return self._points.sample(size)

    def take(self, count: int) -> np.ndarray:
        parts: list[np.ndarray] = []
        while count:
            index = self._read.popleft()
            parts.append(index[:count])
            if len(index) > count:
                self._read.appendleft(index[count:])
            count -= len(parts[-1])
        return np.concatenate(parts)


class _Tally:
    """What a shard's scores sum to, of the points trained on, and its most influential points of all."""

    def __init__(self, top: int, lead: str) -> None:
        self._most, self._lead, self._top = top, lead, dict[str, np.ndarray]()
        self._points = self._right = self._held_out = self._held_out_right = 0
        self._cook = self._square = self._first_order = 0.0

    def add(self, columns: Columns) -> None:
        held_out = columns[_SIDE] == 1
        self._held_out += int(held_out.sum())
        self._held_out_right += int(columns["right"][held_out].sum())
        cook = np.nan_to_num(columns["cook"][~held_out], posinf=0.0)
        self._points += len(cook)
        self._right += int(columns["right"][~held_out].sum())
        self._cook += float(cook.sum())
        self._square += float(np.square(cook).sum())
        self._first_order += float(columns["first_order"][~held_out].sum())
        shown = {name: values for name, values in columns.items() if name not in _SUMMED}
        self._top = _best([self._top, shown], self._most, self._lead)

    def statistic(self) -> Statistic:
        sums = {
            "points": self._points,
            "right": self._right,
            "held_out": self._held_out,
            "held_out_right": self._held_out_right,
            "cook": self._cook,
            "square": self._square,
            "first_order": self._first_order,
        }
        top = {f"top.{name}": torch.from_numpy(values) for name, values in self._top.items()}
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in sums.items()} | top


def _best(parts: list[Columns], most: int, lead: str) -> dict[str, np.ndarray]:
    """The ``most`` with the largest ``lead`` of ``parts``, in their order; equal ones by position."""
    parts = [part for part in parts if part]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in (parts[0] if parts else ())}
    if not joined:
        return {}
    kept = np.sort(top_of(joined[lead], most))
    return {name: values[kept] for name, values in joined.items()}


def _merged(*sides: Iterator[Columns]) -> Iterator[Columns]:
    """Points that each side gives in the order of ``index``: all of them in that order."""
    waiting: list[Columns | None] = [next(side, None) for side in sides]
    while any(waiting):
        last = min(int(part["index"][-1]) for part in waiting if part)
        ready: list[Columns] = []
        for number, part in enumerate(waiting):
            if part:
                count = int(np.searchsorted(part["index"], last, side="right"))
                ready.append({name: values[:count] for name, values in part.items()})
                rest = {name: values[count:] for name, values in part.items()}
                waiting[number] = rest if len(rest["index"]) else next(sides[number], None)
        joined = {name: np.concatenate([part[name] for part in ready]) for name in ready[0]}
        order = np.argsort(joined["index"])
        yield {name: values[order] for name, values in joined.items()}


def _joined(parts: Iterator[Columns]) -> Iterator[Columns]:
    """The same points, at least :data:`_ROWS` at a time but for the last."""
    waiting: list[Columns] = []
    for part in parts:
        waiting.append(part)
        if sum(len(p["index"]) for p in waiting) >= _ROWS:
            yield {name: np.concatenate([p[name] for p in waiting]) for name in part}
            waiting = []
    if waiting:
        yield {name: np.concatenate([p[name] for p in waiting]) for name in waiting[0]}
