"""Eigenvalues of symmetric matrices, where one routine gives up by another."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """``torch.linalg.eigh`` of ``(.., k, k)``; where LAPACK's divide and conquer does not converge, as of
    very many equal eigenvalues it may not, a singular value decomposition of the matrix plus a multiple of
    the identity that makes it positive, scaled by its largest entry.

    Raises:
        InputError: an entry is not finite, or neither converges.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        if not bool(torch.isfinite(matrix).all()):
            raise InputError(
                "the curvature has entries beyond the range of float64; standardise the columns of the"
                " features"
            ) from None
        values, vectors = _by_singular_values(matrix)
    return values, vectors


def _by_singular_values(matrix: Tensor) -> tuple[Tensor, Tensor]:
    dense = matrix.double().cpu().numpy()
    scale = max(float(np.abs(dense).max()), np.finfo(np.float64).tiny)
    shift = float(dense.shape[-1])  # of the scaled matrix no eigenvalue is larger
    try:
        vectors, values, _ = np.linalg.svd(dense / scale + shift * np.eye(dense.shape[-1]))
    except np.linalg.LinAlgError:
        raise InputError(
            "the eigenvalues of the curvature cannot be found; standardise the columns of the features, or"
            " pass a ridge (l2) or damping"
        ) from None
    ascending = torch.from_numpy((values[..., ::-1] - shift) * scale).to(matrix)
    return ascending, torch.from_numpy(vectors[..., ::-1].copy()).to(matrix)
