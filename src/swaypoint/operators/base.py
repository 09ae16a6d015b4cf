"""The two things a solver sees: a curvature (symmetric R^P -> R^P) and batches of gradients."""

from __future__ import annotations

from abc import ABC, abstractmethod

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
