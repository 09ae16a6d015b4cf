"""Conjugate gradients with negative-curvature detection (Hestenes & Stiefel, 1952; Steihaug, 1983)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """``value`` solves A x = b up to the relative ``residual``; ``negative``: p^T A p <= 0 was met."""

    value: Tensor
    residual: float
    steps: int
    negative: bool


def conjugate_gradient(
    matmul: Callable[[Tensor], Tensor], b: Tensor, *, tolerance: float, max_steps: int
) -> Solution:
    """Solve A x = b for one vector ``b`` (P,), A symmetric, given as ``matmul``.

    Stops at ||b - A x|| <= tolerance ||b||, after ``max_steps``, or at a direction of non-positive
    curvature: then ``value`` is the last iterate before it (b itself if it is the first).
    """
    x, residual = torch.zeros_like(b), b.clone()
    direction, square = b.clone(), float(b @ b)
    target = tolerance * square**0.5
    for step in range(max_steps):
        if square**0.5 <= target:
            return Solution(x, _relative(square, b), step, negative=False)
        product = matmul(direction)
        curvature = float(direction @ product)
        if curvature <= 0.0:
            return Solution(x if step else b.clone(), _relative(square, b), step, negative=True)
        length = square / curvature
        x += length * direction
        residual -= length * product
        previous, square = square, float(residual @ residual)
        direction = residual + (square / previous) * direction
    return Solution(x, _relative(square, b), max_steps, negative=False)


def _relative(square: float, b: Tensor) -> float:
    return (square / max(float(b @ b), torch.finfo(b.dtype).tiny)) ** 0.5


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
    matmul: Callable[[Tensor], Tensor], right: Tensor, *, tolerance: float, max_steps: int
) -> BlockSolution:
    """Solve A X = B for the columns of ``right`` (P, k), which share each product ``matmul``.

    Every column has its own step lengths and rests once ||b - A x|| <= tolerance ||b||. The first
    direction without positive curvature in any column ends the solve (Steihaug, 1983).
    """
    solution, residual, direction = torch.zeros_like(right), right.clone(), right.clone()
    square = residual.square().sum(0)
    scale = square.clamp_min(torch.finfo(right.dtype).tiny)
    for step in range(max_steps + 1):
        relative = (square / scale).sqrt()
        active = relative > tolerance
        if not bool(active.any()) or step == max_steps:
            break
        product = matmul(direction[:, active])
        part = direction[:, active]
        curved = (part * product).sum(0)
        lowest = float((curved / part.square().sum(0)).min())
        if lowest <= 0.0:
            return BlockSolution(solution, relative, step, converged=False, curvature=lowest)
        length = square[active] / curved
        solution[:, active] += length * part
        residual[:, active] -= length * product
        previous, square = square, residual.square().sum(0)
        ratio = square[active] / previous[active]
        direction[:, active] = residual[:, active] + ratio * part
    return BlockSolution(solution, relative, step, converged=not bool(active.any()))
