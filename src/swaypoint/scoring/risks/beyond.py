"""What points that a head was not fitted to have in directions of the features that no point of its fit has.

A category that only they are of, a unit that was dead: the loss has no curvature there, only the ridge has.
With parameters a in the range of the fit's features and b beyond it, H is block by block M + P_aa, P_ab and
P_bb, P the penalty, and g^T H^-1 g is by elimination of b that of g_a - P_ab P_bb^-1 g_b in the range, plus
g_b^T P_bb^-1 g_b.
"""

from __future__ import annotations

import torch
from torch import Tensor

from swaypoint.scoring.operators.packed import pack_index
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import LinearHeadRisk

_APART = 1e-6
"""Square norm beyond the fit by that in whitened coordinates, from which on it is no rounding."""


class Beyond:
    """Of the points that a head was not fitted to.

    Args:
        risk: after the pass that found the range of its features; with directions beyond it.

    Attributes:
        grams: what the residuals' output coordinates are squared with, packed, ``(G, Q, 1)`` float64.
    """

    def __init__(self, risk: LinearHeadRisk) -> None:
        found = risk.range
        assert found is not None
        null, penalty = found.null, risk.head.penalty(risk.damping).to(risk.device)
        self._null, self._within = null, found.map
        weighted = penalty.unsqueeze(1) * null
        self._inverse = torch.linalg.pinv(null.T @ weighted, hermitian=True)  # zero without a ridge
        self._map = found.map - null @ self._inverse @ (weighted.T @ found.map)
        # r^T r of a residual in output coordinates, r_m = B^T r with r in the range of B.
        index = pack_index(risk.outputs[0].shape[1], risk.device)
        grams = [torch.linalg.inv(basis.T @ basis).flatten()[index] for basis in risk.outputs]
        self.grams = torch.stack(grams).unsqueeze(2)

    def features(self, chunk: Chunk) -> Tensor:
        """phi in the feature coordinates, less what the free parameters make up for, ``(k, b)`` float64."""
        return self._map.T @ chunk.features

    def blocks(self, chunk: Chunk, rows: slice) -> Tensor:
        """What the distinct entries of A_i have beside those of :meth:`features`, of some of the points,
        ``(G, Q, b)`` float64: :attr:`grams` times :meth:`outside`."""
        return self.grams * self.outside(chunk, rows)

    def outside(self, chunk: Chunk, rows: slice) -> Tensor:
        """g_b^T P_bb^-1 g_b of some of the points, per unit of residual, ``(b,)`` float64."""
        outside = self._null.T @ chunk.features[:, rows]
        return (outside * (self._inverse @ outside)).sum(0)

    def apart(self, chunk: Chunk) -> Tensor:
        """Which points have something there, ``(b,)`` bool: nothing among the others is like it."""
        outside = (self._null.T @ chunk.features).square().sum(0)
        return outside > _APART * (self._within.T @ chunk.features).square().sum(0)
