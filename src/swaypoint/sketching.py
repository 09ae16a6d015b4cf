"""Cook's distances of heads too large to factorise: a sketch, sharpened by the diagonal blocks.

Three ingredients, each cheap:

1. The diagonal blocks M_a of the Hessian, one per output, give q0 = sum_a r_a^2 phi^T M_a^-1 phi
   exactly, which is close to g^T H^-1 g but ignores how outputs interact.
2. A Gaussian sketch b = B^T w with H = B^T B gives (g^T H^-1 b)^2, whose mean over w is g^T H^-1 g
   (Johnson & Lindenstrauss, 1984; Drineas et al., 2012). The same w through the diagonal blocks gives a
   second variable with known mean q0: a control variate that takes most of the noise away.
3. The ratio q / q0 varies little between points. It is fitted on all of them by a few regressors, and
   each point's own estimate is shrunk towards the fit by what the noise is worth (Efron & Morris, 1973).

The standard error that remains is reported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.risks.linear_head import Chunk, HeadWeights, LinearHeadRisk

DRAWS = 64
_TOLERANCE = 3e-3
_MAX_STEPS = 60
_BLOCK = 1024


@dataclass(frozen=True)
class SketchOutcome:
    """How it went: draws, conjugate gradient steps and residual, expected relative standard error."""

    draws: int
    steps: int
    residual: float
    standard_error: float


class SketchedInfluence:
    """Approximate Cook's distances of a linear head, in five kinds of pass over the data.

    Args:
        head, data, damping, device: as for :class:`~swaypoint.risks.linear_head.LinearHeadRisk`.
        draws: columns of the sketch; the noise falls as 1 / sqrt(draws).
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
        self.risk = LinearHeadRisk(head, data, damping=damping, device=device)
        self._map = self.risk.feature_map()
        self._penalty = self.risk.range_penalty().float()
        self.points = 0
        blocks, sketch, control = self._accumulate(torch.Generator().manual_seed(seed))
        self._inverses = self._invert(blocks)
        self._control = self._precondition(control)
        self._sketch, self._steps, self._residual = self._solve(sketch)

    # -- passes ---------------------------------------------------------------------------------

    def _chunks(self) -> Iterator[tuple[Chunk, Tensor]]:
        for chunk in self.risk.chunks():
            yield chunk, (self._map.T @ chunk.features).T.float().contiguous()

    def _accumulate(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Diagonal blocks (C, k, k), sketch b and control b' (C, draws, k), all over n or sqrt n."""
        outputs, width, device = self.head.outputs, self._map.shape[1], self.risk.device
        blocks = torch.zeros(outputs, width, width, device=device)
        sketch = torch.zeros(outputs, self.draws, width, device=device)
        control = torch.zeros_like(sketch)
        for chunk, features in self._chunks():
            noise = torch.randn(len(features), outputs, self.draws, generator=generator).to(device)
            curvature = chunk.terms.curvature
            diagonal = curvature.diagonal().float()
            for a in range(outputs):
                blocks[a] += (features * diagonal[:, a : a + 1]).T @ features
            sketch += torch.einsum("bck,bd->ckd", curvature.sqrt_matmul(noise.double()).float(), features)
            control += torch.einsum("bck,bd->ckd", diagonal.sqrt().unsqueeze(2) * noise, features)
            self.points += len(features)
        penalty = torch.linalg.cholesky_ex(self._penalty)[0] if bool(self._penalty.any()) else None
        blocks, scale = blocks / self.points, self.points**-0.5
        sketch, control = sketch * scale, control * scale
        if penalty is not None:
            extra = torch.randn(sketch.shape, generator=generator).to(device) @ penalty.T
            blocks, sketch, control = blocks + self._penalty, sketch + extra, control + extra
        return blocks, sketch, control

    def _invert(self, blocks: Tensor) -> Tensor:
        exact = blocks.double()
        # Classes that the model all but rules out leave almost no curvature: keep Cholesky alive.
        jitter = 1e-7 * exact.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)
        exact.diagonal(dim1=1, dim2=2).add_(jitter.unsqueeze(1))
        return torch.cholesky_inverse(torch.linalg.cholesky(exact)).float()

    def _precondition(self, vectors: Tensor) -> Tensor:
        """(C, k, D) through the inverse diagonal blocks."""
        return vectors @ self._inverses

    def hessian_product(self, vectors: Tensor) -> Tensor:
        """H V for a block of vectors ``(C, k, D) -> (C, k, D)``, float32."""
        outputs, k, width = vectors.shape
        flat = vectors.reshape(outputs * k, width)
        product = torch.zeros_like(flat)
        for chunk, features in self._chunks():
            logits = (features @ flat.T).view(-1, outputs, k)
            curved = chunk.terms.curvature.single().matmul(logits)
            product += curved.reshape(len(features), -1).T @ features
        return (product / self.points).view_as(vectors) + vectors @ self._penalty

    def _solve(self, right: Tensor) -> tuple[Tensor, int, float]:
        return conjugate_gradients(
            self.hessian_product, right, self._precondition, tolerance=_TOLERANCE, max_steps=_MAX_STEPS
        )

    # -- scores ---------------------------------------------------------------------------------

    def cooks_distance(self) -> tuple[Tensor, Tensor, SketchOutcome]:
        """Estimates ``(n,)`` float64, their standard errors ``(n,)``, and how it went."""
        known, mean, noise, regressors = [], [], [], []
        for chunk, features in self._chunks():
            residual = chunk.terms.residual.float()
            leverages = torch.einsum("bd,cde,be->bc", features, self._inverses, features)
            q0 = (residual.square() * leverages).sum(1)
            sketch = self._project(self._sketch, residual, features).square()
            control = self._project(self._control, residual, features).square() - q0.unsqueeze(1)
            known.append(q0.double())
            ratio = (sketch - control) / q0.clamp_min(1e-30).unsqueeze(1)
            mean.append(ratio.mean(1).double())
            noise.append((ratio.var(1) / self.draws).double())
            regressors.append(_regressors(residual, leverages))
        q0 = torch.cat(known)
        ratio, error = shrink(torch.cat(mean), torch.cat(noise), torch.cat(regressors).double())
        outcome = SketchOutcome(self.draws, self._steps, self._residual, float(error.median()))
        return q0 * ratio, q0 * error, outcome

    def _project(self, vectors: Tensor, residual: Tensor, features: Tensor) -> Tensor:
        """v^T g for each vector and point: (C, k, D), (b, C), (b, D) -> (b, k)."""
        outputs, k, _ = vectors.shape
        logits = (features @ vectors.reshape(outputs * k, -1).T).view(-1, outputs, k)
        return torch.einsum("bck,bc->bk", logits, residual)


def conjugate_gradients(
    matmul: Callable[[Tensor], Tensor],
    right: Tensor,
    precondition: Callable[[Tensor], Tensor],
    *,
    tolerance: float,
    max_steps: int,
) -> tuple[Tensor, int, float]:
    """Preconditioned conjugate gradients on many right-hand sides at once, (C, k, D), each with its
    own step lengths. Returns the solutions, the steps, and the largest relative residual."""

    def dot(x: Tensor, y: Tensor) -> Tensor:
        return (x * y).sum((0, 2), keepdim=True)

    solution, residual = torch.zeros_like(right), right.clone()
    conditioned = precondition(residual)
    direction, decrease = conditioned.clone(), dot(residual, conditioned)
    first = decrease.clamp_min(torch.finfo(right.dtype).tiny)
    for step in range(max_steps):
        relative = float((decrease / first).max().clamp_min(0)) ** 0.5
        if relative <= tolerance:
            return solution, step, relative
        product = matmul(direction)
        length = decrease / dot(direction, product).clamp_min(torch.finfo(right.dtype).tiny)
        solution += length * direction
        residual -= length * product
        conditioned = precondition(residual)
        previous, decrease = decrease, dot(residual, conditioned)
        direction = conditioned + (decrease / previous.clamp_min(torch.finfo(right.dtype).tiny)) * direction
    return solution, max_steps, float((decrease / first).max().clamp_min(0)) ** 0.5


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


def shrink(estimate: Tensor, noise: Tensor, regressors: Tensor) -> tuple[Tensor, Tensor]:
    """Empirical Bayes: a fit on ``regressors`` (n, p), and each estimate moved towards it.

    Args:
        estimate: unbiased, noisy ``(n,)``.
        noise: their variances ``(n,)``, themselves estimated: only the pooled level is trusted.

    Returns:
        Shrunken values and standard errors ``(n,)``.
    """
    variance = noise.median().clamp_min(1e-30)
    gram = regressors.T @ regressors
    gram.diagonal().add_(1e-8 * gram.diagonal().mean())
    # Heavy-tailed noise: two rounds of clipping keep single points from bending the fit.
    target = estimate.clone()
    for _ in range(3):
        fit = regressors @ torch.linalg.solve(gram, regressors.T @ target)
        target = torch.minimum(torch.maximum(estimate, fit - 4 * variance.sqrt()), fit + 4 * variance.sqrt())
    excess = ((target - fit).square().mean() - noise.clamp_max(16 * variance).mean()).clamp_min(0.0)
    weight = excess / (excess + noise.clamp_min(variance))
    return fit + weight * (estimate - fit), (excess * (1 - weight)).clamp_min(0.0).sqrt()
