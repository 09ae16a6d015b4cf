"""A loss: log cosh of the residual, Huber's without its corner."""

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.risks.losses import DiagonalMinusOuter, Loss, Terms


@dataclass(frozen=True)
class LogCosh(Loss):
    """l = log cosh(z - y), summed over the outputs: r = tanh(z - y), Lambda = cosh(z - y)^-2."""

    name = "toy"
    separable = True

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        if targets.numel() != len(targets) * outputs or not bool(targets.isfinite().all()):
            raise InputError(f"targets for toy: expected ({len(targets)}, {outputs}) finite numbers")
        return targets.double().reshape(len(targets), outputs)

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        error = logits - targets
        value = error + F.softplus(-2 * error) - math.log(2)
        return Terms(value.sum(1), error.tanh(), DiagonalMinusOuter(error.cosh() ** -2))
