"""The points of a sketch: with every class of each, or with its leading ones (``operators/leading.py``)."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, Self, TypeVar

import torch
from torch import Tensor

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.errors import InputError
from swaypoint.scoring.diagonal_blocks import DiagonalBlocks
from swaypoint.scoring.operators.leading import Leading
from swaypoint.scoring.operators.logits import DiagonalMinusOuter
from swaypoint.scoring.risks.chunk import Chunk, room
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk

NOISE_BYTES = 256 << 20
"""Of the random numbers of some points and their products, of which the points at a time follow."""
_COPIES = 32
"""Bytes for each random number: in float32 and float64, beside its product and a part of it."""
_ENTRY_BYTES = 64
"""Of a class of a point while the leading ones are found."""
_BLOCK, _LARGE_BLOCK = 1024, 4096
_MANY = 100
_FEW = 0.5
"""Share of the classes of all points up to which it pays to take them one by one."""
_SAMPLE, PROBES = 1024, 16
"""Points looked at to tell what is missing, and of these the ones whose distances are."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Some points, and their features ``(b, k)`` float32 in full-rank coordinates."""

    chunk: Chunk
    features: Tensor


@dataclass(frozen=True, eq=False)
class LeadingBatch(Batch):
    """And their leading classes."""

    leading: Leading


B = TypeVar("B", bound=Batch)


class Points(ABC, Generic[B]):
    """What a sketch asks of all points together.

    Attributes:
        risk: their mean loss.
        map: of its features to full-rank coordinates, ``(D, k)``.
        blocks: the diagonal blocks of its Hessian.
        told: which classes are taken, for people; empty for all.
    """

    risk: LinearHeadRisk
    map: Tensor
    blocks: DiagonalBlocks
    told = ""

    @abstractmethod
    def draw(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Sums over the points of S w (x) phi, S S^T = Lambda, and of the same noise times the root of the
        diagonal: ``(C, draws, k)`` float32 each."""

    @abstractmethod
    def product(self, vectors: Tensor) -> Tensor:
        """The sum over the points of (Lambda (x) phi phi^T) times ``vectors``, ``(C, K, k)``."""

    @abstractmethod
    def batches(self) -> Iterator[B]:
        """All points, in order."""

    @abstractmethod
    def leverages(self, batch: B) -> tuple[Tensor, Tensor]:
        """sum_a r_a^2 phi^T M_a^-1 phi of each point, ``(b,)``, and its phi^T M_a^-1 phi, ``(b, C)``, or zero
        where that changes next to nothing: float32."""

    @abstractmethod
    def project(self, batch: B, vectors: Tensor) -> Tensor:
        """v^T g of each point and vector, ``(C, K, k) -> (b, K)``."""

    @abstractmethod
    def probes(self) -> Tensor:
        """Gradients of some points, to a scale of their own, of which :meth:`missing` asks H^-1 g:
        ``(C, K, k)``; K = 0 where nothing is missing."""

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
) -> Points[Any]:
    """The leading classes where there are many and few lead, by a sample; else all.

    Raises:
        InputError: the data or the head cannot be used.
    """

    def risk(chunk: float) -> LinearHeadRisk:
        return LinearHeadRisk(head, data, damping=damping, device=device, chunk=max(1, int(chunk)))

    every = risk(min(_BLOCK, NOISE_BYTES / (_COPIES * head.outputs * draws)))
    if head.outputs >= _MANY and head.loss.shift_invariant and head.loss.classifies:
        sample = ArrayBatches(*data.sample(_SAMPLE))
        try:
            share = _leading_share(every, sample)
        except InputError:  # which the pass over all points says better, naming the row
            share = 1.0
        if share <= _FEW:
            most = NOISE_BYTES / (max(4 * share * draws, _ENTRY_BYTES) * head.outputs)
            return LeadingClasses(risk(min(_LARGE_BLOCK, most)), sample, share)
    return EveryClass(every)


def _leading_share(risk: LinearHeadRisk, sample: ArrayBatches) -> float:
    """Of all classes of the points of a sample."""
    entries = points = 0
    for chunk in risk.chunks(sample):
        entries, points = entries + len(_leading(risk, chunk).rows), points + len(chunk)
    return entries / (points * risk.head.outputs)


def _leading(risk: LinearHeadRisk, chunk: Chunk) -> Leading:
    labels, curvature = risk.head.loss.labels(chunk.targets), chunk.terms.curvature
    assert labels is not None
    assert isinstance(curvature, DiagonalMinusOuter)
    return Leading.of(curvature, chunk.terms.residual, labels)


class EveryClass(Points[Batch]):
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


class LeadingClasses(Points[LeadingBatch]):
    """With the leading classes of each point, the tails as they are together: of a softmax.

    What is kept of the points is held where an eighth of the free memory holds it, else made anew in each
    pass. Leverages of the other classes are taken for zero.

    Args:
        sample: some of the points, of which ``share`` of the classes lead.
    """

    def __init__(self, risk: LinearHeadRisk, sample: ArrayBatches, share: float) -> None:
        self.risk, self.map, self._sampled = risk, risk.feature_map(), sample
        self.told = f" with the {share:.1%} of the classes that lead at each point"
        outputs, width = risk.head.outputs, self.map.shape[1]
        self._second = torch.zeros(width, width, device=risk.device)  # of the tails
        self._tau = torch.zeros(outputs, device=risk.device)
        self._held: list[tuple[Tensor, Leading]] | None = []
        self.blocks = DiagonalBlocks(risk, self._moments)
        self._tail_form = torch.einsum("a,akl->kl", self._tau.square(), self.blocks.inverses)

    def _moments(self, chunks: Iterator[Chunk], blocks: Tensor) -> Iterator[Chunk]:
        left, tails = room(self.risk.device), torch.zeros_like(self._tau, dtype=torch.float64)
        for chunk in chunks:
            features, leading = self._features(chunk), _leading(self.risk, chunk)
            leading.moments(features, blocks)
            self._second.addmm_((features * (leading.tail * leading.weights).unsqueeze(1)).T, features)
            tails += leading.tails
            left -= features.nbytes + leading.nbytes
            if left < 0:
                self._held = None
            if self._held is not None:
                self._held.append((features, leading))
            yield chunk
        self._tau = (tails / tails.sum().clamp_min(torch.finfo(tails.dtype).tiny)).float()
        for share, block in zip(self._tau.tolist(), blocks, strict=True):
            block.add_(self._second, alpha=share)

    def _sums(self) -> Iterator[tuple[Tensor, Leading]]:
        if self._held is not None:
            yield from self._held
            return
        for batch in self.batches():
            yield batch.features, batch.leading

    def batches(self) -> Iterator[LeadingBatch]:
        held = iter(self._held or ())
        for chunk in self.risk.chunks():
            known = next(held, None)
            features, leading = known or (self._features(chunk), _leading(self.risk, chunk))
            yield LeadingBatch(chunk, features, leading)

    def unseen(self, data: FeatureBatches) -> Self:
        other = super().unseen(data)
        other._held = None
        return other

    def _of_tail(self, vectors: Tensor) -> Tensor:
        """Those of the tail as one class, ``(C, K, k) -> (K, k)``."""
        return torch.einsum("a,aKk->Kk", self._tau, vectors)

    def draw(self, draws: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        width, device = self.map.shape[1], self.risk.device
        sketch = torch.zeros(len(self._tau), draws, width, device=device)
        control, tail = torch.zeros_like(sketch), torch.zeros(draws, width, device=device)
        for features, leading in self._sums():
            own, beside = (
                torch.randn(count, draws, generator=generator).to(device)
                for count in (len(leading.rows), len(leading.tail))
            )
            leading.add_draws(features, (own, beside), sketch, tail, control)
        # Within the tails: t (diag(tau) - tau tau^T), the same for every point.
        noise = torch.randn(sketch.shape, generator=generator).to(device) @ _root(self._second).T
        noise.mul_(self._tau.sqrt()[:, None, None])
        control += noise
        sketch += noise
        sketch += self._tau[:, None, None] * (tail - noise.sum(0))
        return sketch, control

    def product(self, vectors: Tensor) -> Tensor:
        total, of_tail = torch.zeros_like(vectors), self._of_tail(vectors)
        tail = torch.zeros_like(of_tail)
        for features, leading in self._sums():
            leading.add_product(features, vectors, of_tail, total, tail)
        within = (vectors - of_tail) @ self._second
        return total + self._tau[:, None, None] * (within + tail)

    def leverages(self, batch: LeadingBatch) -> tuple[Tensor, Tensor]:
        leading, features = batch.leading, batch.features
        leverages = leading.spread(leading.quadratic(features, self.blocks.inverses))
        tail = self._tail_residual(leading)
        residual = leading.spread(leading.residual, tail)
        # In the tail's form all classes count: those that lead are taken out of their sum.
        own = ((residual.square() - tail.square()) * leverages).sum(1)
        scale = (leading.tail * leading.weights).square()
        return own + scale * ((features @ self._tail_form) * features).sum(1), leverages

    def _tail_residual(self, leading: Leading) -> Tensor:
        """dl/dz of the tails, ``(b, C)``."""
        return torch.outer(leading.tail * leading.weights, self._tau)

    def project(self, batch: LeadingBatch, vectors: Tensor) -> Tensor:
        return batch.leading.project(batch.features, vectors, self._of_tail(vectors))

    def probes(self) -> Tensor:
        return self._probed[1]

    def missing(self, solved: Tensor) -> float:
        """To first order, 2 x^T dg - x^T dH x with x = H^-1 g; dH, what is left out of the Hessian: the
        probe's own share, and the others' as those of the sample have it. The root mean square; 0 where no
        point has a gradient."""
        exact, taken = self._probed
        own, total = torch.zeros(2, solved.shape[1], device=solved.device)
        points = at = 0
        for batch, which in self._looked_at():
            logits = _logits(batch.features, solved)
            p = batch.leading.spread(batch.leading.p, torch.outer(batch.leading.tail, self._tau))
            weights = batch.leading.weights.unsqueeze(1)
            as_taken = DiagonalMinusOuter(weights * p, weights.sqrt() * p)
            left_out, of_taken = (
                (logits * curvature.matmul(logits)).sum(1)
                for curvature in (batch.chunk.terms.curvature.single(), as_taken)
            )
            left_out -= of_taken
            probes = slice(at, at + int(which.sum()))
            own[probes] = left_out[which, probes].diagonal()
            total += left_out.sum(0)
            points, at = points + len(left_out), probes.stop
        n = self.blocks.points
        of_hessian = own / n + (n - 1) / n * (total - own) / max(points - 1, 1)
        distances = (solved * taken).sum((0, 2))
        apart = 2 * (solved * (exact - taken)).sum((0, 2)) - of_hessian
        relative = (apart / distances)[distances > 0]
        return float(relative.square().mean().sqrt()) if len(relative) else 0.0

    def _looked_at(self) -> Iterator[tuple[LeadingBatch, Tensor]]:
        """The sample, and which of it are probes."""
        at = 0
        for chunk in self.risk.chunks(self._sampled):
            which = torch.isin(torch.arange(at, at + len(chunk)), self._probes).to(self.risk.device)
            yield LeadingBatch(chunk, self._features(chunk), _leading(self.risk, chunk)), which
            at += len(chunk)

    @cached_property
    def _probes(self) -> Tensor:
        """Positions in the sample: spread over it, and those of the largest loss, which are what a ranking is
        read for."""
        points = len(self._sampled)
        loss = torch.cat([chunk.terms.value for chunk in self.risk.chunks(self._sampled)]).cpu()
        loss[torch.linspace(0, points - 1, min(PROBES // 2, points)).long()] = torch.inf
        return loss.topk(min(PROBES, points)).indices

    @cached_property
    def _probed(self) -> tuple[Tensor, Tensor]:
        """The probes' gradients as they are and as they are taken, ``(C, K, k)``: in units of dl/dz, so that
        float32 holds the square of the smallest."""
        exact, taken = list[Tensor](), list[Tensor]()
        for batch, which in self._looked_at():
            residual, leading = batch.chunk.terms.residual, batch.leading
            scale = residual.norm(dim=1, keepdim=True).clamp_min(torch.finfo(residual.dtype).tiny)
            as_taken = leading.spread(leading.residual, self._tail_residual(leading))
            for rows, found in ((residual, exact), (as_taken, taken)):
                of = (rows / scale)[which].float()
                found.append(torch.einsum("bc,bk->cbk", of, batch.features[which]))
        return torch.cat(exact, 1), torch.cat(taken, 1)


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
