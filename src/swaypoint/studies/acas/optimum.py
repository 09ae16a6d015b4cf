"""A surrogate's last layer at its optimum on every training point of a table, by streamed Newton steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from swaypoint.auditing.run import head_tensors
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.folds import Fold, InProcess, Statistic, total
from swaypoint.data.splitting import Split
from swaypoint.data.tensors import read_kept, write_tensors
from swaypoint.errors import InputError
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.newton_step import NewtonStep
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.studies.acas.learning import draw
from swaypoint.studies.acas.scoring import TablePoints, factorize, head_of, key_of, shards_of
from swaypoint.studies.acas.surrogate import Surrogate
from swaypoint.studies.acas.tables import Table

TOLERANCE = 1e-10
"""Newton decrement at the optimum [nats]: mean loss and ridge are no further above their least value."""
_SAMPLE = 1 << 18
_TENTH = 10
_STEPS = 100
_ARMIJO, _ROUNDING = 1e-4, 1e-13
_LENGTHS = 0.5 ** torch.arange(1, 31, dtype=torch.float64)


def at_optimum(
    table: Table,
    surrogate: Surrogate,
    split: Split,
    ridge: float,
    fold_of: Callable[[HeadWeights, Split], Fold],
    kept: Path,
) -> Influence:
    """The Hessian where mean loss plus (ridge / 2) ||theta||^2 of the training points is least.

    Each Newton step is a first pass, over a tenth of the training points until they are at their optimum,
    then over all of them. Where the objective is not lower after it (Armijo, 1966), or no point has
    curvature, one more pass finds the best of 1/2, 1/4, … of the step.

    Args:
        fold_of: where the shards of a head and of the points that a split leaves to train are worked on.
        kept: file with the head that is next, ``weight`` and ``bias``, from which an interrupted run goes on;
            at the end the optimum.

    Raises:
        InputError: no optimum after 100 steps.
    """
    trained = replace(head_of(surrogate), l2=ridge)

    def settled(among: Split, start: Callable[[], Tensor]) -> Influence:
        key = key_of(table, surrogate, among, ridge)
        known = read_kept(kept, key)
        walk = _Walk.begun(start()) if known is None else _Walk.of(known, trained)
        while walk.steps < _STEPS:
            write_tensors(kept, walk.tensors(trained), key=key)
            head = trained.at(walk.trial)
            found = curved(among, head, fatal=walk.steps == 0 or walk.shortened)
            if found is not None and walk.lowered(found[1].objective):
                influence, step = found
                if step.decrement <= TOLERANCE:
                    return influence
                walk = walk.onward(step)
            elif walk.shortened:
                break
            else:
                points = TablePoints(table, surrogate, among, shards_of(table))
                walk = walk.shorter(_least(points, trained, walk.trial - walk.change, walk.change))
        raise InputError(
            f"ridge is {ridge:g}: no optimum of the last layer after {walk.steps} Newton steps; pass a larger"
            " --ridge"
        )

    def curved(among: Split, head: HeadWeights, *, fatal: bool) -> tuple[Influence, NewtonStep] | None:
        try:
            influence = factorize(table, surrogate, among, fold_of(head, among), head=head)
        except InputError:
            if fatal:
                raise
            return None
        return influence, influence.newton_step()

    kept.parent.mkdir(parents=True, exist_ok=True)
    tenth = replace(split, share=1.0 - (1.0 - split.share) / _TENTH, below=None)
    sample = partial(_of_sample, trained, table, surrogate, split)
    return settled(split, lambda: settled(tenth, sample).head.matrix)


def _of_sample(head: HeadWeights, table: Table, surrogate: Surrogate, split: Split) -> Tensor:
    """The matrix of ``head`` at the optimum of a sample of the training points."""
    index = draw(table, _SAMPLE, seed=split.seed)
    index = index[~split.held_out(index)]
    features = surrogate.columns(torch.from_numpy(table.points(index))).T
    labels = torch.from_numpy(table.decisions(index)).long()
    return refit_head(head, ArrayBatches(features, labels)).head.matrix


def _least(points: TablePoints, head: HeadWeights, matrix: Tensor, change: Tensor) -> float:
    """Which of ``_LENGTHS`` times the ``change`` of ``matrix`` has the least objective."""

    risk = LinearHeadRisk(head.at(matrix), points, dtype=torch.float64)

    def losses(shard: TablePoints) -> Statistic:
        def of(chunk: Chunk) -> Statistic:
            moved = (change @ chunk.features).T
            trials = [chunk.logits + length * moved for length in _LENGTHS]
            sums = [head.loss.terms(trial, chunk.targets).value.sum() for trial in trials]
            return {"losses": torch.stack(sums), "points": torch.tensor(len(chunk))}

        return total(risk.map(of, shard)) or {}

    found = InProcess().total("losses", losses, points.shards())
    assert found is not None
    trials = (matrix + length * change for length in _LENGTHS)
    ridges = torch.stack([0.5 * (head.penalty(0.0) * trial.square()).sum() for trial in trials])
    return float(_LENGTHS[(found["losses"] / found["points"] + ridges).argmin()])


@dataclass(frozen=True)
class _Walk:
    """The head's matrix that is next, ``trial`` (C, D): after ``steps`` and, whole or ``shortened``, the
    ``change`` (C, D) of one more, from where ``objective`` and ``decrement`` are those given."""

    trial: Tensor
    change: Tensor
    objective: float
    decrement: float
    steps: int
    shortened: bool

    @staticmethod
    def begun(matrix: Tensor) -> _Walk:
        return _Walk(matrix, torch.zeros_like(matrix), torch.inf, 0.0, 0, shortened=False)

    def lowered(self, objective: float) -> bool:
        """Whether it is lower at the trial, up to rounding."""
        length = 0.0 if self.shortened else 1.0
        slack = _ROUNDING * abs(objective)
        return objective <= self.objective - _ARMIJO * length * 2.0 * self.decrement + slack

    def onward(self, step: NewtonStep) -> _Walk:
        """After ``step`` was found at the trial."""
        trial, steps = self.trial + step.change, self.steps + 1
        return _Walk(trial, step.change, step.objective, step.decrement, steps, shortened=False)

    def shorter(self, length: float) -> _Walk:
        """Only ``length`` times the change."""
        return replace(self, trial=self.trial - (1.0 - length) * self.change, shortened=True)

    def tensors(self, head: HeadWeights) -> dict[str, Tensor]:
        """Of ``head`` at the trial, and all else there is to know."""
        known = [self.objective, self.decrement, self.steps, self.shortened]
        beside = {"change": self.change, "known": torch.tensor(known, dtype=torch.float64)}
        return head_tensors(head.at(self.trial)) | beside

    @staticmethod
    def of(tensors: dict[str, Tensor], head: HeadWeights) -> _Walk:
        """That of :meth:`tensors`."""
        trial = replace(head, weight=tensors["weight"], bias=tensors["bias"]).matrix
        objective, decrement, steps, shortened = tensors["known"].tolist()
        return _Walk(trial, tensors["change"], objective, decrement, int(steps), shortened=bool(shortened))
