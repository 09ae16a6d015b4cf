"""A curvature that is Kronecker-factored layer by layer (K-FAC, EK-FAC), in its eigenbasis."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class KroneckerBlock:
    """(Q_out x Q_in) diag(values) (Q_out x Q_in)^T on the parameters at ``index``.

    Attributes:
        index: positions in R^P of the layer's matrix, ``(out, in)`` int64; the bias is a column.
        outputs, inputs: orthonormal eigenvectors, ``(out, out)`` and ``(in, in)``.
        values: eigenvalues in that basis, ``(out, in)``, without ridge and damping.
    """

    index: Tensor
    outputs: Tensor
    inputs: Tensor
    values: Tensor

    def rotate(self, rows: Tensor) -> Tensor:
        """Rows of R^P in the block's eigenbasis: ``(b, P) -> (b, out, in)``."""
        matrices = rows[:, self.index.flatten()].view(-1, *self.index.shape)
        return self.outputs.T @ matrices @ self.inputs

    def rotate_back(self, matrices: Tensor) -> Tensor:
        """``(b, out, in)`` in the eigenbasis as entries at ``index``: ``(b, out * in)``."""
        return (self.outputs @ matrices @ self.inputs.T).flatten(1)


@dataclass(frozen=True)
class Kronecker:
    """Kronecker blocks, and a diagonal for the parameters of all other layers.

    ``rest`` (m,) positions, ``diagonal`` (m,); ``ridge`` (P,) is on the diagonal of everything.
    """

    blocks: list[KroneckerBlock]
    rest: Tensor
    diagonal: Tensor
    ridge: Tensor
