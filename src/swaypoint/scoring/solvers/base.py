"""What a solver makes of a curvature: an inverse, prepared once and applied to many vectors, whose every
answer says how far to trust it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """What one solve gave, and how it went.

    Attributes:
        value: K V, ``(P, k)`` in the dtype of V, or the forms g^T K g, ``(b,)`` float64.
        outcome: one sentence on how it was found and how far to trust it.
        error: its relative standard error where the method knows one (0 where it is exact but for
            rounding), None where it does not.
        residual: the largest ||v - H x|| / ||v|| of its columns where that was measured, else None.
    """

    value: Tensor
    outcome: str
    error: float | None = None
    residual: float | None = None


class Inverse(ABC):
    """K ~ H^-1 on R^P. No use changes it: what there is to say of a solve is in the :class:`Solution`."""

    @abstractmethod
    def solve(self, vectors: Tensor) -> Solution:
        """K V: ``(P, k) -> (P, k)``, in the dtype of ``vectors``.

        Raises:
            InputError: the solve found negative curvature, or did not converge.
        """

    def quadratic(self, rows: Tensor) -> Solution:
        """g^T K g of each row: ``(b, P) -> (b,)`` float64."""
        solution = self.solve(rows.T)
        return replace(solution, value=(rows.double() * solution.value.T.double()).sum(1))


def largest_eigenvalue(product: Callable[[Tensor], Tensor], like: Tensor, *, steps: int = 20) -> float:
    """Of a symmetric ``product`` of columns such as ``like`` ``(P, 1)``, by the power method, from below."""
    start = torch.randn(len(like), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector, value = start.to(like), 0.0
    for _ in range(steps):
        vector = product(vector / vector.norm())
        value = float(vector.norm())
    return value
