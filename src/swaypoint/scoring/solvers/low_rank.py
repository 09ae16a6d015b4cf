"""Inverses from a low-rank picture of a curvature: Lanczos (Schioppa et al., 2022) and Nystroem."""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.operators.base import Operator
from swaypoint.scoring.operators.spectrum import eigh
from swaypoint.scoring.solvers.base import Inverse
from swaypoint.scoring.solvers.dense import SpectralInverse, indefinite


def lanczos(operator: Operator, *, rank: int = 100, steps: int = 200, seed: int = 0) -> Inverse:
    """The largest ``rank`` eigenpairs of a Krylov space of ``steps`` products; all else is left out.

    Schioppa et al. call it Arnoldi; for a symmetric operator the two are one. Every new vector is made
    orthogonal to all before it, twice, which float32 needs.

    Raises:
        InputError: one of these eigenvalues is negative.
    """
    steps = min(steps, operator.dimension)
    generator = torch.Generator().manual_seed(seed)
    basis = torch.zeros(steps, operator.dimension, dtype=operator.dtype, device=operator.device)
    diagonal, beside = [], []
    vector = torch.randn(operator.dimension, generator=generator).to(basis)
    vector /= vector.norm()
    for step in range(steps):
        basis[step] = vector
        product = (operator @ vector.unsqueeze(1))[:, 0]
        diagonal.append(float(vector @ product))
        for _ in range(2):
            product = product - basis[: step + 1].T @ (basis[: step + 1] @ product)
        length = float(product.norm())
        if length <= 10 * torch.finfo(operator.dtype).eps * abs(diagonal[0]):
            break  # the Krylov space is invariant: these eigenvalues are all there are
        beside.append(length)
        vector = product / length
    count = len(diagonal)
    off = torch.tensor(beside[: count - 1], dtype=torch.float64)
    small = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = eigh(small)
    chosen = values.abs().argsort(descending=True)[:rank]
    values, vectors = values[chosen], vectors[:, chosen]
    rounding = 10 * torch.finfo(operator.dtype).eps * count * float(values.abs().max())
    if float(values.min()) < -rounding:
        raise InputError(indefinite(float(values.min()), float(values.max())))
    kept = values > torch.finfo(operator.dtype).eps * values[0]
    values, vectors = values[kept].to(basis), vectors[:, kept].to(basis)
    outcome = (
        f"approximate: Lanczos, {len(values)} eigenvalues from {float(values[0]):.2g} down to"
        f" {float(values[-1]):.2g} of {operator.dimension:,}; all smaller ones left out, error not known"
    )
    return SpectralInverse(basis[:count].T @ vectors, values, outcome)


def nystroem(operator: Operator, *, ridge: float, rank: int = 500, seed: int = 0) -> Inverse:
    """Randomised Nystroem approximation of the curvature without its ridge, and Woodbury's inverse with
    it (Frangella, Tropp & Udell, 2023, algorithm 2.1).

    Args:
        ridge: what ``operator`` has on its diagonal; without one all but ``rank`` directions are left out.

    Raises:
        InputError: the curvature is indefinite.
    """
    values, vectors = _nystroem_pairs(operator, ridge, rank, seed)
    outcome = (
        f"approximate: Nystroem of rank {len(values)} of {operator.dimension:,}, the rest taken as the"
        f" ridge {ridge:.2g}; error not known"
    )
    return SpectralInverse(vectors, values, outcome, rest=1.0 / ridge if ridge > 0 else 0.0)


def nystroem_preconditioner(operator: Operator, *, ridge: float, rank: int, seed: int = 0) -> Inverse:
    """For conjugate gradients: the same, the rest taken as the smallest eigenvalue found (Frangella, Tropp &
    Udell, 2023, section 5), which makes the condition number about that eigenvalue over the ridge.

    Raises:
        InputError: the curvature is indefinite.
    """
    values, vectors = _nystroem_pairs(operator, ridge, rank, seed)
    outcome = f"Nystroem preconditioner of rank {len(values)}"
    return SpectralInverse(vectors, values, outcome, rest=1.0 / float(values[-1]))


def _nystroem_pairs(operator: Operator, ridge: float, rank: int, seed: int) -> tuple[Tensor, Tensor]:
    """The largest eigenvalues, ridge included, falling, and their vectors ``(P, r)``."""
    rank = min(rank, operator.dimension)
    generator = torch.Generator().manual_seed(seed)
    test = torch.randn(operator.dimension, rank, generator=generator, dtype=torch.float64)
    test = torch.linalg.qr(test)[0].to(operator.device)
    image = (operator @ test.to(operator.dtype)).double() - ridge * test
    shift = (
        operator.dimension**0.5 * torch.finfo(operator.dtype).eps * float(torch.linalg.matrix_norm(image, 2))
    )
    image += shift * test
    factor, info = torch.linalg.cholesky_ex(test.T @ image)
    if bool(info.any()):
        lowest = torch.linalg.eigvalsh(test.T @ image)
        raise InputError(indefinite(float(lowest[0]), float(lowest[-1])))
    root = torch.linalg.solve_triangular(factor, image.T, upper=False).T
    vectors, singular, _ = torch.linalg.svd(root, full_matrices=False)
    values = (singular.square() - shift).clamp_min(0.0) + ridge
    kept = values > torch.finfo(operator.dtype).eps * values[0]
    return values[kept].to(operator.dtype), vectors[:, kept].to(operator.dtype)
