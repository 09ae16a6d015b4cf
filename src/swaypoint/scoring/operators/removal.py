"""The small system behind leave-one-out: (I - Lambda A) x = r, one m x m system per point."""

from __future__ import annotations

import torch
from torch import Tensor

_ELIMINATE = 24
"""Up to this m, eliminating all points at once beats a LAPACK call per point (nine times at m = 9)."""
_COLUMNS = 1024
"""Points at a time, for the cache."""


def solve_removal(curvature: Tensor, blocks: Tensor, residuals: Tensor) -> Tensor:
    """x = (I - Lambda A)^-1 r for each column: (m, m, b), (m, m, b), (m, b) -> (m, b).

    Lambda and A are symmetric positive semi-definite with Lambda A <= I, so that elimination needs no
    pivoting: I - Lambda A is similar to a symmetric positive definite matrix. A singular system
    (leverage one) gives non-finite values.
    """
    m = curvature.shape[0]
    if residuals.shape[1] > _COLUMNS:
        parts = zip(*(x.split(_COLUMNS, -1) for x in (curvature, blocks, residuals)), strict=True)
        return torch.cat([solve_removal(*part) for part in parts], 1)
    system = torch.empty_like(curvature)
    for row in range(m):
        torch.sum(curvature[row].unsqueeze(1) * blocks, 0, out=system[row])
    system.neg_()
    system.diagonal().add_(1.0)
    if m > _ELIMINATE:
        solution, info = torch.linalg.solve_ex(system.permute(2, 0, 1), residuals.T.unsqueeze(2))
        return torch.where((info == 0)[:, None], solution.squeeze(2), torch.nan).T
    x = residuals.clone()
    for k in range(m - 1):
        factors = system[k + 1 :, k] / system[k, k]
        system[k + 1 :, k + 1 :] -= factors.unsqueeze(1) * system[k, k + 1 :]
        x[k + 1 :] -= factors * x[k]
    for k in reversed(range(m)):
        x[k] = (x[k] - (system[k, k + 1 :] * x[k + 1 :]).sum(0)) / system[k, k]
    return x
