"""What removing a group of training points does: first order, second order, and a Newton step.

Let the group U have the weights 1 - t in theta(t) = argmin (1/n) sum_i w_i l_i + (l2 / 2) ||theta||^2, so
that t = 1 removes it, and s, H_U be the sums of its gradients and Hessians. Implicit differentiation gives

    theta'      = (1/n) H^-1 s
    theta'' / 2 = (1/n) H^-1 H_U theta' - 1/2 H^-1 (grad^3 L)[theta', theta']

- **First order** (Koh, Ang, Teo & Liang, 2019): theta', the sum of the members' influences.
- **Second order**: theta' + theta'' / 2. The first term holds the pairwise interactions within the group,
  (1/n^2) sum_(i, j in U) H^-1 (grad^2 l_i) H^-1 g_j: the second term of the Neumann series of the Newton
  step. The second term holds how the curvature changes on the way, and is of the same order.
- **Newton**: (n H - H_U)^-1 s, the sum of that whole series without the change of curvature.

Basu, You & Feizi (2020) walk another path: as the group's weights go from 1 to 0 they raise those of the
others from 1 to 1 / (1 - p), p = |U| / n, so that the weights keep their sum. Without a ridge, likewise:

    theta'      = (1 / (1 - p)) (1/n) H^-1 s
    theta'' / 2 = (p / (1 - p)) (H^-1 H_U / |U| - I) theta' - 1/2 H^-1 (grad^3 L)[theta', theta']

They keep the gradient linear in the step, which leaves the last term out. The sum without it is their
formula, ((1 - 2p) / (1 - p)^2) (1/n) H^-1 s + (1 / ((1 - p) n)^2) H^-1 H_U H^-1 s. Both paths end at the same
minimiser, which a common factor on all losses does not move. With a ridge the ends differ: theirs is the
mean over the points left with the same l2, ours keeps the 1/n. Ours has the sum of the members' influences
as its first order. For theirs give 1 / (1 - p) and 0 as weights to
:func:`swaypoint.scorers.jackknife.parameters_under`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scorers.reweighting import (
    Order,
    check_order,
    derivatives,
    differentiable_risk,
    group_newton,
    losses_at,
    taylor_sum,
)
from swaypoint.scoring.trained_model import TrainedModel


def group_step(trained: TrainedModel, members: Any, *, order: Order = 1) -> np.ndarray:
    """Predicted theta(without the group) - theta, ``(P,)`` float64; see the module for the definitions.

    Args:
        members: indices of training points, or n booleans.
        order: of the Taylor series (Koh et al., 2019, for 1; Basu et al., 2020, for 2, here with the third
            derivative of the loss), or ``"newton"``. Orders above 1 take the exact Hessian: the last layer,
            or ``curvature="hessian"``.

    Raises:
        InputError: ``members`` or ``order`` is none of these; the group is all that determines a direction.
    """
    check_order(trained, order)
    chosen = _indices(members, trained.size)
    if order == "newton":
        return group_newton(trained, chosen).double().cpu().numpy()
    weights = torch.ones(1, trained.size, dtype=torch.float64)
    weights[0, torch.from_numpy(chosen)] = 0.0
    return taylor_sum(derivatives(trained, weights, int(order)))[0].cpu().numpy()


def group_influence(trained: TrainedModel, members: Any, test: Any, *, order: Order = 1) -> np.ndarray:
    """Predicted change of each test point's loss when the group is removed and the model retrained.

    Order 1 is linear, grad l(z')^T theta' = (1/n) sum_(i in U) I(z_i, z') (Koh et al., 2019), the others are
    l(z', theta + step) - l(z', theta).

    Args:
        members, order: see :func:`group_step`.
        test: data as for training.

    Returns:
        ``(n_test,)`` float64; positive: the loss rises, the group helps that point.

    Raises:
        InputError: see :func:`group_step`; or the test data cannot be used.
    """
    step = torch.from_numpy(group_step(trained, members, order=order))
    if order == 1:
        rows = torch.cat(list(trained.gradients(test))).double()
        return (rows @ step.to(rows)).cpu().numpy()
    theta = differentiable_risk(trained).theta.double()
    moved = losses_at(trained, theta + step.to(theta), test)
    return (moved - losses_at(trained, theta, test)).cpu().numpy()


def _indices(members: Any, n: int) -> np.ndarray:
    """Increasing indices without repeats."""
    values = members.cpu().numpy() if isinstance(members, Tensor) else np.asarray(members)
    if values.dtype == bool:
        if values.shape != (n,):
            raise InputError(f"members are booleans of shape {values.shape}; expected ({n},), one a point")
        values = values.nonzero()[0]
    if values.ndim != 1 or values.dtype.kind not in "iu":
        raise InputError(
            f"members are {values.dtype} of shape {values.shape}; expected a list of indices or {n} booleans"
        )
    chosen = np.unique(values.astype(np.int64))
    if len(chosen) == 0 or len(chosen) == n:
        raise InputError(
            f"the group has {len(chosen)} of {n} points; expected at least one, and one left over"
        )
    if chosen[0] < 0 or chosen[-1] >= n:
        wrong = chosen[0] if chosen[0] < 0 else chosen[-1]
        raise InputError(f"member {wrong} is not a training point; expected indices 0..{n - 1}")
    return chosen
