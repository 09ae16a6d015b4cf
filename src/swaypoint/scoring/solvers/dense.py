"""Exact inverses of a curvature whose matrix fits in memory: Cholesky, or eigenvalues with a cut."""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.operators.spectrum import eigh
from swaypoint.scoring.solvers.base import Inverse, Solution, largest_eigenvalue
from swaypoint.scoring.solvers.panels import forward_substitution

_SINGLE_LIMIT = 1e8
"""Condition number up to which float32 triangular solves keep four digits: their error grows with the
root of it, because the factor's condition number is the root of the matrix's."""

_BLOCK = 1024


class CholeskyInverse(Inverse):
    """L^-T L^-1 for a lower factor ``(P, P)``, in its precision."""

    def __init__(self, factor: Tensor, condition: float) -> None:
        self._factor = factor
        self._outcome = (
            f"exact: Cholesky of {len(factor):,} parameters, condition number about {condition:.0e}"
        )

    def solve(self, vectors: Tensor) -> Solution:
        value = torch.cholesky_solve(vectors.to(self._factor), self._factor).to(vectors)
        return Solution(value, self._outcome, error=0.0)

    def quadratic(self, rows: Tensor) -> Solution:
        # In panels nearly all of the work is matrix products, a third faster than one solve.
        ends = range(_BLOCK, len(self._factor) + _BLOCK, _BLOCK)
        panels = [self._factor[end - _BLOCK : end, :end] for end in ends]
        half = forward_substitution(panels, rows.to(self._factor).T.contiguous())
        return Solution(half.square().sum(0, dtype=torch.float64), self._outcome, error=0.0)


class SpectralInverse(Inverse):
    """V (diag(1 / values) - rest I) V^T + rest I for orthonormal columns V.

    Args:
        vectors: ``(P, k)``.
        values: ``(k,)``, positive.
        outcome, error: of each :class:`~swaypoint.scoring.solvers.base.Solution`.
        rest: the inverse on the complement of V; 0 leaves it out.
    """

    def __init__(
        self, vectors: Tensor, values: Tensor, outcome: str, *, rest: float = 0.0, error: float | None = None
    ) -> None:
        self._vectors, self._weights, self._rest = vectors, 1.0 / values - rest, rest
        self._outcome, self._error = outcome, error

    def solve(self, vectors: Tensor) -> Solution:
        inner = self._weights.unsqueeze(1) * (self._vectors.T @ vectors.to(self._vectors))
        return self._told((self._vectors @ inner).to(vectors) + self._rest * vectors)

    def quadratic(self, rows: Tensor) -> Solution:
        inner = (rows.to(self._vectors) @ self._vectors).double().square() @ self._weights.double()
        return self._told(inner + self._rest * rows.double().square().sum(1))

    def _told(self, value: Tensor) -> Solution:
        return Solution(value, self._outcome, self._error)


def dense_inverse(matrix: Tensor, noise: float, *, floor: float = 0.0) -> Inverse:
    """Cholesky where the matrix is positive definite; else the eigenvalues above a cut.

    Args:
        matrix: ``(P, P)`` float64.
        noise: relative accuracy of its entries: eigenvalues below that share of the largest are zero as
            far as the data can tell, and dropped.
        floor: the ridge on its diagonal; where there is one no direction is without curvature, and none is
            dropped that Cholesky can factorise.

    Raises:
        InputError: an eigenvalue is negative beyond rounding.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    if not bool(info.any()):
        condition = _condition(matrix, factor)
        if condition < 1.0 / noise or floor > 0:
            single = noise > torch.finfo(torch.float32).eps and condition < _SINGLE_LIMIT
            return CholeskyInverse(factor.float() if single else factor, condition)
    del factor
    values, vectors = eigh(matrix)
    largest = float(values.abs().max())
    lowest = float(values[0])
    if lowest < -noise * largest:
        raise InputError(indefinite(lowest, largest))
    kept = values > noise * largest
    dropped = int((~kept).sum())
    outcome = (
        f"exact pseudo-inverse: {dropped:,} of {len(values):,} directions without curvature were dropped; a"
        " ridge (l2) or damping restores them"
    )
    return SpectralInverse(vectors[:, kept], values[kept], outcome, error=0.0)


def indefinite(lowest: float, largest: float) -> str:
    """What to say, and to do, when an eigenvalue is negative."""
    return (
        f"indefinite: the curvature has an eigenvalue of {lowest:.3g} (the largest {largest:.3g}); the model"
        f" is not at a minimum. Remedies: damping above {-lowest:.2g}, curvature='ggn', training to"
        " convergence, or the last layer alone (params=None) with refit=True"
    )


def _condition(matrix: Tensor, factor: Tensor) -> float:
    """A lower bound of the 2-norm condition number, by a few steps of the power method each way."""
    like = matrix[:, :1]
    largest = largest_eigenvalue(matrix.matmul, like, steps=10)
    return largest * largest_eigenvalue(lambda x: torch.cholesky_solve(x, factor), like, steps=10)
