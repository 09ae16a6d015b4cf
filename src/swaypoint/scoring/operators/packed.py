"""Packed symmetric products: the distinct entries of x x^T, for many x at once.

Rows stand in the order (0,0), (0,1), .., (0,k-1), (1,1), .. : ``torch.triu_indices(k, k)``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def pair_count(k: int) -> int:
    """Number of distinct entries of a symmetric k x k matrix."""
    return k * (k + 1) // 2


def pack_pairs(x: Tensor, out: Tensor | None = None) -> Tensor:
    """Distinct products x_d x_e, d <= e: ``(k, b) -> (k (k + 1) / 2, b)``.

    One contiguous slice per d: gathering by index arrays costs more than the GEMM that follows.
    """
    k, b = x.shape
    if out is None:
        out = torch.empty(pair_count(k), b, dtype=x.dtype, device=x.device)
    start = 0
    for d in range(k):
        torch.mul(x[d:], x[d], out=out[start : start + k - d])
        start += k - d
    return out


def pack_strict_pairs(x: Tensor) -> Tensor:
    """The same without the squares, x_d x_e for d < e: ``(k, b) -> (k (k - 1) / 2, b)``."""
    k, b = x.shape
    out, start = torch.empty(pair_count(k - 1), b, dtype=x.dtype, device=x.device), 0
    for d in range(k - 1):
        torch.mul(x[d + 1 :], x[d], out=out[start : start + k - 1 - d])
        start += k - 1 - d
    return out


def pair_weights(k: int, like: Tensor) -> Tensor:
    """1 on the diagonal, 2 off it, ``(k (k + 1) / 2,)``: how often an entry counts in a full sum."""
    rows, columns = torch.triu_indices(k, k, device=like.device)
    return torch.where(rows == columns, 1.0, 2.0).to(like)


def pack_index(k: int, device: torch.device) -> Tensor:
    """Positions of the packed entries among the ``k * k`` of the flattened matrix."""
    rows, columns = torch.triu_indices(k, k, device=device)
    return rows * k + columns


def unpack_index(k: int, device: torch.device) -> Tensor:
    """``(k, k)`` positions into the packed order."""
    rows, columns = torch.triu_indices(k, k, device=device)
    index = torch.empty(k, k, dtype=torch.long, device=device)
    positions = torch.arange(rows.numel(), device=device)
    index[rows, columns] = positions
    index[columns, rows] = positions
    return index
