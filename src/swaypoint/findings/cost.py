"""What a finding costs: how the loss on what was held out would change without its training records.

Let the head's optimum on frozen features be theta(t) = argmin (1/n) sum_i w_i l_i + (l2 / 2) ||theta||^2 with
the weights 1 - t of a group U, so that t = 1 removes it. By influence, in closed form to the second order
(see :mod:`swaypoint.scorers.groups`, whose derivatives these are, for a linear head without automatic
differentiation), with s and H_U the sums of the group's gradients and Hessians:

    theta'      = (1/n) H^-1 s
    theta'' / 2 = (1/n) H^-1 H_U theta' - 1/2 H^-1 (grad^3 L)[theta', theta']

And beside it by a refit: theta(1) itself, sought from theta + theta' + theta'' / 2 on. Both start from the
optimum of the head on all training records, where the derivatives hold; a network's own head is near it at
best.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.errors import InputError
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.head_inverse import HeadInverse
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk

REFIT, FACTOR = 5e7, 1e11
"""n P and n P^2 up to which a refit and a factorisation of the Hessian take a few seconds of a core."""
WIDEST = 4_000
"""Weights up to which the Hessian, its factor and its inverse in float64 take half a gigabyte."""
_LEAST = 1e-6  # a loss from which on it can change by a share; where classes are separable it has no minimum
_STEP = 1e-3  # of the logits, in the difference that stands for the third derivative


@dataclass(frozen=True)
class Cost:
    """Of a group: the change of the mean held-out loss without it, as a share of that loss (negative: it
    falls), by influence and by a refit; NaN where the points left have no minimum."""

    influence: float
    refit: float


def affordable(head: HeadWeights, points: int) -> bool:
    """Whether the costs of a group take no more than a few seconds, and half a gigabyte."""
    parameters = head.outputs * head.width
    quick = points * parameters <= REFIT and points * parameters**2 <= FACTOR
    return quick and parameters <= WIDEST


def costs(
    head: HeadWeights, train: FeatureBatches, held_out: FeatureBatches, groups: Sequence[np.ndarray]
) -> Iterator[Cost]:
    """Of each group of training points.

    Args:
        head: as it is, or a start for its optimum.
        groups: ``(k,)`` positions in ``train`` each, at least one, and not all.

    Raises:
        InputError: the head has no optimum on ``train``, or no loss there.
    """
    features, targets = (torch.cat(part).cpu() for part in zip(*train, strict=True))
    whole = ArrayBatches(features, targets)
    best = refit_head(head, whole)
    inverse = HeadInverse(Influence(best.head, whole, dtype=torch.float64))
    risk = LinearHeadRisk(best.head, whole, dtype=torch.float64)
    unseen = risk.of(held_out)
    longest = float(features.double().square().sum(1).max().sqrt()) + 1.0
    before = _loss(unseen, risk.matrix)
    if not best.converged or min(before, _loss(risk, risk.matrix)) < _LEAST:
        raise InputError(
            "the last layer, fitted to an end, leaves no loss that could change: these features separate the"
            " classes, or fit the values exactly; pass l2 > 0"
        )
    for members in groups:
        left = torch.ones(len(targets), dtype=torch.bool)
        left[torch.from_numpy(members)] = False
        group = ArrayBatches(features[~left], targets[~left])
        rest = ArrayBatches(features[left], targets[left])
        step = _second_order(risk, inverse, group, longest)
        # The mean over the points left, with the ridge as strong against each of them as before.
        start = _moved(best.head, step)
        fitted = refit_head(replace(start, l2=best.head.l2 * len(targets) / len(rest)), rest)
        after = _loss(unseen, fitted.head.matrix) if fitted.converged else float("nan")
        yield Cost(_loss(unseen, risk.matrix + step) / before - 1.0, after / before - 1.0)


def _second_order(
    risk: LinearHeadRisk, inverse: HeadInverse, group: FeatureBatches, longest: float
) -> Tensor:
    """theta' + theta'' / 2 as a matrix like the head's, ``(C, D)``; ``longest``: norm of the features."""
    n, matrix = len(risk.data), risk.matrix
    own, ridge = risk.of(group), risk.head.penalty(0.0)

    def solved(right: Tensor) -> Tensor:
        return inverse.solve(right.reshape(-1, 1)).value.view_as(matrix)

    _, slope, _ = own.objective(matrix)
    first = solved(len(group) / n * (slope - ridge * matrix))
    size = float(first.norm()) * longest
    if size == 0.0:
        return first
    by = _STEP / size
    # By a central difference along theta' of the Hessian times it: the ridge cancels.
    third = (
        risk.hessian_product(matrix + by * first, first) - risk.hessian_product(matrix - by * first, first)
    ) / (2.0 * by)
    within = len(group) / n * (own.hessian_product(matrix, first) - ridge * first)
    return first + solved(within - 0.5 * third)


def _loss(risk: LinearHeadRisk, matrix: Tensor) -> float:
    """Mean, without the ridge."""
    penalty = risk.head.penalty(risk.damping)
    return risk.objective(matrix)[0] - 0.5 * float((penalty * matrix.square()).sum())


def _moved(head: HeadWeights, step: Tensor) -> HeadWeights:
    matrix, width = head.matrix + step, head.weight.shape[1]
    return replace(
        head,
        weight=matrix[:, :width].clone(),
        bias=None if head.bias is None else matrix[:, -1].clone(),
    )
