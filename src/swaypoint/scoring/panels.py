"""Exact Cook's distances of heads too large for a square matrix: the Hessian row panel by row panel.

One panel is a few outputs: their moments with all outputs before are gathered from the data, factorised,
and kept; then g^T H^-1 g = ||L^-1 g||^2 by forward substitution. Half the memory of a square in
float32, and two thirds of the work of an inverse.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.scoring.diagonal_blocks import DiagonalBlocks
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.operators.moments import FeaturePairs
from swaypoint.scoring.operators.packed import unpack_index
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.scores import Expected, Facts, Removal, Scores, check_removal, collected
from swaypoint.scoring.solvers.panels import TiledCholesky

ACCURACY = 1e-3
"""Relative error that panels are held to: three digits tell one point from the next, and there is no float64
to fall back on, which would take twice the memory."""
_SLACK_BYTES = 1 << 30
_PAIR_BYTES = 32
"""Per moment while it is summed: float32 and float64 in each of two threads, and the total."""
_CHUNK = 2048
_PANEL = 4
"""Outputs a panel: products of fewer rows would spend much of their time packing their operands."""


class TiledInfluence(HeadSolution):
    """A head, its data and the Cholesky factor of its Hessian in float32.

    Args:
        head, data, damping, device: as for :class:`~swaypoint.scoring.risks.head.LinearHeadRisk`.
        on_panel: called with the number of outputs after each panel.

    Raises:
        InputError: the data or the head cannot be used, the factor is larger than the memory, or the
            Hessian is singular.
    """

    def __init__(
        self,
        head: HeadWeights,
        data: FeatureBatches,
        *,
        damping: float = 0.0,
        device: torch.device | str = "cpu",
        on_panel: Callable[[int], None] | None = None,
    ) -> None:
        self.head = head
        self.risk = LinearHeadRisk(head, data, damping=damping, device=device, chunk=_CHUNK)
        if len(self.risk.outputs) != 1:
            raise InputError(f"{head.loss.name} does not couple outputs; its blocks need no tiles")
        self.risk.feature_map()
        self._basis = self.risk.outputs[0]
        self._blocks = DiagonalBlocks(self.risk)
        self.points = self._blocks.points
        self._factor = TiledCholesky()
        for group in _groups(self._basis.shape[1], self.head.width):
            self._extend(group, on_panel or (lambda _: None))

    def _extend(self, outputs: range, on_panel: Callable[[int], None]) -> None:
        """Factorise the panels of ``outputs``: one pass over the data for all of them."""
        index = unpack_index(self._basis.shape[1], self.risk.device)
        wanted = torch.cat([index[i, : i + 1] for i in outputs])
        width = self.risk.range_penalty().shape[0]
        pairs = FeaturePairs(width, torch.float32, self.risk.device)

        def moments_of(chunk: Chunk) -> Tensor:
            packed = chunk.terms.curvature.project(self._basis)[wanted].float()
            return pairs.accumulate(packed, self.risk.features(chunk))

        total: Tensor | None = None
        for part in self.risk.map(moments_of):
            total = part if total is None else total.add_(part)
        assert total is not None
        total /= self.points
        ridge, mixing = self.risk.range_penalty(), self._basis.T @ self._basis
        rows = iter(total)
        for start in range(outputs.start, outputs.stop, _PANEL):
            heights = range(start, min(start + _PANEL, outputs.stop))
            panel = torch.zeros(len(heights) * width, heights.stop * width, device=self.risk.device)
            tiles = panel.view(len(heights), width, heights.stop, width)
            for row, i in enumerate(heights):
                for j in range(i + 1):
                    tiles[row, :, j] = pairs.unpack(next(rows)) + mixing[i, j] * ridge
            self._factor.append(panel)
            on_panel(len(heights))

    def scores(
        self,
        *,
        removal: Removal = "infinitesimal",
        probabilities: bool = False,
        on_chunk: Callable[[int], None] | None = None,
    ) -> Scores:
        """See :meth:`HeadSolution.scores`; the by-products are those with each point's outputs decoupled, see
        :class:`~swaypoint.scoring.diagonal_blocks.DiagonalBlocks`."""
        check_removal(removal, ("infinitesimal",))
        score = partial(self._score, probabilities=probabilities)
        return Scores(**collected(map(score, self.risk.chunks()), on_chunk))

    def unseen(self, data: FeatureBatches) -> TiledInfluence:
        """See :meth:`HeadSolution.unseen`; directions of the features that no point of the fit has are
        projected out."""
        other = copy.copy(self)
        other.risk, other._blocks = self.risk.of(data), self._blocks.unseen(data)
        return other

    def _score(self, chunk: Chunk, *, probabilities: bool) -> dict[str, Tensor]:
        residuals = self.risk.residuals(chunk)[0].float()
        features = self.risk.features(chunk).float()
        gradients = (residuals.unsqueeze(1) * features).flatten(0, 1)
        cook = _square_norms(self._factor.forward(gradients))
        return {"cook": cook} | self._blocks.leave_out(chunk, probabilities=probabilities)

    def factor(self) -> None:
        return None

    def facts(self) -> Facts:
        condition = self._factor.condition
        gradient = self.risk.gradient_coordinates(self._blocks.gradient)[0]
        decrement = _square_norms(self._factor.forward(gradient.float().unsqueeze(1)))
        return Facts(
            solver=f"closed form, Cholesky of {self._factor.dimension:,} parameters in panels",
            outcome="exact",
            precision="float32",
            error=Expected(
                torch.finfo(torch.float32).eps * condition,
                "rounding in float32 of the worst scores, estimated from a lower bound of the condition"
                " number",
                held_to=ACCURACY,
            ),
            decrement=0.5 * float(decrement),
            saturated=self._blocks.saturated,
            dropped=self.risk.dropped,
            condition=condition,
        )


def _square_norms(columns: Tensor) -> Tensor:
    """Square norm of each column, summed in float64 without a float64 copy of the whole."""
    parts = [part.double().square().sum(0) for part in columns.split(4096)]
    return torch.stack(parts).sum(0)


def _groups(outputs: int, width: int) -> list[range]:
    """Consecutive outputs whose moments are gathered in one pass: many at first, while the factor is
    small, and never so many that both together outgrow the whole factor by ``_SLACK_BYTES``."""
    tile, moments = 4 * width**2, _PAIR_BYTES * width * (width + 1) // 2
    whole = tile * outputs * (outputs + 1) // 2 + _SLACK_BYTES
    groups, first = [], 0
    while first < outputs:
        last, pairs = first + 1, first + 1
        while last < outputs:
            factor = tile * (last + 1) * (last + 2) // 2
            if factor + (pairs + last + 1) * moments > whole:
                break
            last, pairs = last + 1, pairs + last + 1
        groups.append(range(first, last))
        first = last
    return groups


def panel_bytes(head: HeadWeights) -> float:
    """Memory that a :class:`TiledInfluence` takes at most, beside the features: half a square in float32, the
    moments of a group of outputs, the diagonal blocks, and the coefficients of some points."""
    dimension, pairs = float(head.outputs * head.width), head.outputs * (head.outputs + 1) / 2
    blocks = 8.0 * head.outputs * head.width**2
    return 2.0 * dimension**2 + _SLACK_BYTES + blocks + 16.0 * pairs * (head.outputs + _CHUNK)
