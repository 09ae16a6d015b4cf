"""The inverse of a Kronecker-factored curvature: division by its eigenvalues (Martens & Grosse, 2015;
George et al., 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.operators.kronecker import Kronecker
from swaypoint.solvers.base import Inverse

_FLOOR = 1e-6
"""Share of a block's mean eigenvalue below which there is nothing to divide by."""


class KroneckerInverse(Inverse):
    def __init__(self, curvature: Kronecker, outcome: str) -> None:
        self._curvature, self.outcome = curvature, outcome
        self._inverses = [_inverted(block.values, curvature.ridge) for block in curvature.blocks]
        self._rest = _inverted(curvature.diagonal, curvature.ridge)

    def solve(self, vectors: Tensor) -> Tensor:
        rows, result = vectors.T, torch.zeros_like(vectors.T)
        for block, inverse in zip(self._curvature.blocks, self._inverses, strict=True):
            result[:, block.index.flatten()] = block.rotate_back(block.rotate(rows) * inverse)
        rest = self._curvature.rest
        result[:, rest] = rows[:, rest] * self._rest
        return result.T

    def quadratic(self, rows: Tensor) -> Tensor:
        total = (rows[:, self._curvature.rest].double().square() * self._rest.double()).sum(1)
        for block, inverse in zip(self._curvature.blocks, self._inverses, strict=True):
            total += (block.rotate(rows).square() * inverse).sum((1, 2), dtype=torch.float64)
        return total


def _inverted(values: Tensor, ridge: float) -> Tensor:
    if values.numel() == 0:
        return values
    damped = values + ridge
    floor = _FLOOR * damped.mean()
    return torch.where(damped > floor, 1.0 / damped.clamp_min(torch.finfo(values.dtype).tiny), 0.0)
