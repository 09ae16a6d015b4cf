"""Prediction intervals with coverage, from leave-one-out parameters by influence (Alaa & van der Schaar,
2020), in the jackknife+ of Barber, Candes, Ramdas & Tibshirani (2021)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scorers.reweighting import (
    Order,
    differentiable_risk,
    leave_one_out,
    logits_at,
    own_logits,
    unlabelled,
)
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.trained_model import TrainedModel

_REGRESSIONS = ("squared_error", "huber")


def discriminative_jackknife(
    trained: TrainedModel, test_inputs: Any, alpha: float = 0.1, *, order: Order = "newton"
) -> np.ndarray:
    """Intervals for new observations at ``test_inputs`` ``(m, ...)``, of a regression with one output.

    With f₋ᵢ the model without point i and Rᵢ = ``|yᵢ - f₋ᵢ(xᵢ)|``: from the k-th smallest of f₋ᵢ(x) - Rᵢ to
    the k-th largest of f₋ᵢ(x) + Rᵢ over i, k = floor(alpha (n + 1)) (Barber et al., 2021, Eq. 1.2). With
    exact f₋ᵢ and exchangeable points they cover at least 1 - 2 alpha (theorem 1), in practice about
    1 - alpha. Here the parameters of f₋ᵢ are predicted, not retrained; f₋ᵢ is the model itself at these
    parameters.

    Time and memory grow with n m: n predictions at every test point.

    Args:
        alpha: the share of observations that may fall outside; below 1 / (n + 1) intervals are infinite.
        order: ``"newton"``, exact for a linear model with squared error; 1, influence functions, as in the
            paper; 2 and more with a pass over the data per training point, and the exact Hessian.

    Returns:
        ``(m, 2)`` float64, lower and upper ends.

    Raises:
        InputError: the loss is not a regression's, the model has several outputs, ``alpha`` is not between 0
            and 1, or the leave-one-out parameters cannot be had (see :func:`leave_one_out`).
    """
    loss = as_loss(trained.loss).name
    if loss not in _REGRESSIONS:
        raise InputError(
            f"intervals need a regression, loss one of {', '.join(_REGRESSIONS)}; this one is {loss}"
        )
    if not 0.0 < alpha < 1.0:
        raise InputError(f"alpha is {alpha}; expected a share between 0 and 1, such as 0.1")
    outputs = next(iter(differentiable_risk(trained).batches()))[1].shape[1]
    if outputs != 1:
        raise InputError(f"the model has {outputs} outputs; expected one, intervals are of one quantity")
    centres, residuals = _left_out(trained, test_inputs, order)
    rank = math.floor(alpha * (trained.size + 1) * (1 + 1e-12))  # 0.29 * 100 is 28.999...
    if rank == 0:
        return np.tile([-np.inf, np.inf], (centres.shape[1], 1))
    lower = (centres - residuals).kthvalue(rank, 0).values
    upper = (centres + residuals).kthvalue(trained.size + 1 - rank, 0).values
    return torch.stack([lower, upper], 1).cpu().numpy()


def _left_out(trained: TrainedModel, test_inputs: Any, order: Order) -> tuple[Tensor, Tensor]:
    """f_-i(x) of the test points ``(n, m)`` and |y_i - f_-i(x_i)| ``(n, 1)``, float64."""
    risk = differentiable_risk(trained)
    test = unlabelled(trained, test_inputs)
    centres, residuals = [], []
    for inputs, targets, steps in leave_one_out(trained, order):
        theta = risk.theta.double() + steps
        centres.append(logits_at(trained, theta, test)[:, :, 0])
        residuals.append((targets.double() - own_logits(risk, theta, inputs)).abs())
    return torch.cat(centres), torch.cat(residuals)
