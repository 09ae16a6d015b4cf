"""Exact inverse: Cholesky in float64, with a reported eigenvalue cut where that fails."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.scoring.operators.spectrum import eigh

_NORM_STEPS = 4
_NORM_ENTRIES = 1 << 22


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
    """:func:`factorize` where H is regular as far as the data can tell; None where it is not, mostly without
    the inverse, which costs twice the factor."""
    worst = 1.0 / (noise * dense.shape[1])
    factor = cholesky_factor(dense, worst=worst)
    if factor is None:
        return None
    matrix = torch.cholesky_inverse(factor)
    condition = float((_norm(dense) * _norm(matrix)).max())
    return Factorization(matrix, condition) if condition < worst else None


def cholesky_factor(dense: Tensor, *, worst: float) -> Tensor | None:
    """The lower factors L, ``(G, k, k)``; None where one does not exist or a condition number is seen to be
    above ``worst``."""
    factor, info = torch.linalg.cholesky_ex(dense)
    if bool(info.any()) or float((_norm(dense) * inverse_norm(factor)).max()) >= worst:
        return None
    return factor


def _norm(matrices: Tensor) -> Tensor:
    """1-norms of symmetric matrices: ``(G, k, k) -> (G,)``, a block of rows at a time."""
    step = max(1, _NORM_ENTRIES // (matrices.shape[0] * matrices.shape[2]))
    return torch.stack([rows.abs().sum(2).amax(1) for rows in matrices.split(step, 1)]).amax(0)


def inverse_norm(factor: Tensor) -> Tensor:
    """A lower bound of the 1-norms of (L L^T)^-1, seldom below a third of them, from a few solves with L:
    ``(G, k, k) -> (G,)`` (Hager, 1984, as revised by Higham, 1988: LAPACK's)."""
    groups, k, _ = factor.shape

    def solved(vectors: Tensor) -> Tensor:
        return torch.cholesky_solve(vectors.unsqueeze(2), factor).squeeze(2)

    # Against the cases in which signs alone mislead.
    signs = torch.where(torch.arange(k, device=factor.device) % 2 == 0, 1.0, -1.0).to(factor)
    alternating = signs * torch.linspace(1.0, 2.0, k).to(factor)
    least = 2.0 / (3.0 * k) * solved(alternating.expand(groups, k)).abs().sum(1)
    found, vectors = torch.zeros_like(least), factor.new_full((groups, k), 1.0 / k)
    for _ in range(_NORM_STEPS):
        image = solved(vectors)
        norms = image.abs().sum(1)
        if not bool((norms > found).any()):
            break
        found = torch.maximum(found, norms)
        slope = solved(torch.where(image >= 0, 1.0, -1.0).to(image))
        vectors = torch.nn.functional.one_hot(slope.abs().argmax(1), k).to(factor)
    return torch.maximum(found, least)
