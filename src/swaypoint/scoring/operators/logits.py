"""The second derivative of a loss by its logits, in the forms that losses have."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.scoring.operators.packed import pack_pairs, pack_strict_pairs

_PAIRED = 24
"""Classes up to which their pairs cost no more than the small systems that they go into."""


class LogitCurvature(ABC):
    """Lambda_i for a batch of points: symmetric ``(b, C, C)``, never formed unless it must be."""

    @abstractmethod
    def project(self, basis: Tensor) -> Tensor:
        """Distinct entries of basis^T Lambda_i basis: ``(C, m) -> (m (m + 1) / 2, b)``."""

    @abstractmethod
    def diagonal(self) -> Tensor:
        """Diagonal entries of Lambda_i, ``(b, C)``."""

    @abstractmethod
    def matmul(self, vectors: Tensor) -> Tensor:
        """Lambda_i v_i for each point: ``(b, C) -> (b, C)``, or ``(b, C, k) -> (b, C, k)``."""

    @abstractmethod
    def total(self) -> Tensor:
        """The sum over the points, ``(C, C)``."""

    @abstractmethod
    def rows(self, rows: slice | Tensor) -> LogitCurvature:
        """That of some of the points."""

    @abstractmethod
    def scaled(self, weights: Tensor) -> LogitCurvature:
        """w_i Lambda_i, for weights ``(b,)``."""

    def single(self) -> LogitCurvature:
        """The same in float32."""
        raise NotImplementedError

    def solve_removal(self, leverages: Tensor, residuals: Tensor) -> Tensor:
        """(I - Lambda_i diag(a_i))^-1 r_i: ``(b, C), (b, C) -> (b, C)``; leave-one-out of a sketch."""
        raise NotImplementedError

    def sqrt_matmul(self, vectors: Tensor) -> Tensor:
        """S_i v_i with S_i S_i^T = Lambda_i: ``(b, C, k) -> (b, C, k)``; what a sketch draws with."""
        raise NotImplementedError(f"{type(self).__name__} has no square root in closed form")


def pair_map(basis: Tensor) -> Tensor:
    """From the products of pairs of classes to the distinct entries of basis^T Lambda basis:
    ``(C, m) -> (m (m + 1) / 2, C (C - 1) / 2)``."""
    one, other = torch.triu_indices(len(basis), len(basis), 1, device=basis.device)
    return pack_pairs((basis[one] - basis[other]).T)


@dataclass(frozen=True)
class DiagonalMinusOuter(LogitCurvature):
    """diag(d) - u u^T, whose rows sum to zero as softmax's do; u is None for losses whose outputs do not
    interact."""

    d: Tensor
    u: Tensor | None = None

    @property
    def paired(self) -> bool:
        """Whether it is taken by pairs of classes, as the sum over c < c' of
        u_c u_c' (e_c - e_c')(e_c - e_c')^T: without p - p^2, which of a confident point is rounding."""
        return self.u is not None and self.u.shape[1] <= _PAIRED

    def pairs(self, scale: float = 1.0, dtype: torch.dtype = torch.float64) -> Tensor:
        """``scale`` times u_c u_c', ``(C (C - 1) / 2, b)``."""
        assert self.u is not None
        return pack_strict_pairs((self.u.T * scale**0.5).to(dtype))

    def project(self, basis: Tensor) -> Tensor:
        if self.paired:
            return pair_map(basis) @ self.pairs()
        # (b_c v_c)(b_c w_c) summed over c is one GEMM with the packed products of the basis rows.
        packed = pack_pairs(basis.T) @ self.d.T
        if self.u is not None:
            packed -= pack_pairs(basis.T @ self.u.T)
        return packed

    def diagonal(self) -> Tensor:
        # Of a sure point with a weight the difference may round to less than zero.
        return self.d if self.u is None else (self.d - self.u.square()).clamp_min(0.0)

    def matmul(self, vectors: Tensor) -> Tensor:
        if vectors.ndim == 3:
            product = self.d.unsqueeze(2) * vectors
            if self.u is not None:  # in place: of many outputs the temporaries would take the time
                product.baddbmm_(self.u.unsqueeze(2), self.u.unsqueeze(1) @ vectors, alpha=-1)
            return product
        product = self.d * vectors
        if self.u is not None:
            product -= self.u * (self.u * vectors).sum(1, keepdim=True)
        return product

    def total(self) -> Tensor:
        diagonal = torch.diag(self.d.sum(0))
        return diagonal if self.u is None else diagonal - self.u.T @ self.u

    def rows(self, rows: slice | Tensor) -> DiagonalMinusOuter:
        return DiagonalMinusOuter(self.d[rows], None if self.u is None else self.u[rows])

    def sqrt_matmul(self, vectors: Tensor) -> Tensor:
        root = self.d.sqrt().unsqueeze(2)
        product = root * vectors
        if self.u is None:
            return product
        # With d = w p and u = sqrt(w) p, as softmax has: S = diag(sqrt d) - u sqrt(p)^T.
        weight = self.d.sum(1).sqrt().clamp_min(torch.finfo(self.d.dtype).tiny)[:, None, None]
        return product.baddbmm_(self.u.unsqueeze(2), product.sum(1, keepdim=True) / weight, alpha=-1)

    def solve_removal(self, leverages: Tensor, residuals: Tensor) -> Tensor:
        diagonal = (1.0 - self.d * leverages).clamp_min(1e-12)
        solution = residuals / diagonal
        if self.u is None:
            return solution
        # Sherman & Morrison (1950): the outer product is a rank-one change.
        scaled, row = self.u / diagonal, leverages * self.u
        factor = (row * solution).sum(1) / (1.0 + (row * scaled).sum(1))
        return solution - scaled * factor.unsqueeze(1)

    def scaled(self, weights: Tensor) -> DiagonalMinusOuter:
        weights = weights.unsqueeze(1)
        return DiagonalMinusOuter(weights * self.d, None if self.u is None else weights.sqrt() * self.u)

    def single(self) -> DiagonalMinusOuter:
        """The same in float32."""
        return DiagonalMinusOuter(self.d.float(), None if self.u is None else self.u.float())


@dataclass(frozen=True)
class DenseLogitCurvature(LogitCurvature):
    """An explicit ``(b, C, C)`` tensor, for losses of unknown structure."""

    values: Tensor

    def project(self, basis: Tensor) -> Tensor:
        projected = basis.T @ self.values @ basis
        rows, columns = torch.triu_indices(basis.shape[1], basis.shape[1], device=basis.device)
        return projected[:, rows, columns].T

    def diagonal(self) -> Tensor:
        return self.values.diagonal(dim1=1, dim2=2)

    def scaled(self, weights: Tensor) -> DenseLogitCurvature:
        return DenseLogitCurvature(weights[:, None, None] * self.values)

    def matmul(self, vectors: Tensor) -> Tensor:
        if vectors.ndim == 3:
            return self.values @ vectors
        return (self.values @ vectors.unsqueeze(2)).squeeze(2)

    def total(self) -> Tensor:
        return self.values.sum(0)

    def rows(self, rows: slice | Tensor) -> DenseLogitCurvature:
        return DenseLogitCurvature(self.values[rows])
