"""Curvature of heads with many outputs and few features, without the packed products of the outputs.

The distinct entries of Lambda_i, for 1,000 outputs half a million a point, are neither formed nor projected:

- with Lambda_i = diag(d_i) - u_i u_i^T the mean Hessian is that of the d_i, one feature moment an output,
  minus the outer products of the U_i = (B^T u_i) (x) phi_i, one product of matrices;
- leave-one-out solves (I - Lambda A) x = r by conjugate gradients on products with Lambda in that form.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from swaypoint.scoring.operators.logits import DiagonalMinusOuter
from swaypoint.scoring.operators.packed import unpack_index

_TABLE_BYTES = 128 << 20
"""Of the products of the basis's rows, beyond which :func:`cheaper` has it."""
NARROW = 10
"""Features k up to which A_i v is taken by a product with K, of 2 (m k)^2 operations in each of some eight
steps of leave-one-out: making and reading the m^2 entries of A_i would take longer."""
_TOLERANCE = 1e-13
_STEPS = 100


def cheaper(outputs: int, width: int) -> bool:
    """Whether so many outputs on so many features are better taken this way than by packed products, by the
    count of operations and by memory."""
    return outputs > 8 * width**2 or 4 * outputs**3 > _TABLE_BYTES


def moments(curvature: DiagonalMinusOuter, basis: Tensor, features: Tensor) -> dict[str, Tensor]:
    """Sums over the points of a chunk, float64: ``outer`` (m k, m k) of the U_i, ``diagonal`` (C, k, k).

    Args:
        basis: (C, m); features: (k, b) float64.
    """
    assert curvature.u is not None
    columns = ((basis.T @ curvature.u.T).unsqueeze(1) * features).flatten(0, 1)
    pairs = (features.unsqueeze(1) * features).flatten(0, 1)  # (k^2, b)
    width = len(features)
    return {
        "outer": columns @ columns.T,
        "diagonal": (curvature.d.T @ pairs.T).view(-1, width, width),
    }


def packed(outer: Tensor, diagonal: Tensor, basis: Tensor) -> Tensor:
    """The distinct output blocks of the sum, ``(m (m + 1) / 2, k, k)``, in the order of
    :mod:`~swaypoint.scoring.operators.packed`; from the sums of :func:`moments`."""
    m, width = basis.shape[1], diagonal.shape[1]
    blocks = outer.view(m, width, m, width)
    flat = diagonal.flatten(1)
    result = torch.empty(m * (m + 1) // 2, width, width).to(outer)
    start = 0
    for i in range(m):
        part = result[start : start + m - i]
        torch.matmul((basis[:, i:] * basis[:, i : i + 1]).T, flat, out=part.view(m - i, -1))
        part -= blocks[i, :, i:].permute(1, 0, 2)
        start += m - i
    return result


class Blocks(ABC):
    """A_i = U_i^T K U_i of some points, symmetric ``(b, m, m)``."""

    @abstractmethod
    def times(self, vectors: Tensor) -> Tensor:
        """A_i v_i of all points, ``(b, m) -> (b, m)``."""

    @abstractmethod
    def block(self, i: int) -> Tensor:
        """A_i, ``(m, m)``."""


@dataclass(frozen=True, eq=False)
class HeldBlocks(Blocks):
    """The blocks themselves."""

    values: Tensor

    @classmethod
    def of(cls, packed: Tensor, m: int) -> Self:
        """From their distinct entries ``(m (m + 1) / 2, b)``."""
        index = unpack_index(m, packed.device).flatten()
        return cls(packed.T.contiguous().index_select(1, index).view(-1, m, m))

    def times(self, vectors: Tensor) -> Tensor:
        return torch.bmm(self.values, vectors.unsqueeze(2)).squeeze(2)

    def block(self, i: int) -> Tensor:
        return self.values[i]


@dataclass(frozen=True, eq=False)
class Products(Blocks):
    """The same as one product with K, and where points have features ``outside`` (b,) of those that K knows,
    ``outside`` times ``gram`` (m, m) beside it.

    Args:
        inverse: K, ``(m k, m k)``.
        features: ``(b, k)``.
    """

    inverse: Tensor
    features: Tensor
    outside: Tensor | None = None
    gram: Tensor | None = None

    def times(self, vectors: Tensor) -> Tensor:
        gradients = (vectors.unsqueeze(2) * self.features.unsqueeze(1)).flatten(1)
        moved = (gradients @ self.inverse).view(*vectors.shape, -1)
        product = (moved @ self.features.unsqueeze(2)).squeeze(2)
        if self.outside is None or self.gram is None:
            return product
        return product + self.outside.unsqueeze(1) * (vectors @ self.gram)

    def block(self, i: int) -> Tensor:
        phi = self.features[i]
        k = len(phi)
        inverse = self.inverse if self.inverse.is_contiguous() else self.inverse.mT  # of LAPACK; symmetric
        columns = inverse.reshape(-1, k) @ phi  # (m k m,)
        product = phi @ columns.view(-1, k, len(self.inverse) // k)
        if self.outside is None or self.gram is None:
            return product
        return product + self.outside[i] * self.gram


def solve_removal(
    curvature: Callable[[Tensor], Tensor], applied: Callable[[Tensor], Tensor], residuals: Tensor
) -> tuple[Tensor, Tensor]:
    """x = (I - Lambda A)^-1 r for each point by conjugate gradients, and which points did not converge.

    I - Lambda A is symmetric and positive in the inner product of A, in which the method runs; its
    eigenvalues lie in (0, 1], near 0 only where the leverage is near one.

    Args:
        curvature, applied: Lambda_i v_i and A_i v_i of all points, ``(b, m) -> (b, m)``.
        residuals: ``(b, m)``.
    """
    tiny = torch.finfo(residuals.dtype).tiny
    x = residuals.clone()
    rest = curvature(applied(x))  # r - (I - Lambda A) x at x = r
    goal = _TOLERANCE * residuals.norm(dim=1).clamp_min(tiny)
    direction, image = rest.clone(), applied(rest)
    square = (rest * image).sum(1)
    for _ in range(_STEPS):
        left = rest.norm(dim=1) > goal
        if not bool(left.any()):
            break
        change = direction - curvature(image)
        length = torch.where(left, square / (change * image).sum(1).clamp_min(tiny), 0.0).unsqueeze(1)
        x += length * direction
        rest = rest - length * change
        new = applied(rest)
        after = (rest * new).sum(1)
        turn = torch.where(left, after / square.clamp_min(tiny), 0.0).unsqueeze(1)
        direction, image, square = rest + turn * direction, new + turn * image, after
    return x, rest.norm(dim=1) > 1e3 * goal
