"""The head's own optimum on frozen features: a convex problem, solved by Newton-CG.

Influence assumes a stationary point. A head trained by stochastic gradients is near one at best;
its features being frozen, the last layer's optimum is one convex problem away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.diagonal_blocks import DiagonalBlocks
from swaypoint.scoring.operators.logits import LogitCurvature
from swaypoint.scoring.operators.moments import FeaturePairs, HeadCurvature
from swaypoint.scoring.operators.spectrum import eigh
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.solvers.conjugate_gradient import block_conjugate_gradient

TOLERANCE = 1e-9
"""Gradient norm at the optimum, relative to the root mean square of the points' residuals, in the
coordinates of the start, where its Hessian is near the identity."""
_FLOOR = 1e-7
"""Curvature given to directions that no point sees, relative to the seen ones."""
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
"""Among which :func:`refit_ridge` chooses."""
SHARES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
"""The same for features of any scale, see :func:`ridges_of`."""
_EXACT_WORK = 5e11
"""n P^2 up to which left-out points are predicted by the whole Hessian."""
_CHUNK, _SAMPLE = 2048, 16_384
_LEAST, _ROWS, _WORTH, _MOST, _COUPLED = 4096, 8, 16, 2048, 32
"""Points of the sample that coordinates are taken from; as many for each parameter where its whole Hessian is
factorised: of so many times its points, up to so many parameters, and classes of a softmax."""


@dataclass(frozen=True)
class Refit:
    """The head at its optimum, and what it took.

    ``gradient`` is the final relative gradient norm (see ``TOLERANCE``).
    """

    head: HeadWeights
    steps: int
    gradient: float
    converged: bool

    @property
    def outcome(self) -> str:
        """One sentence, with the remedy where it did not converge."""
        if self.converged:
            return f"optimum reached in {self.steps} Newton steps (relative gradient {self.gradient:.1e})"
        return (
            f"no optimum after {self.steps} Newton steps (relative gradient {self.gradient:.1e}); the classes"
            " are probably separable by these features, where the loss has no minimum: pass l2 > 0"
        )


def refit_head(
    head: HeadWeights,
    data: FeatureBatches,
    *,
    tolerance: float = TOLERANCE,
    max_steps: int = 100,
    device: torch.device | str = "cpu",
) -> Refit:
    """Minimise mean loss + ridge over the head's parameters, starting from ``head``, in float64.

    Raises:
        InputError: the data cannot be used.
    """
    risk = LinearHeadRisk(head, data, dtype=torch.float64, device=device)
    matrix, _ = risk.matrix, risk.outputs  # looks at a sample: a gradient that is NaN is refused by its row
    value, gradient, scale = risk.objective(matrix)
    start = _coordinates(risk, matrix)
    steps, relative = 0, torch.inf
    while True:
        relative = float(start.reduce(gradient).norm()) / max(scale, torch.finfo(torch.float64).tiny)
        if relative <= tolerance or steps == max_steps:
            break
        here = _coordinates(risk, matrix) if steps else start
        reduced = here.reduce(gradient)
        # Superlinear: solve as loosely as the gradient is far from zero (Dembo & Steihaug, 1983).
        solution = block_conjugate_gradient(
            _hessian(risk, matrix, here),
            -reduced.unsqueeze(1),
            tolerance=max(1e-6, min(0.25, relative**0.5)),
            max_steps=min(200, reduced.numel()),
            precondition=here.precondition,
        )
        # Without positive curvature even along the gradient: a step down it.
        step = here.expand(solution.value[:, 0] if solution.steps else -reduced)
        found = _backtrack(risk, matrix, step, value, float((gradient * step).sum()))
        if found is None:
            break
        matrix, value, gradient = found
        steps += 1
    return Refit(head.at(matrix), steps, relative, relative <= 1e3 * tolerance)


@dataclass(frozen=True)
class _Coordinates:
    """Coordinates of the head's matrix in which the objective's Hessian is near the identity: conjugate
    gradients then need few steps.

    The Hessian is taken for one block a logit, lambda_c M + R with the logit's mean curvature lambda_c,
    the weighted second moment M of the features, and the ridge R: W^T R W = I, W^T M W = diag(s), and so
    W^T (lambda_c M + R) W = diag(lambda_c s + 1). The ridge must be in it: where features are collinear
    or dead it is all the curvature there is, and far from that of the other directions.

    Attributes:
        features: W, ``(D, D)``.
        scale: (lambda_c s + 1)^-1/2, ``(C, D)``.
        centred: the loss ignores a shift of all logits; without this direction.
        factor: Cholesky factor of a sample's whole Hessian and ridge in these coordinates, ``(P, P)``; None
            where it costs more than the products that it saves, or is none.
    """

    features: Tensor
    scale: Tensor
    centred: bool
    factor: Tensor | None

    def reduce(self, gradient: Tensor) -> Tensor:
        """A ``(C, D)`` gradient in these coordinates, flat; the adjoint of :meth:`expand`."""
        return (self._without_shift(gradient) @ self.features * self.scale).flatten()

    def expand(self, step: Tensor) -> Tensor:
        """The step in C x D of one in these coordinates."""
        return self._without_shift(step.view_as(self.scale) * self.scale @ self.features.T)

    def precondition(self, vectors: Tensor) -> Tensor:
        """Roughly the inverse of the Hessian in these coordinates times ``vectors`` (P, k)."""
        return vectors if self.factor is None else torch.cholesky_solve(vectors, self.factor)

    def _without_shift(self, matrix: Tensor) -> Tensor:
        return matrix - matrix.mean(0) if self.centred else matrix


def _coordinates(risk: LinearHeadRisk, matrix: Tensor) -> _Coordinates:
    size, softmax = _ROWS * matrix.numel(), risk.head.loss.shift_invariant
    coupled = softmax and len(matrix) <= _COUPLED and matrix.numel() <= _MOST
    whole = coupled and len(risk.data) >= _WORTH * size
    features, targets = risk.sampled(max(_LEAST, size) if whole else _LEAST)
    form = risk.head.loss.terms((matrix @ features).T, targets).curvature
    diagonal = form.diagonal().abs()
    mean = diagonal.mean(0).clamp_min(torch.finfo(diagonal.dtype).tiny)
    moment = (features * (diagonal / mean).mean(1)) @ features.T / len(diagonal)
    seen = moment.diagonal()
    seen = torch.where(seen > 0, seen, 1.0)
    ridge = risk.head.penalty(0.0).to(seen) + _FLOOR * len(seen) * mean.mean() * seen
    root = ridge.rsqrt()
    values, vectors = eigh(root.unsqueeze(1) * moment * root)
    white = root.unsqueeze(1) * vectors
    scale = (mean.unsqueeze(1) * values.clamp_min(0.0) + 1.0).rsqrt()
    factor = _factor(form, white.T @ features, scale) if whole else None
    return _Coordinates(white, scale, softmax, factor)


def _factor(form: LogitCurvature, features: Tensor, scale: Tensor) -> Tensor | None:
    """See :class:`_Coordinates`; of ``features`` (D, b) in its coordinates."""
    pairs = FeaturePairs(len(features), features.dtype, features.device)
    packed = form.project(torch.eye(len(scale)).to(scale))
    moments = pairs.unpack(pairs.accumulate(packed, features) / features.shape[1])
    hessian = HeadCurvature(moments.unsqueeze(0), None, dtype=scale.dtype).dense()[0]
    hessian.diagonal().add_(1.0)  # the ridge, in these coordinates before their scale
    factor, failed = torch.linalg.cholesky_ex(scale.flatten().unsqueeze(1) * hessian * scale.flatten())
    return None if bool(failed) else factor


def _hessian(risk: LinearHeadRisk, matrix: Tensor, here: _Coordinates) -> Callable[[Tensor], Tensor]:
    def product(vector: Tensor) -> Tensor:
        return here.reduce(risk.hessian_product(matrix, here.expand(vector[:, 0]))).unsqueeze(1)

    return product


def _backtrack(
    risk: LinearHeadRisk, matrix: Tensor, step: Tensor, value: float, slope: float
) -> tuple[Tensor, float, Tensor] | None:
    """The first of 1, 1/2, 1/4, … of the step that satisfies Armijo's rule, up to rounding."""
    rounding = 1e-14 * max(1.0, abs(value))
    length = 1.0
    for _ in range(30):
        trial = matrix + length * step
        at, gradient, _ = risk.objective(trial)
        if at <= value + 1e-4 * length * slope + rounding:
            return trial, at, gradient
        length *= 0.5
    return None


def ridges_of(data: FeatureBatches) -> tuple[float, ...]:
    """:data:`SHARES` of the features' mean variance: the same choice whatever unit they are in."""
    features, _ = data.sample(_SAMPLE)
    scale = float(features.double().var(0, correction=0).mean())
    return tuple(share * scale for share in SHARES) if scale > 0 else SHARES


def refit_ridge(
    head: HeadWeights,
    data: FeatureBatches,
    *,
    ridges: Sequence[float] = RIDGES,
    device: torch.device | str = "cpu",
    on_ridge: Callable[[int, int], None] | None = None,
) -> Refit:
    """The head at the optimum of its mean loss plus that ridge of ``ridges`` whose left-out points have the
    least mean loss, see :func:`left_out_loss`: from the largest down, until the loss rises.

    The cost is a refit and a curvature a ridge; ``on_ridge`` is called after each with how many are done, of
    at most how many.

    Raises:
        InputError: the data cannot be used.
    """
    best, least, start = None, torch.inf, head
    for done, ridge in enumerate(sorted(ridges, reverse=True), 1):
        fitted = refit_head(replace(start, l2=ridge), data, device=device)
        start = fitted.head
        loss = left_out_loss(start, data, device=device)
        if on_ridge is not None:
            on_ridge(done, len(ridges))
        if loss > least:
            break
        best, least = fitted, loss
    assert best is not None
    return best


def left_out_loss(head: HeadWeights, data: FeatureBatches, *, device: torch.device | str = "cpu") -> float:
    """Mean loss of the points, each under the head without it, by one Newton step from the optimum that
    ``head`` is at (approximate leave-one-out: Rad & Maleki, 2020).

    Of a large head the outputs are decoupled for that step, see
    :class:`~swaypoint.scoring.diagonal_blocks.DiagonalBlocks`.

    Raises:
        InputError: the data cannot be used.
    """
    groups = head.outputs if head.loss.separable else 1
    if len(data) * (head.outputs * head.width) ** 2 / groups <= _EXACT_WORK:
        exact = Influence(head, data, dtype=torch.float64, device=device)
        return float(exact.scores().loo_loss.mean())
    risk = LinearHeadRisk(head, data, device=device, chunk=_CHUNK)
    risk.feature_map()
    blocks, total = DiagonalBlocks(risk), 0.0
    # A softmax does not see what shifts all its outputs: of C directions alike it lacks one.
    share = 1.0 - 1.0 / head.outputs if head.loss.shift_invariant else 1.0
    for chunk in risk.chunks():
        leverages = share * blocks.leverages(risk.features(chunk).T.float())
        total += float(blocks.leave_out(chunk, leverages)["loo_loss"].sum())
    return total / blocks.points
