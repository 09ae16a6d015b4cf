"""The points of a sketch: with every class of each, or with its leading ones (``operators/leading.py``)."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.scoring.diagonal_blocks import DiagonalBlocks
from swaypoint.scoring.operators.leading import Leading, fits
from swaypoint.scoring.operators.logits import DiagonalMinusOuter
from swaypoint.scoring.risks.chunk import Chunk, room
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk

NOISE_BYTES = 256 << 20
"""Of the random numbers of some points and their products, of which the points at a time follow."""
_COPIES = 32
"""Bytes for each random number: in float32 and float64, beside its product and a part of it."""
_BLOCK, _LARGE_BLOCK = 1024, 4096
_MANY = 100
_FEW = 0.25
"""Share of the classes of all points up to which it pays to take them one by one."""
_SAMPLE, PROBES = 1024, 16
"""Points looked at to tell what is missing, and of these the ones whose distances are."""
_LOOKED_AT = 256


@dataclass(frozen=True, eq=False)
class Batch:
    """Some points, their features ``(b, k)`` float32 in full-rank coordinates, and their leading classes."""

    chunk: Chunk
    features: Tensor
    leading: Leading | None = None


class Points(ABC):
    """What a sketch asks of all points together.

    Attributes:
        risk: their mean loss.
        map: of its features to full-rank coordinates, ``(D, k)``.
        blocks: the diagonal blocks of its Hessian.
    """

    risk: LinearHeadRisk
    map: Tensor
    blocks: DiagonalBlocks

    @abstractmethod
    def draw(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sums over the points of S w (x) phi, S S^T = Lambda, and of the same noise times the root of the
        diagonal: ``(C, draws, k)`` float32 each."""

    @abstractmethod
    def product(self, vectors: Tensor) -> Tensor:
        """The sum over the points of (Lambda (x) phi phi^T) times ``vectors``, ``(C, K, k)``."""

    @abstractmethod
    def batches(self) -> Iterator[Batch]:
        """All points, in order."""

    @abstractmethod
    def leverages(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """sum_a r_a^2 phi^T M_a^-1 phi of each point, ``(b,)``, and its phi^T M_a^-1 phi, ``(b, C)``, or zero
        where that changes next to nothing: float32."""

    @abstractmethod
    def project(self, batch: Batch, vectors: Tensor) -> Tensor:
        """v^T g of each point and vector, ``(C, K, k) -> (b, K)``."""

    @abstractmethod
    def probes(self) -> Tensor:
        """Gradients of some points, of which :meth:`missing` asks H^-1 g: ``(C, K, k)``, K = 0 where nothing
        is missing."""

    @abstractmethod
    def missing(self, solved: Tensor) -> float:
        """Relative error that the Hessian and the gradients of these points make in a Cook's distance, of
        H^-1 :meth:`probes`."""

    def unseen(self, data: FeatureBatches) -> Self:
        """The same for points that the head was not fitted to."""
        other = copy.copy(self)
        other.risk, other.blocks = self.risk.of(data), self.blocks.unseen(data)
        return other

    def _features(self, chunk: Chunk) -> Tensor:
        return (self.map.T @ chunk.features).T.float().contiguous()


def points_of(
    head: HeadWeights, data: FeatureBatches, *, damping: float, device: torch.device | str, draws: int
) -> Points:
    """The leading classes where there are many and few lead, by a sample; else all.

    Raises:
        InputError: the data or the head cannot be used.
    """

    def risk(chunk: float) -> LinearHeadRisk:
        return LinearHeadRisk(head, data, damping=damping, device=device, chunk=max(1, int(chunk)))

    every = risk(min(_BLOCK, NOISE_BYTES / (_COPIES * head.outputs * draws)))
    share = _leading_share(every) if head.outputs >= _MANY else 1.0
    if share > _FEW:
        return EveryClass(every)
    return LeadingClasses(risk(min(_LARGE_BLOCK, NOISE_BYTES / (4 * share * head.outputs * draws))))


def _leading_share(risk: LinearHeadRisk) -> float:
    """Of all classes of a sample of the points; 1 where the loss has none to leave out."""
    entries = points = 0
    for chunk in risk.chunks(ArrayBatches(*risk.data.sample(_LOOKED_AT))):
        leading = _leading(risk, chunk)
        if leading is None:
            return 1.0
        entries, points = entries + len(leading.rows), points + len(chunk)
    return entries / (points * risk.head.outputs)


def _leading(risk: LinearHeadRisk, chunk: Chunk) -> Leading | None:
    labels, curvature = risk.head.loss.labels(chunk.targets), chunk.terms.curvature
    if labels is None or not fits(curvature, chunk.terms.residual, labels):
        return None
    assert isinstance(curvature, DiagonalMinusOuter)
    return Leading.of(curvature, chunk.terms.residual, labels)


class EveryClass(Points):
    """With all classes of each point."""

    def __init__(self, risk: LinearHeadRisk) -> None:
        self.risk, self.map = risk, risk.feature_map()
        self.blocks = DiagonalBlocks(risk)

    def batches(self) -> Iterator[Batch]:
        for chunk in self.risk.chunks():
            yield Batch(chunk, self._features(chunk))

    def draw(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        outputs, device = self.risk.head.outputs, self.risk.device
        sketch = torch.zeros(outputs, draws, self.map.shape[1], device=device)
        control = torch.zeros_like(sketch)
        for batch in self.batches():
            noise = torch.randn(len(batch.features), outputs, draws, generator=generator).to(device)
            curvature = batch.chunk.terms.curvature
            _add_products(sketch, curvature.single().sqrt_matmul(noise), batch.features)
            diagonal = curvature.diagonal().float()
            _add_products(control, noise.mul_(diagonal.sqrt().unsqueeze(2)), batch.features)
        return sketch, control

    def product(self, vectors: Tensor) -> Tensor:
        total = torch.zeros_like(vectors)
        for batch in self.batches():
            curved = batch.chunk.terms.curvature.single().matmul(_logits(batch.features, vectors))
            _add_products(total, curved, batch.features)
        return total

    def leverages(self, batch: Batch) -> tuple[Tensor, Tensor]:
        leverages = self.blocks.leverages(batch.features)
        return (batch.chunk.terms.residual.float().square() * leverages).sum(1), leverages

    def project(self, batch: Batch, vectors: Tensor) -> Tensor:
        residual = batch.chunk.terms.residual.float()
        return torch.einsum("bck,bc->bk", _logits(batch.features, vectors), residual)

    def probes(self) -> Tensor:
        return torch.zeros(self.risk.head.outputs, 0, self.map.shape[1], device=self.risk.device)

    def missing(self, solved: Tensor) -> float:
        return 0.0


class LeadingClasses(Points):
    """With the leading classes of each point, the others as they are on average: softmax with hard labels.

    What is kept of the points is held where an eighth of the free memory holds it, else made anew in each
    pass. Leverages of the other classes are taken for zero.
    """

    def __init__(self, risk: LinearHeadRisk) -> None:
        self.risk, self.map = risk, risk.feature_map()
        outputs, width = risk.head.outputs, self.map.shape[1]
        self._second = torch.zeros(width, width, device=risk.device)  # of the rest
        self._tau = torch.zeros(outputs, device=risk.device)
        self._held: list[tuple[Tensor, Leading]] | None = []
        self.blocks = DiagonalBlocks(risk, self._moments)
        tau = self._tau.square()
        self._of_rest = torch.einsum("a,akl->kl", tau, self.blocks.inverses)

    def _moments(self, chunks: Iterator[Chunk], blocks: Tensor) -> Iterator[Chunk]:
        left, others = room(self.risk.device), torch.zeros_like(self._tau, dtype=torch.float64)
        for chunk in chunks:
            features, leading = self._features(chunk), self._of(chunk)
            leading.moments(features, blocks)
            self._second.addmm_((features * (leading.rest * leading.weights).unsqueeze(1)).T, features)
            others += leading.others
            left -= features.nbytes + leading.nbytes
            if left < 0:
                self._held = None
            if self._held is not None:
                self._held.append((features, leading))
            yield chunk
        self._tau = (others / others.sum().clamp_min(torch.finfo(others.dtype).tiny)).float()
        for share, block in zip(self._tau.tolist(), blocks, strict=True):
            block.add_(self._second, alpha=share)

    def _of(self, chunk: Chunk) -> Leading:
        leading = _leading(self.risk, chunk)
        assert leading is not None, "chosen for losses that it fits"
        return leading

    def _sums(self) -> Iterator[tuple[Tensor, Leading]]:
        if self._held is not None:
            yield from self._held
            return
        for batch in self.batches():
            assert batch.leading is not None
            yield batch.features, batch.leading

    def batches(self) -> Iterator[Batch]:
        held = iter(self._held or ())
        for chunk in self.risk.chunks():
            known = next(held, None)
            features, leading = (self._features(chunk), self._of(chunk)) if known is None else known
            yield Batch(chunk, features, leading)

    def unseen(self, data: FeatureBatches) -> Self:
        other = super().unseen(data)
        other._held = None
        return other

    def _rest(self, vectors: Tensor) -> Tensor:
        """Those of the rest as one class, ``(C, K, k) -> (K, k)``."""
        return torch.einsum("a,aKk->Kk", self._tau, vectors)

    def draw(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        width, device = self.map.shape[1], self.risk.device
        sketch = torch.zeros(len(self._tau), draws, width, device=device)
        control, rest = torch.zeros_like(sketch), torch.zeros(draws, width, device=device)
        for features, leading in self._sums():
            own, beside = (
                torch.randn(count, draws, generator=generator).to(device)
                for count in (len(leading.rows), len(leading.rest))
            )
            leading.add_draws(features, (own, beside), sketch, rest, control)
        # Within the rest: t (diag(tau) - tau tau^T), the same for every point.
        noise = torch.randn(sketch.shape, generator=generator).to(device) @ _root(self._second).T
        noise.mul_(self._tau.sqrt()[:, None, None])
        control += noise
        sketch += noise
        sketch += self._tau[:, None, None] * (rest - noise.sum(0))
        return sketch, control

    def product(self, vectors: Tensor) -> Tensor:
        total, of_rest = torch.zeros_like(vectors), self._rest(vectors)
        rest = torch.zeros_like(of_rest)
        for features, leading in self._sums():
            leading.add_product(features, vectors, of_rest, total, rest)
        within = (vectors - of_rest) @ self._second
        return total + self._tau[:, None, None] * (within + rest)

    def leverages(self, batch: Batch) -> tuple[Tensor, Tensor]:
        leading, features = batch.leading, batch.features
        assert leading is not None
        leverages = leading.spread(leading.quadratic(features, self.blocks.inverses))
        rest = self._beside(leading)
        residual = leading.spread(leading.residual, rest)
        # Of the rest all classes count: those that lead are taken out of their sum.
        own = ((residual.square() - rest.square()) * leverages).sum(1)
        scale = (leading.rest * leading.weights).square()
        return own + scale * ((features @ self._of_rest) * features).sum(1), leverages

    def _beside(self, leading: Leading) -> Tensor:
        """dl/dz of the rest, ``(b, C)``."""
        return torch.outer(leading.rest * leading.weights, self._tau)

    def project(self, batch: Batch, vectors: Tensor) -> Tensor:
        assert batch.leading is not None
        return batch.leading.project(batch.features, vectors, self._rest(vectors))

    def probes(self) -> Tensor:
        return self._gradients(exact=False)

    def missing(self, solved: Tensor) -> float:
        """To first order, 2 x^T dg - x^T dH x with x = H^-1 g; dH, what is left out of the Hessian, as other
        points of the sample have it."""
        taken = self._gradients(exact=False)
        left_out, points = torch.zeros(solved.shape[1], device=solved.device), 0
        for batch, which in self._sample():
            logits = _logits(batch.features[~which], solved)
            for curvature, sign in ((batch.chunk.terms.curvature.single(), 1.0), (self._taken(batch), -1.0)):
                left_out += sign * (logits * curvature.rows(~which).matmul(logits)).sum((0, 1))
            points += len(logits)
        apart = 2 * (solved * (self._gradients(exact=True) - taken)).sum((0, 2)) - left_out / max(points, 1)
        return float((apart / (solved * taken).sum((0, 2))).square().mean().sqrt())

    def _sample(self) -> Iterator[tuple[Batch, Tensor]]:
        """Some points, and which of them are asked for H^-1 g."""
        at = 0
        for chunk in self.risk.chunks(ArrayBatches(*self.risk.data.sample(_SAMPLE))):
            which = torch.arange(at, at + len(chunk)) % (_SAMPLE // PROBES) == 0
            yield Batch(chunk, self._features(chunk), self._of(chunk)), which.to(self.risk.device)
            at += len(chunk)

    def _gradients(self, *, exact: bool) -> Tensor:
        """Of the points asked for, as they are or as they are taken, ``(C, K, k)``."""
        found = []
        for batch, which in self._sample():
            residual, leading = batch.chunk.terms.residual.float(), batch.leading
            assert leading is not None
            if not exact:
                residual = leading.spread(leading.residual, self._beside(leading))
            found.append(torch.einsum("bc,bk->cbk", residual[which], batch.features[which]))
        return torch.cat(found, 1)

    def _taken(self, batch: Batch) -> DiagonalMinusOuter:
        """The curvature as it is taken."""
        assert batch.leading is not None
        rest, weights = torch.outer(batch.leading.rest, self._tau), batch.leading.weights.unsqueeze(1)
        p = batch.leading.spread(batch.leading.p, rest)
        return DiagonalMinusOuter(weights * p, weights.sqrt() * p)


def _root(matrix: Tensor) -> Tensor:
    """R with R R^T the positive semi-definite ``matrix``."""
    values, vectors = torch.linalg.eigh(matrix.double())
    return (vectors * values.clamp_min(0.0).sqrt()).to(matrix)


def _logits(features: Tensor, vectors: Tensor) -> Tensor:
    """Of each vector: ``(b, k), (C, K, k) -> (b, C, K)``."""
    outputs, draws, width = vectors.shape
    return (features @ vectors.reshape(outputs * draws, width).T).view(-1, outputs, draws)


def _add_products(total: Tensor, rows: Tensor, features: Tensor) -> None:
    """Add sum_b rows_b (x) phi_b, of ``(b, C, K)`` and ``(b, k)``, to ``(C, K, k)``."""
    total.view(-1, total.shape[2]).addmm_(rows.reshape(len(rows), -1).T, features)
