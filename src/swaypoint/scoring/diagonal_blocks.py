"""Leave-one-out of a large head with each point's outputs decoupled.

The blocks A_i = U_i^T H^-1 U_i (mathematics of ``operators/removal.py``) are too large to have for
every point when there are many outputs. Their diagonal, from the diagonal blocks of H, one per output,
is cheap and close: outputs interact little in what removing one point does.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import LinearHeadRisk
from swaypoint.scoring.scores import kept, prediction
from swaypoint.scoring.solvers.cholesky import factorize

Moments = Callable[[Iterator[Chunk], Tensor], Iterator[Chunk]]
"""Adds to the blocks while it hands the chunks on, and once there are no more."""


class DiagonalBlocks:
    """The diagonal blocks of the Hessian, inverted, and the sums that come with their pass.

    Args:
        risk: after :meth:`LinearHeadRisk.feature_map`.
        moments: adds each class's sum of curvature times phi phi^T; default: of every point.

    Attributes:
        inverses: (C, k, k) float32 in the risk's feature coordinates.
        gradient: of the mean loss and its ridge, ``(C, D)`` float64.
        saturated: share of points with p_y > 1 - 1e-6; None for other losses than a classifier's.
    """

    def __init__(self, risk: LinearHeadRisk, moments: Moments | None = None) -> None:
        self._risk, self._removes = risk, True
        blocks = torch.zeros(risk.head.outputs, *risk.range_penalty().shape, device=risk.device)
        gradient = torch.zeros_like(risk.matrix)
        saturated, self.points = 0.0, 0
        for chunk in (moments or self._moments)(risk.chunks(), blocks):
            gradient += (chunk.features @ chunk.terms.residual).T
            saturated += float(risk.saturated(chunk))
            self.points += len(chunk)
        blocks /= self.points
        blocks += risk.range_penalty().float()
        self.inverses = invert(blocks)
        penalty = risk.head.penalty(0.0).to(risk.matrix)
        self.gradient = gradient / self.points + penalty * risk.matrix
        self.saturated = saturated / self.points if risk.head.loss.classifies else None

    def _moments(self, chunks: Iterator[Chunk], blocks: Tensor) -> Iterator[Chunk]:
        for chunk in chunks:
            features = self._risk.features(chunk).float()
            diagonal = chunk.terms.curvature.diagonal().float()
            for a, block in enumerate(blocks):
                block.addmm_(features * diagonal[:, a], features.T)
            yield chunk

    def unseen(self, data: FeatureBatches) -> DiagonalBlocks:
        """The same for points that the head was not fitted to."""
        other = copy.copy(self)
        other._risk, other._removes = self._risk.of(data), False
        return other

    def leverages(self, features: Tensor) -> Tensor:
        """phi^T M_a^-1 phi for each output a: ``(b, k) -> (b, C)``, float32."""
        # One output at a time: a product of all at once would hold (b, C, k).
        return torch.stack([((features @ inverse) * features).sum(1) for inverse in self.inverses], 1)

    def leave_out(
        self, chunk: Chunk, leverages: Tensor | None = None, *, probabilities: bool = False
    ) -> dict[str, Tensor]:
        """Loss, leave-one-out loss, margin, suggested label, label and leverage of each point, and, if asked
        for, its leave-one-out probabilities; of :meth:`unseen` ones as the head says it."""
        leverage = self._risk.leverages(self._risk.features(chunk))
        if not self._removes:
            terms, labels = chunk.terms, self._risk.head.loss.labels(chunk.targets)
            means = self._risk.head.loss.mean(chunk.logits)
            return {
                "loss": terms.value,
                "loo_loss": terms.value,
                "leverage": leverage / (1.0 + leverage),
                **prediction(chunk, means, terms.probabilities, labels),
                **(kept(terms.probabilities, terms.probabilities) if probabilities else {}),
            }
        if leverages is None:
            leverages = self.leverages(self._risk.features(chunk).T.float())
        loss, a = self._risk.head.loss, leverages.double() / self.points
        shift = a * chunk.terms.curvature.solve_removal(a, chunk.terms.residual)
        logits = chunk.logits + shift
        terms = loss.terms(logits, chunk.targets)
        return {
            "loss": chunk.terms.value,
            "loo_loss": terms.value,
            "leverage": chunk.terms.weighed(leverage),
            **prediction(chunk, loss.mean(logits), terms.probabilities, loss.labels(chunk.targets)),
            **(kept(terms.probabilities, chunk.terms.probabilities) if probabilities else {}),
        }


def invert(blocks: Tensor) -> Tensor:
    """Inverses of ``(C, k, k)`` positive semi-definite blocks, float32, by Cholesky in float64; in their
    place, and never all of them in float64."""
    for block in blocks:
        block.copy_(_inverse(block.double()))
    return blocks


def _inverse(block: Tensor) -> Tensor:
    # Classes that the model all but rules out leave almost no curvature: keep Cholesky alive.
    block.diagonal().add_(1e-7 * block.diagonal().mean().clamp_min(1e-30))
    factor, failed = torch.linalg.cholesky_ex(block)
    if bool(failed):  # sums in float32: a direction may have less curvature than their rounding
        noise = torch.finfo(torch.float32).eps
        return factorize(block.unsqueeze(0), noise=noise).matrix[0].float()
    return torch.cholesky_inverse(factor).float()
