"""The inverse of a Kronecker-factored curvature: division by its eigenvalues (Martens & Grosse, 2015;
George et al., 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.scoring.operators.kronecker import Kronecker, KroneckerBlock
from swaypoint.scoring.solvers.base import Inverse, Solution

_FLOOR = 1e-6
"""Smaller eigenvalues than this share of the block's mean count as this: they are rounding, and so is what
a gradient has along them."""


class KroneckerInverse(Inverse):
    def __init__(self, curvature: Kronecker, outcome: str) -> None:
        self._curvature, self._outcome = curvature, outcome
        self._inverses = [_inverted(b.values + _rotated(b, curvature.ridge)) for b in curvature.blocks]
        self._rest = _inverted(curvature.diagonal + curvature.ridge[curvature.rest])

    def solve(self, vectors: Tensor) -> Solution:
        rows = vectors.T.to(self._curvature.ridge)
        result = torch.zeros_like(rows)
        for block, inverse in zip(self._curvature.blocks, self._inverses, strict=True):
            result[:, block.index.flatten()] = block.rotate_back(block.rotate(rows) * inverse)
        rest = self._curvature.rest
        result[:, rest] = rows[:, rest] * self._rest
        return Solution(result.T.to(vectors), self._outcome)

    def quadratic(self, rows: Tensor) -> Solution:
        rows = rows.to(self._curvature.ridge)
        total = (rows[:, self._curvature.rest].double().square() * self._rest.double()).sum(1)
        for block, inverse in zip(self._curvature.blocks, self._inverses, strict=True):
            total += (block.rotate(rows).square() * inverse).sum((1, 2), dtype=torch.float64)
        return Solution(total, self._outcome)


def _rotated(block: KroneckerBlock, ridge: Tensor) -> Tensor:
    """The ridge's diagonal in the block's eigenbasis, exact where the block has one ridge: ``(out, in)``."""
    return block.outputs.square().T @ ridge[block.index] @ block.inputs.square()


def _inverted(damped: Tensor) -> Tensor:
    if damped.numel() == 0:
        return damped
    floor = max(_FLOOR * float(damped.mean()), torch.finfo(damped.dtype).tiny)
    return 1.0 / damped.clamp_min(floor)
