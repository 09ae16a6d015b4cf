"""TracIn: influence along the training, without a Hessian (Pruthi, Liu, Kale & Sundararajan, NeurIPS
2020); and its simplest relative, the gradient norm.

A step of gradient descent on z changes the loss of z' by -rate g(z)^T g(z'); summed over checkpoints
that stand for the steps, this is how much training on z has lowered the loss of z'.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.scorers.base import Score, register
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.trained_model import TrainedModel


def tracin_self(trained: TrainedModel) -> np.ndarray:
    """sum_t rate_t ||g_t(z)||^2: how much each point had to lower its own loss; large: look at it first.

    Pruthi et al., 2020, Eq. 1 (TracInCP) with z' = z. Over ``trained.checkpoints``; without any, over
    the model as it is, at rate 1. For the last layer ||r||^2 ||phi||^2, never forming a gradient.

    Returns:
        ``(n,)`` float64.
    """
    parts = [rate * _squared_norms(moment) for rate, moment in trained.moments()]
    return torch.stack(parts).sum(0).cpu().numpy()


def tracin(trained: TrainedModel, test: Any) -> np.ndarray:
    """sum_t rate_t g_t(z')^T g_t(z) (Pruthi et al., 2020, Eq. 1); positive: training on z has lowered
    the loss of z' (a proponent).

    Checkpoints as for :func:`tracin_self`. The gradients of the test points are held, those of the
    training points pass batch by batch; for the last layer (r . r') (phi . phi') needs neither.

    Args:
        test: points to explain, in the form of the training data.

    Returns:
        ``(n_test, n)`` float64.
    """
    parts = [rate * _products(moment, test) for rate, moment in trained.moments()]
    return torch.stack(parts).sum(0).cpu().numpy()


def gradient_norm(trained: TrainedModel) -> np.ndarray:
    """||g(z)|| of the model as it is, ``(n,)`` float64; large: look at it first."""
    return _squared_norms(trained).sqrt().cpu().numpy()


def _squared_norms(trained: TrainedModel) -> Tensor:
    """||g||^2 of every training point, ``(n,)`` float64."""
    if trained.params is not None:
        return torch.cat([rows.double().square().sum(1) for rows in trained.gradients()])
    return trained.of_points(Chunk.squared_gradients)


def _products(trained: TrainedModel, test: Any) -> Tensor:
    """g(z')^T g(z), ``(n_test, n)`` float64."""
    if trained.params is not None:
        queries = torch.cat(list(trained.gradients(test)))
        return torch.cat([(queries @ rows.T).double() for rows in trained.gradients()], 1)
    chunks = list(trained.points(test))
    residuals = torch.cat([chunk.terms.residual for chunk in chunks])
    features = torch.cat([chunk.features for chunk in chunks], 1)
    return torch.cat(
        [(residuals @ chunk.terms.residual.T) * (features.T @ chunk.features) for chunk in trained.points()],
        1,
    )


register(
    Score(
        "tracin",
        "Pruthi, Liu, Kale & Sundararajan, NeurIPS 2020, Eq. 1",
        "gradient products summed over checkpoints",
        score=tracin_self,
        on=tracin,
    )
)
register(
    Score(
        "gradient_norm",
        "Pruthi, Liu, Kale & Sundararajan, NeurIPS 2020, at one checkpoint",
        "norm of a point's gradient",
        score=gradient_norm,
        pointwise=True,
    )
)
