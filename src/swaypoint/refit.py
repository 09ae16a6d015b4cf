"""The head's own optimum on frozen features: a convex problem, solved by Newton-CG.

Influence assumes a stationary point. A head trained by stochastic gradients is near one at best;
its features being frozen, the last layer's optimum is one convex problem away.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.risks.linear_head import HeadWeights, LinearHeadRisk
from swaypoint.solvers.conjugate_gradient import block_conjugate_gradient

TOLERANCE = 1e-9
"""Gradient norm at the optimum, relative to the root mean square of the points' residuals, in the
whitened coordinates, where the Hessian is near the identity."""


@dataclass(frozen=True)
class Refit:
    """The head at its optimum, and what it took.

    ``gradient`` is the final relative gradient norm (see ``TOLERANCE``).
    """

    head: HeadWeights
    steps: int
    gradient: float
    converged: bool

    @property
    def outcome(self) -> str:
        """One sentence, with the remedy where it did not converge."""
        if self.converged:
            return f"optimum reached in {self.steps} Newton steps (relative gradient {self.gradient:.1e})"
        return (
            f"no optimum after {self.steps} Newton steps (relative gradient {self.gradient:.1e}); the classes"
            " are probably separable by these features, where the loss has no minimum: pass l2 > 0"
        )


def refit_head(
    head: HeadWeights,
    data: FeatureBatches,
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = 100,
    device: torch.device | str = "cpu",
) -> Refit:
    """Minimise mean loss + ridge over the head's parameters, starting from ``head``, in float64.

    Raises:
        InputError: the data cannot be used.
    """
    risk = LinearHeadRisk(head, data, dtype=torch.float64, device=device)
    matrix = risk.matrix
    value, gradient, scale = risk.objective(matrix)
    steps, relative = 0, torch.inf
    while True:
        reduced = risk.reduce(gradient)
        relative = float(reduced.norm()) / max(scale, torch.finfo(torch.float64).tiny)
        if relative <= tolerance or steps == max_steps:
            break
        # Superlinear: solve as loosely as the gradient is far from zero (Dembo & Steihaug, 1983).
        solution = block_conjugate_gradient(
            partial(_hessian_product, risk, matrix),
            -reduced.unsqueeze(1),
            tolerance=max(1e-6, min(0.25, relative**0.5)),
            max_steps=min(200, reduced.numel()),
        )
        # Without positive curvature even along the gradient: a step down it.
        step = risk.expand(solution.value[:, 0] if solution.steps else -reduced)
        found = _backtrack(risk, matrix, step, value, float((gradient * step).sum()))
        if found is None:
            break
        matrix, value, gradient = found
        steps += 1
    weight = matrix[:, : head.weight.shape[1]].clone()
    bias = matrix[:, -1].clone() if head.bias is not None else None
    return Refit(replace(head, weight=weight, bias=bias), steps, relative, relative <= 1e3 * tolerance)


def _hessian_product(risk: LinearHeadRisk, matrix: Tensor, vector: Tensor) -> Tensor:
    return risk.reduce(risk.hessian_product(matrix, risk.expand(vector[:, 0]))).unsqueeze(1)


def _backtrack(
    risk: LinearHeadRisk, matrix: Tensor, step: Tensor, value: float, slope: float
) -> tuple[Tensor, float, Tensor] | None:
    """The first of 1, 1/2, 1/4, … of the step that satisfies Armijo's rule, up to rounding."""
    rounding = 1e-14 * max(1.0, abs(value))
    length = 1.0
    for _ in range(30):
        trial = matrix + length * step
        at, gradient, _ = risk.objective(trial)
        if at <= value + 1e-4 * length * slope + rounding:
            return trial, at, gradient
        length *= 0.5
    return None
