"""Weights of points: (1/n) sum_i w_i l_i in place of the mean, as a loss whose targets carry w.

Gradient and curvature of a point are w_i times those of its loss, and to leave it out is to leave all of it
out: a weight of two is the point twice, both copies removed. The sum is divided by n, not by the sum of the
weights; Cook's distances scale by that one constant.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches, WeightedBatches
from swaypoint.errors import InputError
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import Custom, Loss, Terms


@dataclass(frozen=True)
class Weighted(Loss):
    """``base`` times the weight of the point, which is the last column of its targets.

    Raises:
        InputError: ``base`` is a callable, which knows its targets only as they are.
    """

    base: Loss

    def __post_init__(self) -> None:
        if isinstance(self.base, Custom):
            raise InputError("sample_weight goes with a named loss; put the weight into your own")
        for name in ("name", "shift_invariant", "separable", "convex", "classifies", "output_per_class"):
            object.__setattr__(self, name, getattr(self.base, name))

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        own = targets[:, 0] if targets.shape[1] == 2 else targets[:, :-1]
        checked = self.base.check(own, outputs, offset).double()
        return torch.cat([checked.view(len(targets), -1), targets[:, -1:].double()], 1)

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        weights = targets[:, -1].to(logits)
        value, residual, curvature, probabilities, _ = self.base.terms(logits, self._own(targets))
        return Terms(
            weights * value,
            weights.unsqueeze(1) * residual,
            curvature.scaled(weights),
            probabilities,
            weights,
        )

    def mean(self, logits: Tensor) -> Tensor:
        return self.base.mean(logits)

    def labels(self, targets: Tensor) -> Tensor | None:
        return self.base.labels(self._own(targets))

    def relabelled(self, targets: Tensor, label: int) -> Tensor:
        return torch.cat([torch.full_like(targets[:, :-1], label), targets[:, -1:]], 1)

    def outputs(self, classes: int) -> int:
        return self.base.outputs(classes)

    def _own(self, targets: Tensor) -> Tensor:
        """The checked targets of ``base``."""
        if self.output_per_class and targets.shape[1] == 2:
            return targets[:, 0].long()
        return targets[:, :-1]


def weighted(
    head: HeadWeights, data: FeatureBatches, sample_weight: Any
) -> tuple[HeadWeights, FeatureBatches]:
    """The head and the points with the weights ``(n,)``; None: as they are.

    Raises:
        InputError: the weights are not n finite numbers from 0 on, all are 0, or the loss is a callable.
    """
    if sample_weight is None:
        return head, data
    weights = sample_weights(sample_weight, len(data))
    return replace(head, loss=Weighted(head.loss)), WeightedBatches(data, torch.from_numpy(weights))


def sample_weights(values: Any, points: int) -> np.ndarray:
    """``values`` as ``(n,)`` float64.

    Raises:
        InputError: as :func:`weighted`.
    """
    try:
        weights = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("sample_weight is not numeric; expected a number a point") from error
    if weights.shape != (points,):
        raise InputError(f"sample_weight has shape {weights.shape}; expected ({points},), one a point")
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"sample_weight of row {row} is {weights[row]:g}; expected a finite number from 0 on"
        )
    if not weights.any():
        raise InputError("every sample_weight is 0; nothing is left to rank")
    return weights
