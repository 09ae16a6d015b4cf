"""What a solver sees of a model: a curvature known by its products."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


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
