"""Curvature of a linear head by second-moment contraction.

With gradients g_i = r_i (x) phi_i and curvature blocks Lambda_i (x) phi_i phi_i^T, the mean Hessian
is the matrix product T^T S / n of T_i, the distinct entries of Lambda_i, and S_i, the distinct
products of phi_i phi_i^T; and the blocks A_i = U_i^T K U_i (U_i = I (x) phi_i) that give both Cook's
distance and leave-one-out are S_i contracted with K in the same packed form. Two large GEMMs, both
symmetries used, no solve per point.

Layouts: points are columns. ``features`` (D, b), ``residuals`` (G, m, b); G groups of m outputs that
the loss couples (softmax: one group of C - 1 contrasts; separable losses: C groups of one).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.operators.base import Curvature, Gradients, QuadraticForm
from swaypoint.operators.packed import pack_pairs, pair_count, pair_weights, unpack_index

CHUNK = 1024
"""Points per contraction step: the packed products of one step stay near the cache."""

_BUFFER_ROWS = 2304


@dataclass(frozen=True)
class HeadGradients(Gradients):
    """r (x) phi for b points: ``residuals`` (G, m, b), ``features`` (D, b)."""

    residuals: Tensor
    features: Tensor

    def rows(self) -> Tensor:
        outer = torch.einsum("gmb,db->bgmd", self.residuals.double(), self.features.double())
        return outer.flatten(1)


class FeaturePairs:
    """Streams packed products of feature columns through one reused buffer.

    The products are formed slice by slice, in blocks of feature rows, so that the buffer stays
    small for wide features. ``dtype`` is that of the products and of the GEMMs.
    """

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.width = width
        self.pairs = pair_count(width)
        self._blocks: list[tuple[int, int, int, int]] = []
        first = start = stop = 0
        for d in range(width):
            if stop > start and stop + width - d - start > max(_BUFFER_ROWS, width):
                self._blocks.append((first, d, start, stop))
                first, start = d, stop
            stop += width - d
        self._blocks.append((first, width, start, stop))
        rows = max(stop - start for _, _, start, stop in self._blocks)
        self._buffer = torch.empty(rows, CHUNK, dtype=dtype, device=device)

    def _products(self, features: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        b = features.shape[1]
        for first, last, start, stop in self._blocks:
            block = self._buffer[: stop - start, :b]
            row = 0
            for d in range(first, last):
                height = self.width - d
                torch.mul(features[d:], features[d], out=block[row : row + height])
                row += height
            yield start, stop, block

    def accumulate(self, coefficients: Tensor, features: Tensor, into: Tensor) -> None:
        """Add ``coefficients @ S^T`` to ``into``: (Q, b), (D, b) -> (Q, pairs)."""
        for start, stop, block in self._products(features):
            into[:, start:stop] += coefficients @ block.T

    def contract(self, coefficients: Tensor, features: Tensor) -> Tensor:
        """``coefficients @ S``: (Q, pairs), (D, b) -> (Q, b)."""
        result: Tensor | None = None
        for start, stop, block in self._products(features):
            part = coefficients[:, start:stop] @ block
            result = part if result is None else result.add_(part)
        assert result is not None
        return result


class HeadCurvature(Curvature):
    """(1/n) sum_i Lambda_i (x) phi_i phi_i^T + penalty, from its packed second moments.

    Args:
        moments: (G * m (m + 1) / 2, D (D + 1) / 2) float64, already divided by n.
        penalty: (G, m, m, D, D)-broadcastable pair is given as two factors: ``outputs`` (G, m, m)
            and ``features`` (D, D); their Kronecker product is added.
        groups, outputs, width: G, m, D.
        dtype: of the products in :meth:`quadratic_form`.
    """

    def __init__(
        self,
        moments: Tensor,
        penalty: tuple[Tensor, Tensor] | None,
        *,
        groups: int,
        outputs: int,
        width: int,
        dtype: torch.dtype,
    ) -> None:
        self.blocks, self.outputs, self.width = groups, outputs, width
        self.dimension = groups * outputs * width
        self.dtype = dtype
        self._moments, self._penalty = moments, penalty

    def dense(self) -> Tensor:
        m, d = self.outputs, self.width
        packed = self._moments.view(self.blocks, pair_count(m), pair_count(d))
        by_output = packed[:, unpack_index(m, packed.device)]
        full = by_output[..., unpack_index(d, packed.device)]  # (G, m, m, D, D)
        if self._penalty is not None:
            outputs, features = self._penalty
            full = full + outputs[..., None, None] * features
        return full.permute(0, 1, 3, 2, 4).reshape(self.blocks, m * d, m * d)

    def quadratic_form(self, matrix: Tensor) -> HeadForm:
        m, d = self.outputs, self.width
        blocks = matrix.view(self.blocks, m, d, m, d)
        a, b = torch.triu_indices(m, m, device=matrix.device)
        e, f = torch.triu_indices(d, d, device=matrix.device)
        pairs = blocks[:, a, :, b, :]  # (Q, G, D, D): advanced indices move first
        packed = pairs[:, :, e, f] + torch.where(e == f, 0.0, 1.0).to(matrix) * pairs[:, :, f, e]
        packed = packed.permute(1, 0, 2).reshape(self.blocks * pair_count(m), pair_count(d))
        return HeadForm(packed.to(self.dtype).contiguous(), self.blocks, m, d)


class HeadForm(QuadraticForm):
    """g^T K g of head gradients, and the blocks U^T K U behind it."""

    def __init__(self, packed: Tensor, groups: int, outputs: int, width: int) -> None:
        self._packed, self._groups, self._outputs = packed, groups, outputs
        self._pairs = FeaturePairs(width, packed.dtype, packed.device)
        self._weights = pair_weights(outputs, packed).double()

    def blocks(self, features: Tensor) -> Tensor:
        """Distinct entries of A_i = U_i^T K U_i: (D, b) -> (G, m (m + 1) / 2, b) float64."""
        parts = [
            self._pairs.contract(self._packed, chunk.to(self._packed.dtype).contiguous())
            for chunk in features.split(CHUNK, dim=1)
        ]
        return torch.cat(parts, 1).double().view(self._groups, -1, features.shape[1])

    def from_blocks(self, blocks: Tensor, residuals: Tensor) -> Tensor:
        """sum over groups of r^T A r: (G, Q, b), (G, m, b) -> (b,)."""
        total = torch.zeros(blocks.shape[2], dtype=torch.float64, device=blocks.device)
        for block, residual in zip(blocks, residuals, strict=True):
            total += self._weights @ (block * pack_pairs(residual))
        return total

    def __call__(self, gradients: Gradients) -> Tensor:
        if not isinstance(gradients, HeadGradients):
            raise TypeError("a head's quadratic form takes HeadGradients")
        return self.from_blocks(self.blocks(gradients.features), gradients.residuals.double())
