"""The small system behind leave-one-out: (I - Lambda A / n) x = r, one m x m system per point.

Of points that are added in place of removed, n is given as minus their number, here and in
:func:`of_many_outputs`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.scoring.operators import outer
from swaypoint.scoring.operators.logits import DiagonalMinusOuter, LogitCurvature
from swaypoint.scoring.operators.packed import unpack_index

_ELIMINATE = 24
"""Up to this m, eliminating all points at once beats a LAPACK call per point (nine times at m = 9)."""
_COLUMNS = 1024
"""Points at a time, for the cache."""
_FEWEST = 4
"""Outputs from which on the series costs less than elimination."""
_TERMS = 8
_CONVERGED = 1e-6
"""Share of the shift that its last term has at most: what follows is less by the leverage once more."""
_REST = 100
"""The series ends when it has converged for all but one of so many points."""


def of_few_outputs(
    curvature: LogitCurvature, basis: Tensor, blocks: Tensor, residuals: Tensor, points: int
) -> tuple[Tensor, Tensor]:
    """x = (I - Lambda A / n)^-1 r and the shift of the logits A x / n, ``(m, b)`` float64 both.

    Args:
        basis: (C, m), the outputs' coordinates.
        blocks: the distinct entries of the A_i in these, ``(m (m + 1) / 2, b)``; in float32 the series
            r + Lambda A r / n + .. is summed in float32 where it converges fast.
        residuals: (m, b) float64 in these.
    """
    m, count = residuals.shape
    index = unpack_index(m, blocks.device).flatten()

    def unpacked(rows: slice | Tensor, dtype: torch.dtype) -> Tensor:
        return blocks[:, rows].to(dtype).index_select(0, index).view(m, m, -1).div_(points)

    coupled = isinstance(curvature, DiagonalMinusOuter) and curvature.u is not None
    if blocks.dtype == torch.float32 and m >= _FEWEST and coupled:
        corrected, shift, left = _series(curvature, basis, unpacked(slice(None), blocks.dtype), residuals)
    else:
        corrected, shift = torch.empty_like(residuals), torch.empty_like(residuals)
        left = torch.ones(count, dtype=torch.bool, device=residuals.device)
    for rest in left.nonzero()[:, 0].split(_COLUMNS):
        a = unpacked(rest, torch.float64)
        projected = curvature.rows(rest).project(basis)[index].view(m, m, -1)
        corrected[:, rest] = solve_removal(projected, a, residuals[:, rest])
        shift[:, rest] = (a * corrected[:, rest]).sum(1)
    return corrected, shift


def _series(
    curvature: LogitCurvature, basis: Tensor, blocks: Tensor, residuals: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As :func:`of_few_outputs` for the A_i / n, ``(m, m, b)``; and for which points the series has not
    converged: those of large leverage, by which its terms shrink."""
    scale = residuals.abs().amax(0).clamp_min(torch.finfo(residuals.dtype).tiny)
    term, wide, narrow = (residuals / scale).to(blocks), basis.to(blocks), basis.T.to(blocks)
    change, shift = torch.zeros_like(term), torch.zeros_like(term)
    assert isinstance(curvature, DiagonalMinusOuter)
    assert curvature.u is not None
    d, u = curvature.d.T.to(blocks), curvature.u.T.to(blocks)
    leading = d.max(0, keepdim=True).indices  # argmax takes six times as long
    for _ in range(_TERMS):
        moved = (blocks * term).sum(1)
        shift += moved
        logits = wide @ moved
        # Only differences count; those to the leading class keep the digits of a confident point.
        logits -= logits.gather(0, leading)
        term = narrow @ (d * logits - u * (u * logits).sum(0))
        change += term
        # Not converged: an overflow as well.
        left = ~(moved.abs().amax(0) <= _CONVERGED * shift.abs().amax(0))
        if int(left.sum()) * _REST <= len(left):
            break
    return residuals + scale * change, scale * shift, left


def of_many_outputs(
    curvature: LogitCurvature, basis: Tensor, blocks: outer.Blocks, residuals: Tensor, points: int
) -> tuple[Tensor, Tensor]:
    """As :func:`of_few_outputs`, from products with the blocks, in float64."""
    moved = blocks.times

    def curved(vectors: Tensor) -> Tensor:
        return curvature.matmul(vectors @ basis.T) @ basis / points

    rows = residuals.T.contiguous()
    corrected, failed = outer.solve_removal(curved, moved, rows)
    for i in failed.nonzero()[:, 0].tolist():  # leverage near one, where iteration is slow
        point = curvature.rows(slice(i, i + 1)).matmul(basis.unsqueeze(0))[0]
        a = blocks.block(i)
        system = torch.eye(len(a)).to(a) - basis.T @ point @ a / points
        solution, info = torch.linalg.solve_ex(system, rows[i])
        corrected[i] = solution if int(info) == 0 else torch.nan
    return corrected.T, moved(corrected).T / points


def solve_removal(curvature: Tensor, blocks: Tensor, residuals: Tensor) -> Tensor:
    """x = (I - Lambda A)^-1 r for each column: (m, m, b), (m, m, b), (m, b) -> (m, b).

    Lambda and A are symmetric positive semi-definite with Lambda A <= I, so that elimination needs no
    pivoting: I - Lambda A is similar to a symmetric positive definite matrix. A singular system
    (leverage one) gives non-finite values.
    """
    m = curvature.shape[0]
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
