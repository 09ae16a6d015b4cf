"""Conjugate gradients with negative-curvature detection (Hestenes & Stiefel, 1952; Steihaug, 1983)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.operators.base import Operator
from swaypoint.scoring.solvers.base import Inverse, Solution

_TRUE_RESIDUAL, _TRUE_TOLERANCES = 1e-2, 100.0
"""Of what the steps took for solved, this or so many tolerances: more says that rounding or the
preconditioner misled them."""


@dataclass(frozen=True)
class BlockSolution:
    """Solutions of A X = B, column by column, and how far to trust them.

    ``value`` (P, k); ``residuals`` (k,) relative; ``curvature``: p^T A p / p^T p of a direction in
    which it was not positive, None if there was none.
    """

    value: Tensor
    residuals: Tensor
    steps: int
    converged: bool
    curvature: float | None = None

    @property
    def outcome(self) -> str:
        """One sentence, with the remedies where there is no solution."""
        if self.curvature is not None:
            return (
                f"indefinite: a direction of curvature {self.curvature:.3g} was met at step {self.steps}; the"
                f" model is not at a minimum. Remedies: damping above {-self.curvature:.2g}, curvature='ggn',"
                " training to convergence, or the last layer alone (params=None) with refit=True"
            )
        worst = float(self.residuals.max())
        if not self.converged:
            return (
                f"not converged: relative residual {worst:.1e} after {self.steps} steps. Remedies: more"
                " damping, or a looser tolerance"
            )
        return f"converged to a relative residual of {worst:.1e} in {self.steps} steps"


def block_conjugate_gradient(
    matmul: Callable[[Tensor], Tensor],
    right: Tensor,
    *,
    tolerance: float,
    max_steps: int,
    precondition: Callable[[Tensor], Tensor] | None = None,
) -> BlockSolution:
    """Solve A X = B for the columns of ``right``, which share each product ``matmul``.

    Columns run along dimension 1: ``(P, k)``, or ``(C, k, D)`` for a head. Every column has its own
    step lengths and rests once its residual is at most ``tolerance`` of the first; with a preconditioner
    M both are measured as sqrt(r^T M r), which comes closer to the energy of the error. The first
    direction without positive curvature in any column ends the solve (Steihaug, 1983).
    """
    rest = [d for d in range(right.ndim) if d != 1]
    columns = (1, -1) + (1,) * (right.ndim - 2)

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum(rest)

    def conditioned(x: Tensor) -> Tensor:
        return x if precondition is None else precondition(x)

    solution, residual, direction = torch.zeros_like(right), right.clone(), conditioned(right).clone()
    square = dot(residual, direction)
    scale = square.clamp_min(torch.finfo(right.dtype).tiny)
    active: slice | Tensor
    relative, step = torch.ones_like(square), 0
    for step in range(max_steps + 1):
        relative = (square.clamp_min(0.0) / scale).sqrt()
        going = ~(relative <= tolerance)  # NaN goes on, and ends as not converged
        if not bool(going.any()) or step == max_steps:
            break
        active = slice(None) if bool(going.all()) else going
        part = direction[:, active]
        product = matmul(part)
        curved, length_squared = dot(part, product), dot(part, part)
        lowest = float((curved / length_squared).min())
        if lowest <= 0.0:
            return BlockSolution(solution, relative, step, converged=False, curvature=lowest)
        length = (square[active] / curved).view(columns)
        solution[:, active] += length * part
        residual[:, active] -= length * product
        previous = square[active].clone()
        next_part = conditioned(residual[:, active])
        square[active] = dot(residual[:, active], next_part)
        direction[:, active] = next_part + (square[active] / previous).view(columns) * part
    return BlockSolution(solution, relative, step, converged=bool((relative <= tolerance).all()))


class IterativeInverse(Inverse):
    """Block conjugate gradients at every use.

    Args:
        precondition: a rough inverse of the same curvature.
    """

    def __init__(
        self,
        operator: Operator,
        *,
        tolerance: float = 1e-6,
        max_steps: int = 1000,
        precondition: Inverse | None = None,
    ) -> None:
        self._operator, self._tolerance, self._max_steps = operator, tolerance, max_steps
        self._rough = precondition

    def _precondition(self, vectors: Tensor) -> Tensor:
        return vectors if self._rough is None else self._rough.solve(vectors).value

    def solve(self, vectors: Tensor) -> Solution:
        right = vectors.to(self._operator.dtype)
        solution = block_conjugate_gradient(
            self._operator.matmul,
            right,
            tolerance=self._tolerance,
            max_steps=self._max_steps,
            precondition=self._precondition,
        )
        if not solution.converged:
            raise InputError(solution.outcome)
        size = right.norm(dim=0).clamp_min(torch.finfo(right.dtype).tiny)
        apart = (right - self._operator @ solution.value).norm(dim=0) / size
        residual = float(apart.max())
        if residual > max(_TRUE_RESIDUAL, _TRUE_TOLERANCES * self._tolerance):
            raise InputError(replace(solution, residuals=apart, converged=False).outcome)
        outcome = f"conjugate gradients: relative residual {residual:.1e} after {solution.steps} steps"
        return Solution(solution.value.to(vectors), outcome, error=0.0, residual=residual)
