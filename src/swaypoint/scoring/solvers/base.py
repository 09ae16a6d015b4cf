"""What a solver makes of a curvature: an inverse, prepared once and applied to many vectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor


class Inverse(ABC):
    """K ~ H^-1 on R^P.

    Attributes:
        outcome: one sentence on how it was made and how far to trust it.
        error: the relative standard error of :meth:`quadratic` where the method knows one (0 for exact
            ones), None where it does not.
    """

    outcome: str
    error: float | None = None

    @abstractmethod
    def solve(self, vectors: Tensor) -> Tensor:
        """K V: ``(P, k) -> (P, k)``, in the dtype of ``vectors``.

        Raises:
            InputError: the solve found negative curvature, or did not converge.
        """

    def quadratic(self, rows: Tensor) -> Tensor:
        """g^T K g of each row: ``(b, P) -> (b,)`` float64."""
        return (rows.double() * self.solve(rows.T).T.double()).sum(1)


def largest_eigenvalue(product: Callable[[Tensor], Tensor], like: Tensor, *, steps: int = 20) -> float:
    """Of a symmetric ``product`` of columns such as ``like`` ``(P, 1)``, by the power method, from below."""
    start = torch.randn(len(like), 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    vector, value = start.to(like), 0.0
    for _ in range(steps):
        vector = product(vector / vector.norm())
        value = float(vector.norm())
    return value
