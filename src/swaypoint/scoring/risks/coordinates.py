"""Coordinates in which a head's Hessian is full rank and well conditioned.

Three linear changes of coordinates, composed once:

- the softmax gauge: C - 1 orthonormal contrasts instead of C logits (Helmert);
- a Kronecker whitening of outputs and features, estimated on a sample, so that products in float32
  keep their digits: it leaves every influence unchanged, because g^T H^-1 g does not depend on the
  coordinates;
- the range of the features: directions in which no feature varies (dead units, collinear columns)
  carry no gradient and are projected out. The result is the Moore-Penrose one.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.scoring.operators.logits import DiagonalMinusOuter
from swaypoint.scoring.operators.spectrum import eigh
from swaypoint.scoring.risks.chunk import Chunk

_FLOOR = 1e-7
"""Share of the largest eigenvalue added before whitening: a sample may miss rare features."""


def contrasts(classes: int) -> Tensor:
    """Orthonormal basis of the vectors that sum to zero, ``(C, C - 1)`` float64 (Helmert)."""
    basis = torch.zeros(classes, classes - 1, dtype=torch.float64)
    for j in range(1, classes):
        basis[:j, j - 1] = 1.0
        basis[j, j - 1] = -float(j)
        basis[:, j - 1] /= (j * (j + 1)) ** 0.5
    return basis


def whitening(second_moment: Tensor, ridge: Tensor | None = None) -> Tensor:
    """W with W^T (M + diag(ridge)) W close to the identity, invertible even where that is singular:
    ``(D, D)``.

    Columns are scaled first, so that features of very different units all count. Of all such W the one
    whose scaled form is symmetric: it is unique and continuous in M, where eigenvectors of equal values are
    whatever the last digits make of them, and sums of an interrupted run would not fit its resumption's.
    """
    if ridge is not None:
        second_moment = second_moment + torch.diag(ridge)
    scale = second_moment.diagonal().sqrt()
    scale = torch.where(scale > 0, 1.0 / scale, 1.0)
    values, vectors = eigh(scale.unsqueeze(1) * second_moment * scale)
    if (
        not values[-1] > 0.0
    ):  # nothing to whiten: no point of the sample has curvature, as beyond Huber's delta
        return torch.eye(len(values)).to(values)
    floor = values[-1] * _FLOOR
    return scale.unsqueeze(1) * (vectors * (values.clamp_min(0.0) + floor).rsqrt()) @ vectors.T


@dataclass(frozen=True)
class Conditioning:
    """Whitened coordinates, estimated on a sample.

    Attributes:
        outputs: bases (C, m), one for each group of coupled outputs.
        features: a map (D, D).
        scale: brings the curvature of pairs of classes to the range of float32.
        paired: the curvature is to be taken by them.
        coupled: it is a :class:`DiagonalMinusOuter` of all outputs together.
    """

    outputs: list[Tensor]
    features: Tensor
    scale: float
    paired: bool
    coupled: bool


def conditioning(chunk: Chunk, gauge: list[Tensor], ridge: Tensor, *, convex: bool) -> Conditioning:
    """From the points of ``chunk``.

    Args:
        gauge: bases (C, m) of the outputs that the loss sees, one for each group.
        ridge: (D,), of the objective.
        convex: the loss is.
    """
    count, curvature = len(chunk), chunk.terms.curvature
    bases, weights = [], torch.zeros(count, dtype=torch.float64, device=chunk.features.device)
    total, size = curvature.total(), 0.0
    for group in gauge:
        mean = group.T @ total @ group / count
        size += float(mean.trace().abs()) / (len(gauge) * group.shape[1])
        basis = group @ (whitening(mean) if convex else torch.eye(mean.shape[0]).to(mean))
        bases.append(basis)
        weights += curvature.diagonal().abs() @ basis.square().sum(1)
    # Half the plain moment, half the curvature-weighted one: the latter conditions H, the former keeps
    # directions that only confident points span.
    weights = 0.5 * weights / weights.mean().clamp_min(torch.finfo(torch.float64).tiny) + 0.5
    moment = (chunk.features * weights) @ chunk.features.T / count
    # The ridge is curvature too: of columns of small units it is nearly all there is. Of points without
    # curvature, as beyond Huber's delta, it is all of it, and needs no scale of theirs.
    known = ridge.to(moment) / size if size > 0 else None
    form = curvature if len(gauge) == 1 and isinstance(curvature, DiagonalMinusOuter) else None
    paired, coupled = (False, False) if form is None else (form.paired, form.u is not None)
    return Conditioning(bases, whitening(moment, known), 1.0 / size if size > 0 else 1.0, paired, coupled)


@dataclass(frozen=True)
class FeatureRange:
    """The directions in which features vary.

    ``map`` (D, k) takes features to full-rank coordinates, u = map^T phi; ``null`` (D, D - k) spans
    the parameters that no point can see.
    """

    map: Tensor
    null: Tensor

    @property
    def dropped(self) -> int:
        return self.null.shape[1]

    def penalty(self, diagonal: Tensor) -> Tensor:
        """The quadratic penalty diag(diagonal) as seen from u: ``(k, k)``.

        Unseen parameters adapt freely, so they are minimised out (a Schur complement); with a
        uniform penalty the two parts do not interact.
        """
        weighted = diagonal.unsqueeze(1) * self.map
        seen = self.map.T @ weighted
        if self.dropped and bool(diagonal.any()):
            cross = self.null.T @ weighted
            inner = self.null.T @ (diagonal.unsqueeze(1) * self.null)
            seen = seen - cross.T @ torch.linalg.pinv(inner, hermitian=True) @ cross
        return 0.5 * (seen + seen.T)


def feature_range(
    second_moment: Tensor, whitened: Tensor, resolution: float
) -> tuple[FeatureRange, Tensor | None]:
    """Split the feature space at the numerical rank of its second moment.

    Args:
        second_moment: mean phi phi^T, ``(D, D)`` float64.
        whitened: the whitening map already in use, ``(D, D)``.
        resolution: relative accuracy of the features; collinearity below it is rounding noise.

    Returns:
        The range, and the ``(D, k)`` projection from whitened to kept coordinates (None if k = D).
    """
    width = second_moment.shape[0]
    scale = second_moment.diagonal().sqrt()
    alive = scale > 0
    inverse = torch.where(alive, 1.0 / scale, 1.0)
    values, vectors = eigh(inverse.unsqueeze(1) * second_moment * inverse)
    tolerance = max(width * torch.finfo(torch.float64).eps, (8.0 * resolution) ** 2) * float(
        values[-1].clamp_min(0)
    )
    kept = values > tolerance
    if bool(kept.all()):
        return FeatureRange(whitened, second_moment.new_zeros(width, 0)), None
    range_basis = vectors[:, kept] / inverse.unsqueeze(1)
    project, _ = torch.linalg.qr(whitened.T @ range_basis)
    return FeatureRange(whitened @ project, inverse.unsqueeze(1) * vectors[:, ~kept]), project


def inverse_form(second_moment: Tensor) -> Tensor:
    """M^+ of a positive semi-definite M, ``(k, k)``, its columns scaled to one first: the cut of small
    eigenvalues is then of what is collinear, not of what has small units."""
    scale = second_moment.diagonal().sqrt()
    scale = torch.where(scale > 0, 1.0 / scale, 1.0)
    inner = torch.linalg.pinv(scale.unsqueeze(1) * second_moment * scale, hermitian=True)
    return scale.unsqueeze(1) * inner * scale
