"""What a solver sees: a curvature (symmetric R^P -> R^P), known by its entries or by its products, and
batches of gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Gradients(ABC):
    """A batch of b gradients in R^P."""

    @abstractmethod
    def rows(self) -> Tensor:
        """The gradients as a ``(b, P)`` float64 matrix."""


class QuadraticForm(ABC):
    """g -> g^T K g for a fixed symmetric K, prepared once and applied to many batches."""

    @abstractmethod
    def __call__(self, gradients: Gradients) -> Tensor:
        """``(b,)`` float64."""


class Curvature(ABC):
    """A symmetric operator on R^P, block-diagonal with ``blocks`` equal blocks (usually one)."""

    dimension: int
    blocks: int

    @abstractmethod
    def dense(self) -> Tensor:
        """Diagonal blocks, ``(blocks, P / blocks, P / blocks)`` float64."""

    @abstractmethod
    def quadratic_form(self, matrix: Tensor) -> QuadraticForm:
        """The form g^T K g for K in the layout of :meth:`dense`."""


class Operator(ABC):
    """A symmetric operator on R^P that is known by its products, ``H @ V``."""

    dimension: int
    dtype: torch.dtype
    device: torch.device

    @abstractmethod
    def matmul(self, vectors: Tensor) -> Tensor:
        """H V for a block of vectors: ``(P, k) -> (P, k)``."""

    def __matmul__(self, vectors: Tensor) -> Tensor:
        return self.matmul(vectors)

    def dense(self) -> Tensor:
        """``(P, P)`` in the operator's dtype; here P products."""
        return self.matmul(torch.eye(self.dimension, dtype=self.dtype, device=self.device))
