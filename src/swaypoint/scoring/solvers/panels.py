"""Cholesky factor in panels of rows: half the memory of a square, and the matrix never exists.

A panel is factorised as soon as it is known (left-looking; Golub & Van Loan, 2013, 4.2.9), so that the
rows can be computed one after another. LAPACK's packed storage would need the whole matrix first.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from swaypoint.errors import InputError


class TiledCholesky:
    """L with L L^T = H, grown from the top. Panel i is ``(k_i, k_0 + .. + k_i)``, kept in place."""

    def __init__(self) -> None:
        self._panels: list[Tensor] = []

    @property
    def dimension(self) -> int:
        """Rows so far."""
        return self._panels[-1].shape[1] if self._panels else 0

    @property
    def condition(self) -> float:
        """A lower bound on the condition number of H, from the diagonal of L."""
        tiles = [panel[:, -len(panel) :].diagonal() for panel in self._panels]
        diagonal = torch.cat(tiles)
        return float(diagonal.max() / diagonal.min()) ** 2

    def append(self, rows: Tensor) -> None:
        """The next rows of H up to their diagonal, ``(k, dimension + k)``; overwritten.

        Raises:
            InputError: H is not positive definite to the precision of ``rows``.
        """
        start = 0
        for panel in self._panels:
            stop = start + len(panel)
            tile = rows[:, start:stop]
            if start:
                tile.addmm_(rows[:, :start], panel[:, :start].T, alpha=-1.0)
            tile.copy_(torch.linalg.solve_triangular(panel[:, start:].T, tile, upper=True, left=False))
            start = stop
        tile = rows[:, start:]
        if start:
            tile.addmm_(rows[:, :start], rows[:, :start].T, alpha=-1.0)
        factor, failed = torch.linalg.cholesky_ex(tile.double())
        if bool(failed):
            raise InputError(
                f"the Hessian is singular to {str(rows.dtype).removeprefix('torch.')} at row"
                f" {start + int(failed)}: a class or feature without curvature; add a ridge (l2) or damping"
            )
        tile.copy_(factor)
        self._panels.append(rows)

    def forward(self, right: Tensor) -> Tensor:
        """L^-1 of the columns of ``right`` (dimension, b); overwritten."""
        return forward_substitution(self._panels, right)


def forward_substitution(panels: Sequence[Tensor], right: Tensor) -> Tensor:
    """L^-1 of the columns of ``right`` (dimension, b), overwritten; L as panels of rows."""
    start = 0
    for panel in panels:
        stop = start + len(panel)
        part = right[start:stop]
        if start:
            part.addmm_(panel[:, :start], right[:start], alpha=-1.0)
        part.copy_(torch.linalg.solve_triangular(panel[:, start:], part, upper=False))
        start = stop
    return right
