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
