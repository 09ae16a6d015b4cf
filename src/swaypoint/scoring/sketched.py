"""Cook's distances of heads too large to factorise: a sketch, sharpened by the diagonal blocks.

Three ingredients, each cheap:

1. The diagonal blocks M_a of the Hessian, one per output, give q0 = sum_a r_a^2 phi^T M_a^-1 phi
   exactly, which is close to g^T H^-1 g but ignores how outputs interact.
2. A Gaussian sketch b = B^T w with H = B^T B gives (g^T H^-1 b)^2, whose mean over w is g^T H^-1 g
   (Johnson & Lindenstrauss, 1984; Drineas et al., 2012). The same w through the diagonal blocks gives a
   second variable with known mean q0: a control variate that takes most of the noise away.
3. The ratio q / q0 varies little between points. It is fitted on all of them by a few regressors, and
   each point's own estimate is shrunk towards the fit by what the noise is worth (Efron & Morris, 1973).

The standard error that remains is reported; the few points that are unlike all others, and are drawn towards
the fit as well, may be off by more. Of a hundred classes and more, where each point's model gives next to
nothing to most of them, these are taken together (``operators/leading.py``); what that may be off by is
measured on some points, to first order, and is in the error.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.scores import Expected, Facts, Removal, Scores, check_removal, collected
from swaypoint.scoring.sketch_points import NOISE_BYTES, PROBES, Batch, points_of
from swaypoint.scoring.solvers.conjugate_gradient import BlockSolution, block_conjugate_gradient

DRAWS = 160
ACCURACY = 0.1
"""Relative standard error that a sketch is held to: beyond it neighbours in the ranking are anyone's."""
_VECTORS = 12
"""Blocks of vectors that are held at a time: sketch, control, and what conjugate gradients need."""
_TOLERANCE = 3e-3
_MAX_STEPS = 60


def sketch_bytes(head: HeadWeights, draws: int = DRAWS) -> float:
    """Memory that a :class:`SketchedInfluence` takes at most, beside the features."""
    blocks = 2.0 * 4 * head.outputs * head.width**2
    return blocks + _VECTORS * 4.0 * head.outputs * head.width * (draws + 1 + PROBES) + 2 * NOISE_BYTES


class SketchedInfluence(HeadSolution):
    """Approximate Cook's distances of a linear head, in five kinds of pass over the data.

    Args:
        head, data, damping, device: as for :class:`~swaypoint.scoring.risks.head.LinearHeadRisk`.
        draws: columns of the sketch, even; the noise falls as 1 / sqrt(draws).
        seed: of the draws.

    Raises:
        InputError: the data or the head cannot be used, or the loss is a custom callable.
    """

    def __init__(
        self,
        head: HeadWeights,
        data: FeatureBatches,
        *,
        damping: float = 0.0,
        device: torch.device | str = "cpu",
        draws: int = DRAWS,
        seed: int = 0,
    ) -> None:
        if not head.loss.convex:
            raise InputError("a custom loss has no sketch; use solver='exact', or a named loss")
        self.head, self.draws = head, draws
        self._points = points_of(head, data, damping=damping, device=device, draws=draws)
        self.risk, self.points = self._points.risk, self._points.blocks.points
        self._penalty = self.risk.range_penalty().float()
        sketch, control = self._draw(torch.Generator().manual_seed(seed))
        self._control = self._precondition(control)
        gradient, probes = self._mean_gradient(), self._points.probes()
        solution = self._solve(torch.cat([sketch, gradient, probes], 1))
        self._steps, self._residual = solution.steps, float(solution.residuals.max())
        self._sketch, solved, probed = solution.value.split([draws, 1, probes.shape[1]], 1)
        self._missing = self._points.missing(probed)
        self._found: tuple[Scores, float] | None = None
        self._shrinkage: Shrinkage | None = None
        self._decrement = 0.5 * float((gradient.double() * solved.double()).sum())

    # -- passes ---------------------------------------------------------------------------------

    def _draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sketch b and control b', (C, draws, k), over sqrt n."""
        scale = self.points**-0.5
        sketch, control = (part * scale for part in self._points.draw(self.draws, generator))
        if bool(self._penalty.any()):
            root = torch.linalg.cholesky_ex(self._penalty)[0]
            extra = torch.randn(sketch.shape, generator=generator).to(sketch) @ root.T
            control, sketch = control + extra, sketch + self._without_gauge(extra)
        return sketch, control

    def _solve(self, right: Tensor) -> BlockSolution:
        return block_conjugate_gradient(
            self.hessian_product,
            right,
            precondition=self._precondition,
            tolerance=_TOLERANCE,
            max_steps=_MAX_STEPS,
        )

    def _precondition(self, vectors: Tensor) -> Tensor:
        """(C, k, D) through the inverse diagonal blocks."""
        return vectors @ self._points.blocks.inverses

    def hessian_product(self, vectors: Tensor) -> Tensor:
        """H V for a block of vectors ``(C, k, D) -> (C, k, D)``, float32."""
        product = self._points.product(vectors) / self.points
        return product + self._without_gauge(vectors) @ self._penalty

    def _without_gauge(self, vectors: Tensor) -> Tensor:
        """Softmax ignores a shift of all outputs: no gradient has one, and penalising it would only
        leave conjugate gradients a tiny eigenvalue to find."""
        return vectors - vectors.mean(0) if self.head.loss.shift_invariant else vectors

    def _mean_gradient(self) -> Tensor:
        """Gradient of the mean loss and its ridge, (C, 1, k) float32."""
        return self._without_gauge(self._points.blocks.gradient @ self._points.map).float().unsqueeze(1)

    # -- scores ---------------------------------------------------------------------------------

    def scores(
        self,
        *,
        removal: Removal = "infinitesimal",
        probabilities: bool = False,
        on_chunk: Callable[[int], None] | None = None,
    ) -> Scores:
        """See :meth:`HeadSolution.scores`; estimates with their standard errors, and the by-products with
        each point's outputs decoupled, see :class:`~swaypoint.scoring.diagonal_blocks.DiagonalBlocks`."""
        check_removal(removal, ("infinitesimal",))
        return self._estimates(on_chunk, probabilities=probabilities)[0]

    def _estimates(
        self, on_chunk: Callable[[int], None] | None = None, *, probabilities: bool = False
    ) -> tuple[Scores, float]:
        """The scores, and the standard error of their ratio to q0; of one pass, whose answer is kept."""
        if self._found is None or (probabilities and self._found[0].probabilities is None):
            score = partial(self._score, probabilities=probabilities)
            columns = collected(map(score, self._points.batches()), on_chunk)
            q0 = columns.pop("q0")
            halves, regressors = (torch.from_numpy(columns.pop(name)) for name in ("halves", "regressors"))
            if self._shrinkage is None:
                self._shrinkage = shrinkage(halves, regressors)
            ratio = self._shrinkage.applied(halves, regressors)
            error = math.hypot(self._shrinkage.error, self._missing)
            cook = q0 * ratio.clamp_min(0.0).numpy()
            self._found = Scores(cook=cook, standard_error=q0 * error, **columns), error
        return self._found

    def unseen(self, data: FeatureBatches) -> SketchedInfluence:
        """See :meth:`HeadSolution.unseen`; the fit of the ratio is that of the points seen, and directions
        of the features that none of them has are projected out."""
        self._estimates()
        other = copy.copy(self)
        other._points, other._found = self._points.unseen(data), None
        other.risk = other._points.risk
        return other

    def _score(self, batch: Batch, *, probabilities: bool) -> dict[str, Tensor]:
        q0, leverages = self._points.leverages(batch)
        left_out = self._points.blocks.leave_out(batch.chunk, leverages, probabilities=probabilities)
        return self._sample(batch, q0, leverages) | left_out

    def factor(self) -> None:
        return None

    def facts(self) -> Facts:
        error, parameters = self._estimates()[1], self.head.outputs * self._points.map.shape[1]
        return Facts(
            solver=f"sketch of {self.draws} draws, {parameters:,} parameters{self._points.told}",
            outcome=f"approximate: conjugate gradients to {self._residual:.1g} in {self._steps} steps,"
            f" relative standard error {error:.1%}",
            precision="float32",
            error=Expected(error, "standard error of the sketch, that of most points", held_to=ACCURACY),
            decrement=self._decrement,
            saturated=self._points.blocks.saturated,
            dropped=self.risk.dropped,
        )

    def _sample(self, batch: Batch, q0: Tensor, leverages: Tensor) -> dict[str, Tensor]:
        """Per point: q0, two independent estimates of q / q0, and its regressors."""
        sketch = self._points.project(batch, self._sketch).square()
        control = self._points.project(batch, self._control).square() - q0.unsqueeze(1)
        ratio = ((sketch - control) / q0.clamp_min(1e-30).unsqueeze(1)).double()
        return {
            "q0": q0.double(),
            "halves": torch.stack([half.mean(1) for half in ratio.chunk(2, 1)], 1),
            "regressors": _regressors(batch.chunk.terms.residual.float(), leverages).double(),
        }


def _regressors(residual: Tensor, leverages: Tensor) -> Tensor:
    """What the ratio q / q0 may depend on, per point: how the residual spreads over the outputs."""
    square = residual.square()
    weighted = square * leverages
    share = weighted / weighted.sum(1, keepdim=True).clamp_min(1e-30)
    spread = share.square().sum(1)
    signed = residual.sum(1).abs()
    largest = residual.abs().amax(1)
    second = residual.abs().topk(min(2, residual.shape[1]), dim=1).values[:, -1]
    total = leverages.mean(1)
    columns = [torch.ones_like(spread), spread, spread**2, largest, largest**2, second, signed, total.log()]
    return torch.cat([torch.stack(columns, 1), share], 1)


@dataclass(frozen=True)
class Shrinkage:
    """Empirical Bayes: a fit on regressors, and each estimate moved towards it.

    Attributes:
        coefficients: of the fit, one column a half, ``(p, 2)``.
        weight: of a point's own estimate.
        error: standard error of the shrunken values, one number for all.
    """

    coefficients: Tensor
    weight: float
    error: float

    def applied(self, halves: Tensor, regressors: Tensor) -> Tensor:
        """Shrunken values ``(n,)`` of the estimates ``(n, 2)`` with their regressors ``(n, p)``."""
        fit = (regressors @ self.coefficients).mean(1)
        return fit + self.weight * (halves.mean(1) - fit)


def shrinkage(halves: Tensor, regressors: Tensor) -> Shrinkage:
    """How estimates are to be moved towards a fit on ``regressors`` (n, p).

    Args:
        halves: two independent unbiased estimates of each value, ``(n, 2)``. Their product tells the
            spread of the true values around the fit apart from the noise.
    """
    noise = float((0.5 * (halves[:, 0] - halves[:, 1])).square().median()) / 0.455  # median of chi^2_1
    gram = regressors.T @ regressors
    gram.diagonal().add_(1e-8 * gram.diagonal().mean())
    # Each half has its own fit: a common one would contain the noise that it is to be told from.
    fits, target, coefficients = torch.zeros_like(halves), halves, torch.zeros_like(gram[:, :2])
    for _ in range(3):
        coefficients = torch.linalg.solve(gram, regressors.T @ target)
        fits = regressors @ coefficients
        target = halves.clamp(fits - 6 * noise**0.5, fits + 6 * noise**0.5)  # against heavy tails
    apart = target - fits
    excess = max(float((apart[:, 0] * apart[:, 1]).mean()), 0.0)
    weight = excess / max(excess + noise, torch.finfo(halves.dtype).tiny)
    of_fit = float((0.5 * (fits[:, 0] - fits[:, 1])).square().mean())
    return Shrinkage(coefficients, weight, (weight * noise + (1 - weight) ** 2 * of_fit) ** 0.5)
