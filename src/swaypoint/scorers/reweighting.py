"""The minimiser of the training objective as a function of the points' weights.

theta(w) = argmin (1/n) sum_i w_i l_i(theta) + (l2 / 2) ||theta||^2, with theta(1) the trained model. The
mean keeps its n, also where weights are 0: the ridge stays as strong as it was against each point that
is left. Who retrains with the mean over the n - k points that are left and the same l2 has the weights
n / (n - k) on them.

**Derivatives** (Giordano, Jordan & Broderick, 2019b). On the path w(t) = 1 + t (w - 1) the gradient of the
objective is zero for all t. Let p(t) = sum_(j<k) theta^(j) t^j / j! be the path known so far; the k-th
derivative of 0 = gradient(theta(t), t) at t = 0 reads

    H theta^(k) + d^k/dt^k [(1/n) sum_i w_i(t) grad l_i(p(t))] = 0,

because theta^(k) enters only by the first derivative in theta, and p(t) holds all the rest. So each order
is one more solve with the same H, and a derivative in the single variable t, by nested ``torch.func.jvp``.
The ridge's gradient is linear, so that it (and damping, a ridge around the trained model) enters by H alone.

**Newton.** One Newton step from the trained model on the objective with a group's weights at zero:
(n H - H_U)^-1 s with s and H_U the sums of the group's gradients and curvatures; exact for quadratic losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from swaypoint.data.batches import as_tensor
from swaypoint.errors import InputError
from swaypoint.scoring.risks.model import ModelRisk, alone, over_points
from swaypoint.scoring.trained_model import TrainedModel

Order = int | Literal["newton"]
_MAX_STEPS = 500


def differentiable_risk(trained: TrainedModel) -> ModelRisk:
    """The mean loss with derivatives of every order, over the same parameters in the same order as
    ``trained``; it has no ridge for the last layer, whose ridge may spare the bias: see
    ``trained.inverse``."""
    if trained.params is not None:
        return trained.risk
    matrix = trained.head_risk.matrix
    layer = nn.utils.skip_init(nn.Linear, matrix.shape[1], matrix.shape[0], bias=False, dtype=torch.float64)
    layer.weight = nn.Parameter(matrix.clone())
    return ModelRisk(layer, as_seen(trained, None), loss=trained.head.weights.loss)


def as_seen(trained: TrainedModel, data: Any) -> Any:
    """``data`` (None: the training data) as :func:`differentiable_risk` takes them: for the last layer
    its inputs with the constant 1, and the targets."""
    if trained.params is not None:
        return trained.data if data is None else data
    chunks = list(trained.points(data))
    return torch.cat([chunk.features.T for chunk in chunks]), torch.cat([chunk.targets for chunk in chunks])


def unlabelled(trained: TrainedModel, inputs: Any) -> tuple[Tensor, Tensor]:
    """``inputs`` ``(m, ...)`` as data, with the target of the first training point for all: predictions
    ask for no targets, data do.

    Raises:
        InputError: the inputs are not an array of numbers.
    """
    if trained.params is None:
        target = next(trained.points()).targets[:1]
    else:
        target = next(iter(trained.risk.batches()))[1][:1]
    values = as_tensor(inputs, "inputs")
    return values, target.expand(len(values), *target.shape[1:])


def check_order(trained: TrainedModel, order: Order) -> None:
    """Raises:
    InputError: ``order`` is neither a positive whole number nor "newton", or is one that the curvature
        of ``trained`` has no meaning for.
    """
    if order == "newton":
        return
    if isinstance(order, bool) or not isinstance(order, int) or order < 1:
        raise InputError(f"order is {order!r}; expected 1, 2, ... or 'newton'")
    if order > 1 and trained.curvature != "hessian":
        raise InputError(
            f"order={order} are derivatives of the minimiser, which curvature={trained.curvature!r} only"
            " stands in for; pass curvature='hessian' on a converged model, or order='newton'"
        )


def derivatives(trained: TrainedModel, weights: Tensor, order: int) -> Tensor:
    """theta^(1) .. theta^(order) along 1 + t (w - 1) for each row of ``weights`` ``(k, n)``:
    ``(order, k, P)`` float64. Each order above the first takes k passes over the data.

    Raises:
        InputError: the number of weights is not n; ``order`` is not a positive whole number, or above 1
            without the exact Hessian.
    """
    check_order(trained, order)
    if weights.ndim != 2 or weights.shape[1] != trained.size:
        raise InputError(f"weights have shape {tuple(weights.shape)}; expected (k, {trained.size})")
    changes, slope, done = weights - 1.0, torch.zeros(()), 0
    for rows in trained.gradients():
        slope = slope + changes[:, done : done + len(rows)].to(rows) @ rows
        done += len(rows)
    found = [_solve(trained, -slope / trained.size)]
    if order > 1:
        risk = differentiable_risk(trained)
        for _ in range(1, order):
            slope = _slope(risk, torch.stack(found, 1), changes.to(risk.theta))
            found.append(_solve(trained, -slope / trained.size))
    return torch.stack(found).double()


def _solve(trained: TrainedModel, rows: Tensor) -> Tensor:
    return trained.inverse.solve(rows.T).value.T


def _slope(risk: ModelRisk, found: Tensor, changes: Tensor) -> Tensor:
    """d^k/dt^k of sum_i w_i(t) grad l_i(p(t)) at 0, k - 1 derivatives being known: ``(b, k - 1, P),
    (b, n) -> (b, P)``."""
    total, done = torch.zeros_like(found[:, 0]), 0
    for inputs, targets in risk.batches():

        def derivative(
            known: Tensor, change: Tensor, inputs: Any = inputs, targets: Tensor = targets
        ) -> Tensor:
            def slope(t: Tensor) -> Tensor:
                weight, path = 1.0 + t * change, torch.zeros_like(risk.theta)
                for j in range(len(known), 0, -1):  # Horner: t (a_1 + t/2 (a_2 + t/3 (a_3 + ...)))
                    path = (known[j - 1] + path) * (t / j)
                return torch.func.grad(lambda theta: (weight * risk.losses(theta, inputs, targets)).sum())(
                    risk.theta + path
                )

            return _nth_derivative(slope, len(known) + 1)(torch.zeros_like(risk.theta[0]))

        with risk.differentiable():
            part = changes[:, done : done + len(targets)]
            total += torch.func.vmap(derivative, chunk_size=risk.vectors)(found, part)
        done += len(targets)
    return total


def _nth_derivative(function: Callable[[Tensor], Tensor], order: int) -> Callable[[Tensor], Tensor]:
    if order == 0:
        return function
    inner = _nth_derivative(function, order - 1)
    return lambda t: torch.func.jvp(inner, (t,), (torch.ones_like(t),))[1]


def group_newton(trained: TrainedModel, members: np.ndarray) -> Tensor:
    """(n H - H_U)^-1 s of the points ``members`` (indices, increasing): ``(P,)``.

    Raises:
        InputError: without them the objective has no minimum near.
    """
    risk = differentiable_risk(trained)
    group = list(_rows(risk, members))
    curvature = risk.curvature(trained.curvature)

    def product(vectors: Tensor) -> Tensor:
        with risk.differentiable():
            return torch.stack([curvature.on_batch(*batch, vectors) for batch in group]).sum(0)

    with risk.differentiable():
        slope = torch.stack([risk.gradient_rows(*batch).sum(0) for batch in group]).sum(0)
    return _newton(trained, product, slope.unsqueeze(1))[:, 0]


def leave_one_out(trained: TrainedModel, order: Order) -> Iterator[tuple[Any, Tensor, Tensor]]:
    """The training points batch by batch, (inputs, targets), with theta_-i - theta, ``(b, P)`` float64.

    ``order`` 1 and ``"newton"`` take one pass over the data, a higher order a pass per point.

    Raises:
        InputError: see :func:`check_order`; or without a point there is no minimum near.
    """
    check_order(trained, order)
    risk, done = differentiable_risk(trained), 0
    for inputs, targets in risk.batches():
        if order == "newton":
            steps = _newton_of_each(trained, risk, inputs, targets)
        elif order == 1:
            with risk.differentiable():
                rows = risk.gradient_rows(inputs, targets)
            steps = _solve(trained, rows) / trained.size
        else:
            weights = torch.ones(len(targets), trained.size, dtype=torch.float64)
            weights[torch.arange(len(targets)), done + torch.arange(len(targets))] = 0.0
            steps = taylor_sum(derivatives(trained, weights, order))
        done += len(targets)
        yield inputs, targets, steps.double()


def taylor_sum(found: Tensor) -> Tensor:
    """sum_k theta^(k) / k!, the series at t = 1: ``(order, ...) -> (...)``."""
    total = torch.zeros_like(found[0])
    for k in range(len(found), 0, -1):
        total = (total + found[k - 1]) / k
    return total


def _newton_of_each(trained: TrainedModel, risk: ModelRisk, inputs: Any, targets: Tensor) -> Tensor:
    curvature = risk.curvature(trained.curvature)

    def own(inputs: Any, target: Tensor, vector: Tensor) -> Tensor:
        return curvature.on_batch(alone(inputs), alone(target), vector.unsqueeze(1))[:, 0]

    def product(vectors: Tensor) -> Tensor:
        with risk.differentiable():
            return over_points(own, inputs, targets, vectors.T).T

    with risk.differentiable():
        slopes = risk.gradient_rows(inputs, targets)
    return _newton(trained, product, slopes.T).T


def _newton(trained: TrainedModel, group: Callable[[Tensor], Tensor], slopes: Tensor) -> Tensor:
    """X with (n H - H_U) X = S, ``(P, k)``; ``group`` multiplies with H_U (one per column, or one for all).

    Conjugate gradients on I - H_U H^-1 / n in the inner product of H^-1, in which it is symmetric: H
    itself is never asked for, and the steps are no more than the rank of H_U plus one.
    """
    n, inverse = trained.size, trained.inverse
    residual = slopes / n
    target = 100 * torch.finfo(slopes.dtype).eps * residual.norm(dim=0)
    solved, total = inverse.solve(residual).value, torch.zeros_like(residual)
    before, step = residual, solved  # step = H^-1 before
    square = (residual * solved).sum(0)
    for _ in range(_MAX_STEPS):
        active = residual.norm(dim=0) > target
        if not bool(active.any()):
            return total
        product = before - group(step) / n
        whole, left = (step * before).sum(0), (step * product).sum(0)
        if bool((active & (left <= 1e-10 * whole)).any()):
            raise InputError(
                "without these points the curvature is not positive along a direction that they alone held:"
                " there is no minimum near. Remedies: a ridge (l2) or damping, curvature='ggn' for a network,"
                " fewer points, or order=1"
            )
        length = torch.where(active, square / left, 0.0)
        total, residual = total + length * step, residual - length * product
        solved = inverse.solve(residual).value
        previous, square = square, (residual * solved).sum(0)
        ratio = torch.where(active, square / previous, 0.0)
        before, step = residual + ratio * before, solved + ratio * step
    raise InputError(
        f"the Newton step did not converge in {_MAX_STEPS} steps of conjugate gradients; add damping, use a"
        " more accurate solver, or order=1"
    )


def _rows(risk: ModelRisk, members: np.ndarray) -> Iterator[tuple[Any, Tensor]]:
    done = 0
    for inputs, targets in risk.batches():
        here = members[(members >= done) & (members < done + len(targets))] - done
        if len(here):
            index = torch.from_numpy(here).to(targets.device)
            yield tree_map(lambda x, index=index: x[index], inputs), targets[index]
        done += len(targets)


def losses_at(trained: TrainedModel, theta: Tensor, data: Any) -> Tensor:
    """Losses of ``data`` at parameters ``theta`` ``(P,)``: ``(m,)`` float64."""
    risk = differentiable_risk(trained)
    parts = []
    for inputs, targets in risk.batches(as_seen(trained, data)):
        with risk.differentiable():
            parts.append(risk.losses(theta.to(risk.theta), inputs, targets))
    return torch.cat(parts).double()


def logits_at(trained: TrainedModel, theta: Tensor, data: Any) -> Tensor:
    """Logits of ``data`` at each of the parameters ``theta`` ``(k, P)``: ``(k, m, C)`` float64."""
    risk = differentiable_risk(trained)
    parts = []
    for inputs, _ in risk.batches(as_seen(trained, data)):
        with risk.differentiable():
            parts.append(torch.func.vmap(risk.logits, (0, None))(theta.to(risk.theta), inputs))
    return torch.cat(parts, 1).double()


def own_logits(risk: ModelRisk, theta: Tensor, inputs: Any) -> Tensor:
    """Logits of each of b points at parameters of its own ``(b, P)``: ``(b, C)`` float64."""

    def one(theta: Tensor, inputs: Any) -> Tensor:
        return risk.logits(theta, alone(inputs))[0]

    with risk.differentiable():
        return over_points(one, theta.to(risk.theta), inputs).double()
