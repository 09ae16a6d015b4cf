"""Exact inverse: Cholesky in float64, with a reported eigenvalue cut where that fails."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.scoring.operators.spectrum import eigh


@dataclass(frozen=True)
class Factorization:
    """Inverse of a curvature, block by block, and what it took to get it.

    ``matrix`` is K, ``(G, k, k)`` float64; ``condition`` the 1-norm condition number of the worst block;
    ``cut`` how many eigen-directions were dropped as numerically zero; ``negative`` the most negative
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
    """:func:`factorize` where H is regular as far as the data can tell; None where it is not."""
    factor, info = torch.linalg.cholesky_ex(dense)
    if bool(info.any()):
        return None
    matrix = torch.cholesky_inverse(factor)
    condition = float((dense.abs().sum(2).amax(1) * matrix.abs().sum(2).amax(1)).max())
    return Factorization(matrix, condition) if condition < 1.0 / (noise * dense.shape[1]) else None
