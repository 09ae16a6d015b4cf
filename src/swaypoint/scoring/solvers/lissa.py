"""LiSSA: the inverse as a Neumann series over random batches (Agarwal et al., 2017; Koh & Liang, 2017)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.operators.base import Operator
from swaypoint.scoring.solvers.base import Inverse, Solution, largest_eigenvalue

Product = Callable[[Tensor], Tensor]


class LissaInverse(Inverse):
    """v_(j+1) = v + v_j - H_batch v_j / scale, the answer v_J / scale, averaged over repeats.

    Args:
        operator: the whole curvature, for the scale and for the residual that is reported.
        batches: starts endless products with the curvature of one random batch each, the same in every
            solve.
        depth: J. Directions of curvature below scale / J are not reached.
    """

    def __init__(
        self,
        operator: Operator,
        batches: Callable[[], Iterator[Product]],
        *,
        depth: int = 2000,
        repeats: int = 1,
    ) -> None:
        self._operator, self._batches, self._depth, self._repeats = operator, batches, depth, repeats
        # Batches vary: the largest curvature of one can be well above that of the whole.
        like = torch.empty(operator.dimension, 1, dtype=operator.dtype, device=operator.device)
        self._scale = 3.0 * largest_eigenvalue(operator.matmul, like)

    def solve(self, vectors: Tensor) -> Solution:
        products = self._batches()
        right = vectors.to(self._operator.dtype)
        total = torch.zeros_like(right)
        for _ in range(self._repeats):
            value = right.clone()
            for _ in range(self._depth):
                value = right + value - next(products)(value) / self._scale
            total += value
        solution = total / (self._scale * self._repeats)
        if not bool(torch.isfinite(solution).all()) or float(solution.norm()) > 1e6 * float(right.norm()):
            raise InputError(
                "LiSSA diverged: a batch has negative curvature, or more than its scale. Remedies: more"
                " damping, larger batches, curvature='ggn', or solver='cg'"
            )
        apart = (right - self._operator @ solution).norm(dim=0) / right.norm(dim=0).clamp_min(1e-30)
        residual = float(apart.max())
        outcome = (
            f"approximate: LiSSA of depth {self._depth}, scale {self._scale:.2g}, relative residual"
            f" {residual:.1e}"
        )
        return Solution(solution.to(vectors), outcome, residual=residual)
