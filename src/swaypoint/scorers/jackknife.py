"""The infinitesimal jackknife: the model under other weights of its points, and what that says of its
uncertainty (Jaeckel, 1972; Giordano et al., 2019a, 2019b)."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scorers.base import Score, register
from swaypoint.scorers.reweighting import (
    as_seen,
    derivatives,
    differentiable_risk,
    logits_at,
    taylor_sum,
    unlabelled,
)
from swaypoint.scoring.trained_model import TrainedModel


def parameters_under(trained: TrainedModel, weights: Any, *, order: int = 1) -> np.ndarray:
    """theta(w) = argmin (1/n) sum_i w_i l_i + (l2 / 2) ||theta||^2 by its Taylor series at w = 1.

    Order 1 is theta - H^-1 (1/n) sum_i (w_i - 1) g_i (Giordano et al., 2019a, definition 1); each further one
    adds theta^(k) / k! (Giordano, Jordan & Broderick, 2019b); see :mod:`swaypoint.scorers.reweighting`.

    Args:
        weights: ``(n,)``; all ones is the model as it is, a zero leaves a point out, counts are a bootstrap.
        order: above 1 the exact Hessian is needed: the last layer, or ``curvature="hessian"``.

    Returns:
        ``(P,)`` float64, in the order of ``trained.dimension``.

    Raises:
        InputError: the weights are not n finite numbers, or ``order`` does not go with the curvature.
    """
    theta = differentiable_risk(trained).theta.double()
    step = taylor_sum(derivatives(trained, _weights(weights, trained.size), order))[0]
    return (theta + step.to(theta)).cpu().numpy()


def logits_under(trained: TrainedModel, weights: Any, inputs: Any, *, order: int = 1) -> np.ndarray:
    """Logits of ``inputs`` ``(m, ...)`` at :func:`parameters_under`: ``(m, C)`` float64.

    Raises:
        InputError: see :func:`parameters_under`; or the inputs do not fit the model.
    """
    theta = torch.from_numpy(parameters_under(trained, weights, order=order))
    return logits_at(trained, theta.unsqueeze(0), unlabelled(trained, inputs))[0].cpu().numpy()


def covariance(trained: TrainedModel) -> np.ndarray:
    """Sandwich covariance of theta, (1/n) H^-1 V H^-1 with V the covariance of the g_i: ``(P, P)`` float64.

    Source: Huber, 1967; White, 1980 (HC0); the infinitesimal jackknife's variance. V is taken about the mean
    gradient, which is zero without a ridge and -l2 theta with one: the mean does not vary between samples.

    Raises:
        InputError: the curvature is indefinite, or the solver did not converge.
    """
    rows = torch.cat(list(trained.gradients())).double()
    solved = trained.inverse.solve((rows - rows.mean(0)).T).value
    return (solved @ solved.T / trained.size**2).cpu().numpy()


def standard_errors(trained: TrainedModel, inputs: Any) -> np.ndarray:
    """Standard errors of the logits of ``inputs`` ``(m, ...)``, for new samples of n training points:
    the root of j^T :func:`covariance` j with j a logit's gradient (delta method). ``(m, C)`` float64.

    One solve per logit; the covariance is not formed.

    Raises:
        InputError: see :func:`covariance`; or the inputs do not fit the model.
    """
    return _errors(trained, as_seen(trained, unlabelled(trained, inputs))).cpu().numpy()


def prediction_intervals(trained: TrainedModel, inputs: Any, level: float = 0.95) -> np.ndarray:
    """Confidence intervals of the logits of ``inputs`` ``(m, ...)``: logit -+ z :func:`standard_errors`.

    They cover the logit of the model that endless data would give, not a new observation: for that see
    :func:`swaypoint.scorers.discriminative_jackknife.discriminative_jackknife`.

    Returns:
        ``(m, C, 2)`` float64, lower and upper ends.

    Raises:
        InputError: ``level`` is not between 0 and 1; see :func:`standard_errors`.
    """
    if not 0.0 < level < 1.0:
        raise InputError(f"level is {level}; expected a share between 0 and 1, such as 0.95")
    data = unlabelled(trained, inputs)
    theta = differentiable_risk(trained).theta
    centre = logits_at(trained, theta.unsqueeze(0), data)[0]
    width = NormalDist().inv_cdf(0.5 + level / 2) * _errors(trained, as_seen(trained, data)).to(centre)
    return torch.stack([centre - width, centre + width], 2).cpu().numpy()


def _errors(trained: TrainedModel, seen: Any) -> Tensor:
    risk, parts = differentiable_risk(trained), []
    for inputs, _ in risk.batches(seen):
        with risk.differentiable():
            rows = torch.func.jacrev(lambda theta, x=inputs: risk.logits(theta, x))(risk.theta)
        solved = trained.inverse.solve(rows.flatten(0, 1).T).value
        total = square = torch.zeros(solved.shape[1], dtype=torch.float64, device=solved.device)
        for gradients in trained.gradients():
            moves = (gradients.to(solved) @ solved).double()
            total, square = total + moves.sum(0), square + moves.square().sum(0)
        variance = square / trained.size - (total / trained.size).square()
        parts.append((variance.clamp_min(0.0) / trained.size).sqrt().view(rows.shape[:2]))
    return torch.cat(parts)


def _weights(weights: Any, n: int) -> Tensor:
    values = torch.as_tensor(weights).double()
    if tuple(values.shape) != (n,):
        raise InputError(f"weights have shape {tuple(values.shape)}; expected ({n},), one a training point")
    if not bool(torch.isfinite(values).all()):
        raise InputError(
            f"weight {int((~torch.isfinite(values)).nonzero()[0])} is NaN or infinite; repair it"
        )
    return values.unsqueeze(0)


def step_length(trained: TrainedModel) -> np.ndarray:
    """||H^-1 g_i|| / n, the length of the parameters' change when point i is left out, ``(n,)`` float64."""
    lengths = [trained.inverse.solve(rows.T).value.double().norm(dim=0) for rows in trained.gradients()]
    return (torch.cat(lengths) / trained.size).cpu().numpy()


register(
    Score(
        "infinitesimal_jackknife",
        "Giordano et al., AISTATS 2019",
        "length of the parameters' change when a point is left out, ||H^-1 g|| / n",
        score=step_length,
        pointwise=True,
    )
)
