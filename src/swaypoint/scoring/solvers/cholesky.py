"""Exact inverse: Cholesky in float64, with a reported eigenvalue cut where that fails."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.scoring.operators.spectrum import eigh

_NORM_ENTRIES = 1 << 22
_STEPS, _SHORT = 20, 2.0
"""Of the power method, and by how much its eigenvalue is too small at most: of k = 10,000 by 0.44 in the mean
of all starts (Kuczynski & Wozniakowski, 1992, 0.871 ln k / (steps - 1))."""


@dataclass(frozen=True)
class Factorization:
    """Inverse of a curvature, block by block, and what it took to get it.

    ``matrix`` is K, ``(G, k, k)`` float64; ``condition`` an upper bound of the condition number of the worst
    block; ``cut`` how many eigen-directions were dropped as numerically zero; ``negative`` the most negative
    eigenvalue found (0 if none), which only a non-convex loss gives.
    """

    matrix: Tensor
    condition: float
    cut: int = 0
    negative: float = 0.0

    @property
    def outcome(self) -> str:
        """One sentence: how the solve went, with the remedy if it did not go well."""
        if self.negative < 0:
            return (
                f"indefinite: the Hessian has negative curvature ({self.negative:.3g} of its largest"
                " eigenvalue); the model is not at a minimum of this loss. Remedies: refit=True,"
                " damping above the negative eigenvalue, or a convex loss"
            )
        if self.cut:
            return (
                f"pseudo-inverse: {self.cut} directions without curvature were dropped (the loss is"
                " saturated, or points are fewer than parameters); a ridge (l2) restores them"
            )
        return "exact"


def factorize(dense: Tensor, *, noise: float = 1e-14) -> Factorization:
    """K = H^-1 by Cholesky; by eigen-decomposition with a cut at ``noise`` where H is singular.

    Args:
        dense: the diagonal blocks of H, ``(G, k, k)`` float64.
        noise: relative accuracy of H's entries: eigenvalues below ``noise * k`` of the largest are zero as
            far as the data can tell.
    """
    regular = by_cholesky(dense, noise=noise)
    if regular is not None:
        return regular
    values, vectors = eigh(dense)
    largest = values.abs().amax(1, keepdim=True)
    tolerance = noise * dense.shape[1] * largest
    kept = values > tolerance
    negative = float((values / largest).min())
    inverse_values = torch.where(kept, 1.0 / values, 0.0)
    matrix = (vectors * inverse_values.unsqueeze(1)) @ vectors.mT
    smallest = torch.where(kept, values, torch.inf).amin(1, keepdim=True)
    return Factorization(
        matrix,
        condition=float((largest / smallest).max()),
        cut=int((~kept).sum()),
        negative=negative if negative < -float(noise * dense.shape[1]) else 0.0,
    )


def by_cholesky(dense: Tensor, *, noise: float) -> Factorization | None:
    """:func:`factorize` where H is regular as far as the data can tell; None where it is not, mostly without
    the inverse, which costs twice the factor."""
    worst = 1.0 / (noise * dense.shape[1])
    factor, info = torch.linalg.cholesky_ex(dense)
    pivots = factor.diagonal(dim1=1, dim2=2)
    # Of its squares the largest is at most the largest eigenvalue, the smallest at least the smallest.
    if bool(info.any()) or bool(((pivots.amax(1) / pivots.amin(1)).square() >= worst).any()):
        return None
    matrix = torch.cholesky_inverse(factor)
    condition = float((_norm(dense) * _norm(matrix)).max())
    if condition >= worst:  # by norms, which may be k times as much; eigenvalues take ten factorisations
        condition = min(condition, _SHORT**2 * float((_largest(dense) * _largest(matrix)).max()))
    return Factorization(matrix, condition) if condition < worst else None


def _norm(matrices: Tensor) -> Tensor:
    """1-norms of symmetric matrices: ``(G, k, k) -> (G,)``, a block of rows at a time."""
    step = max(1, _NORM_ENTRIES // (matrices.shape[0] * matrices.shape[2]))
    return torch.stack([rows.abs().sum(2).amax(1) for rows in matrices.split(step, 1)]).amax(0)


def _largest(matrices: Tensor) -> Tensor:
    """The largest eigenvalues of positive matrices, by the power method: ``(G, k, k) -> (G,)``."""
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(*matrices.shape[:2], 1, generator=generator, dtype=torch.float64)
    vectors, sizes = start.to(matrices), matrices.new_ones(len(matrices))
    for _ in range(_STEPS):
        vectors = matrices @ (vectors / vectors.norm(dim=1, keepdim=True))
        sizes = vectors.norm(dim=1)[:, 0]
    return sizes
