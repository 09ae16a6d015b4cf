"""Cook's distances of heads too large to factorise: a sketch, sharpened by the diagonal blocks.

Three ingredients, each cheap:

1. The diagonal blocks M_a of the Hessian, one per output, give q0 = sum_a r_a^2 phi^T M_a^-1 phi
   exactly, which is close to q = g^T H^-1 g but ignores how outputs interact.
2. A Gaussian sketch b = B^T w with H = B^T B gives s = g^T H^-1 b, whose variance over w is q (Johnson &
   Lindenstrauss, 1984; Drineas et al., 2012). The same w through the diagonal blocks gives a second
   variable c of the known variance q0: the regression of s on c takes most of the noise away.
3. log(q / q0) varies little between points. It is fitted on all of them by a few regressors, and each
   point's own estimate is shrunk towards the fit by what its noise is worth (Efron & Morris, 1973), those
   far from it the less: points that are unlike all others, which are those that a ranking is read for,
   stay nearly where they are (as by the relevance functions of Efron & Morris, 1972).

Each point is given its own standard error. Of a hundred classes and more, where each point's model gives
next to nothing to most of them, these are taken together (``operators/leading.py``); what that may be off
by is measured on some points, to first order, and is in the errors.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
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
_ALIKE = 2.0
"""Standard deviations from the fit up to which a value is taken for one of those that were fitted."""
_LEAST, _TINY = 1e-12, 1e-300
"""Variance of an estimate, or share of q0, below which float32 tells nothing; and what keeps 0 / 0 at 0."""
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
        draws: columns of the sketch, even, at least 4; the noise falls as 1 / sqrt(draws).
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
        if draws < 4 or draws % 2:
            raise InputError(f"draws is {draws}; expected an even number of at least 4")
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
        """The scores, and the root mean square of their relative standard errors; of one pass, whose answer
        is kept."""
        if self._found is None or (probabilities and self._found[0].probabilities is None):
            score = partial(self._score, probabilities=probabilities)
            columns = collected(map(score, self._points.batches()), on_chunk)
            q0 = columns.pop("q0")
            found = [torch.from_numpy(columns.pop(name)) for name in ("halves", "noise", "regressors")]
            some = q0 > 0.0  # of the others there is nothing to estimate
            if self._shrinkage is None:
                self._shrinkage = shrinkage(*(column[some] for column in found))
            ratio, own = (column.numpy() for column in self._shrinkage.applied(*found))
            cook, error = q0 * np.exp(ratio), np.hypot(own, self._missing)
            told = float(np.sqrt(np.mean(error[some] ** 2))) if some.any() else 0.0
            self._found = Scores(cook=cook, standard_error=cook * error, **columns), told
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
            error=Expected(
                error, "standard error of the sketch, root mean square over the points", held_to=ACCURACY
            ),
            decrement=self._decrement,
            saturated=self._points.blocks.saturated,
            dropped=self.risk.dropped,
        )

    def _sample(self, batch: Batch, q0: Tensor, leverages: Tensor) -> dict[str, Tensor]:
        """Per point: q0, two independent estimates of log(q / q0), their noise, and its regressors."""
        sketch, control = (self._points.project(batch, block) for block in (self._sketch, self._control))
        q0 = q0.double().clamp_min(0.0)
        halves, noise = log_ratios(sketch.double(), control.double(), q0)
        return {
            "q0": q0,
            "halves": halves,
            "noise": noise,
            "regressors": _regressors(batch.chunk.terms.residual.float(), leverages).double(),
        }


def log_ratios(sketch: Tensor, control: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Two independent estimates of log(q / q0), ``(b, 2)``, of the halves of the draws; the variance of their
    mean, ``(b,)``.

    A draw is a pair (s, c) of normal variables of variances q, sought, and q0, known. Then q is beta^2 q0 +
    sigma^2, of the regression of s on c (Anderson, 1957), here of their unbiased estimates; its relative
    variance is 2 (1 - rho^4) / draws to first order, rho the correlation.

    Args:
        sketch, control: s and c, ``(b, draws)`` float64.
        known: q0, ``(b,)`` float64.
    """
    draws = sketch.shape[1]
    s, c = (variable.unflatten(1, (2, draws // 2)) for variable in (sketch, control))
    ss, sc, cc = s.square().sum(2), (s * c).sum(2), c.square().sum(2).clamp_min(_TINY)
    slope = sc / cc
    apart = (ss - slope * sc).clamp_min(0.0) / (draws // 2 - 1)
    # The square of an estimated slope is too large by the slope's variance.
    ratio = slope.square() + apart * (1.0 / known.clamp_min(_TINY).unsqueeze(1) - 1.0 / cc)
    unexplained = 1.0 - (sc.sum(1).square() / (cc.sum(1) * ss.sum(1)).clamp_min(_TINY)).clamp_max(1.0)
    noise = (2.0 * unexplained * (2.0 - unexplained) / draws).clamp_min(_LEAST)
    some = known > 0.0
    # The logarithm of an estimate is too small by half of its variance, of a half twice that of both.
    halves = torch.where(some.unsqueeze(1), ratio.clamp_min(_LEAST).log() + noise.unsqueeze(1), 0.0)
    return halves, torch.where(some, noise, 1.0)


def _regressors(residual: Tensor, leverages: Tensor) -> Tensor:
    """What the ratio q / q0 may depend on, per point: how the residual spreads over the outputs."""
    square = residual.square()
    weighted = square * leverages
    share = weighted / weighted.sum(1, keepdim=True).clamp_min(1e-30)
    spread = share.square().sum(1)
    signed = residual.sum(1).abs()
    largest = residual.abs().amax(1)
    second = residual.abs().topk(min(2, residual.shape[1]), dim=1).values[:, -1]
    total = leverages.mean(1).clamp_min(1e-30)  # 0: a point without features
    columns = [torch.ones_like(spread), spread, spread**2, largest, largest**2, second, signed, total.log()]
    return torch.cat([torch.stack(columns, 1), share], 1)


@dataclass(frozen=True)
class Shrinkage:
    """Empirical Bayes: a fit on regressors, and each estimate moved towards it; those that are further from
    it than :data:`_ALIKE` standard deviations, by a share that falls with the square of the distance.

    Attributes:
        coefficients: of the fit, one column a half, ``(p, 2)``.
        spread: variance of the true values around the fit.
        of_fit: variance of the fit itself.
    """

    coefficients: Tensor
    spread: float
    of_fit: float

    def applied(self, halves: Tensor, noise: Tensor, regressors: Tensor) -> tuple[Tensor, Tensor]:
        """Shrunken values ``(n,)`` of the estimates ``(n, 2)``, whose means have the variances ``noise``
        (n,), with their regressors ``(n, p)``; and their standard errors."""
        own, fit = halves.mean(1), (regressors @ self.coefficients).mean(1)
        variance = (self.spread + noise).clamp_min(_TINY)
        weight = self.spread / variance
        alike = (_ALIKE**2 * variance / (fit - own).square().clamp_min(_TINY)).clamp_max(1.0)
        step = alike * (1.0 - weight) * (fit - own)
        of_alike = weight * noise + (1.0 - weight).square() * self.of_fit
        error = alike * of_alike + (1.0 - alike) * (noise + step.square())
        return own + step, error.sqrt()


def shrinkage(halves: Tensor, noise: Tensor, regressors: Tensor) -> Shrinkage:
    """How estimates are to be moved towards a fit on ``regressors`` (n, p).

    Args:
        halves: two independent unbiased estimates of each value, ``(n, 2)``. Their product tells the
            spread of the true values around the fit apart from the noise.
        noise: variance of the mean of the two, ``(n,)``.
    """
    if len(halves) == 0:
        return Shrinkage(torch.zeros(regressors.shape[1], 2).to(halves), 0.0, 0.0)
    # Each half has its own fit: a common one would contain the noise that it is to be told from.
    fits, target, spread = torch.zeros_like(halves), halves, float(noise.median())
    certain = 1.0 / (spread + 2.0 * noise)
    gram = (regressors.T * certain) @ regressors
    gram.diagonal().add_(1e-8 * gram.diagonal().mean())
    coefficients = torch.zeros(regressors.shape[1], 2).to(halves)
    for _ in range(3):
        coefficients = torch.linalg.solve(gram, (regressors.T * certain) @ target)
        fits = regressors @ coefficients
        far = 6.0 * (spread + 2.0 * noise).sqrt().unsqueeze(1)
        target = halves.clamp(fits - far, fits + far)  # against heavy tails
        alike = certain * (target == halves).all(1)
        apart = halves - fits
        spread = max(float((alike * apart[:, 0] * apart[:, 1]).sum() / alike.sum().clamp_min(_TINY)), 0.0)
    return Shrinkage(coefficients, spread, float((0.5 * (fits[:, 0] - fits[:, 1])).square().mean()))
