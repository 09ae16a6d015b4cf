"""Softmax curvature of very many classes, by those that each point's model has not all but ruled out.

Of a thousand classes a trained model gives nearly all of a point's probability to a few. These are kept, and
the others, its tail, are spread as the tails of all points together are: p_i ~ s_i + t_i tau, with s_i zero
but for the leading classes of point i, t_i the mass of its tail and tau one distribution for all points. That
is a softmax's p as well, so its curvature diag(p) - p p^T is positive semi-definite and blind to a shift of
all logits, exactly; and by the law of total variance it falls into that of the leading classes with the tail
as one class more, and t_i (diag(tau) - tau tau^T), of which the sum over the points is one product of
Kronecker. Everything is taken class by class, of the points that lead in it: a few percent of what all
classes of all points cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from swaypoint.data.parallel import ordered_map
from swaypoint.scoring.operators.logits import DiagonalMinusOuter

LEFT = 0.03
"""Of the probability beside a point's first class, what the classes that are not kept may hold."""
_ORDERED = 4
"""The most probable of so many classes are put in order first, which takes a third of the time of all."""
_ROUNDING = 1e-12
"""Of dl/dz - w p beside the label, in units of w."""
_TOGETHER = 16
"""Classes that a thread takes at a time."""


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading classes of some points, an entry for each class of each point, ordered by class.

    Attributes:
        rows: the entries' points, ``(e,)`` int64; ``bounds``: of each class among the entries, C + 1 of them.
        order: entries point by point, ``(e,)``; ``starts``: of each point among these, ``(b,)``.
        p, residual, variance: of the entries, ``(e,)`` float32: probability, dl/dz, w p (1 - p).
        tail: mass of the other classes, ``(b,)`` float32.
        weights: w of the points, ``(b,)`` float32.
        tails: w times the probability of each class where it does not lead, summed, ``(C,)`` float64.
    """

    rows: Tensor
    bounds: list[int]
    order: Tensor
    starts: Tensor
    p: Tensor
    residual: Tensor
    variance: Tensor
    tail: Tensor
    weights: Tensor
    tails: Tensor

    @classmethod
    def of(cls, curvature: DiagonalMinusOuter, residual: Tensor, labels: Tensor) -> Leading:
        """The classes that :func:`leads`, and the label's; all of a point that has no one label, of which
        dl/dz is not w p beside it.

        Args:
            curvature: of a softmax; residual: dl/dz, ``(b, C)``; labels: ``(b,)``.
        """
        weights, at = curvature.d.sum(1), labels.unsqueeze(1)
        p = curvature.d / weights.clamp_min(torch.finfo(weights.dtype).tiny).unsqueeze(1)
        apart = (residual - curvature.d).scatter_(1, at, 0.0).abs_().amax(1)
        kept = leads(p).scatter_(1, at, True) | (apart > _ROUNDING * weights).unsqueeze(1)
        classes, rows = (part.contiguous() for part in kept.T.nonzero().unbind(1))
        missed, counts = torch.where(kept, 0.0, p), kept.sum(1)
        return cls(
            rows=rows,
            bounds=[0, *kept.sum(0).cumsum(0).tolist()],
            order=rows.argsort(stable=True),
            starts=counts.cumsum(0) - counts,
            p=p[rows, classes].float(),
            residual=residual[rows, classes].float(),
            variance=curvature.diagonal()[rows, classes].float(),
            tail=missed.sum(1).float(),
            weights=weights.float(),
            tails=missed.T @ weights,
        )

    @property
    def nbytes(self) -> int:
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    def each(self, function: Callable[[int, slice, Tensor], None]) -> None:
        """``function`` of each class that leads somewhere, its entries and their points; on all cores."""
        parts = [
            (a, slice(start, stop)) for a, (start, stop) in enumerate(pairwise(self.bounds)) if stop > start
        ]

        def some(batch: list[tuple[int, slice]]) -> None:
            for a, part in batch:
                function(a, part, self.rows[part])

        batches = [parts[start : start + _TOGETHER] for start in range(0, len(parts), _TOGETHER)]
        for _ in ordered_map(some, batches, self.rows.device):
            pass

    def moments(self, features: Tensor, total: Tensor) -> None:
        """Add sum w p (1 - p) phi phi^T of each class's entries to ``total`` (C, k, k)."""

        def add(a: int, part: slice, rows: Tensor) -> None:
            chosen = features.index_select(0, rows)
            total[a].addmm_((chosen * self.variance[part, None]).T, chosen)

        self.each(add)

    def quadratic(self, features: Tensor, blocks: Tensor) -> Tensor:
        """phi^T M_a phi of every entry, ``(b, k), (C, k, k) -> (e,)``."""
        values = features.new_empty(len(self.rows))

        def take(a: int, part: slice, rows: Tensor) -> None:
            chosen = features.index_select(0, rows)
            torch.sum((chosen @ blocks[a]).mul_(chosen), 1, out=values[part])

        self.each(take)
        return values

    def logits(self, features: Tensor, vectors: Tensor) -> Tensor:
        """V_a phi of every entry, ``(b, k), (C, K, k) -> (e, K)``."""
        values = features.new_empty(len(self.rows), vectors.shape[1])

        def take(a: int, part: slice, rows: Tensor) -> None:
            torch.mm(features.index_select(0, rows), vectors[a].T, out=values[part])

        self.each(take)
        return values

    def summed(self, values: Tensor, factors: Tensor) -> Tensor:
        """Sums of ``factors`` (e,) times ``values`` (e, K) over the entries of each point, ``(b, K)``."""
        return F.embedding_bag(
            self.order, values, self.starts, mode="sum", per_sample_weights=factors[self.order]
        )

    def add_product(
        self, features: Tensor, vectors: Tensor, of_tail: Tensor, total: Tensor, tail: Tensor
    ) -> None:
        """Add the curvature times ``vectors`` (C, K, k) to ``total``, and that of the tail as one class, of
        the vectors ``of_tail`` (K, k), to ``tail`` (K, k)."""
        values, beside = self.logits(features, vectors), features @ of_tail.T
        mean = self.summed(values, self.p).addcmul_(self.tail.unsqueeze(1), beside)
        scale = self.p * self.weights[self.rows]

        def add(a: int, part: slice, rows: Tensor) -> None:
            curved = (values[part] - mean.index_select(0, rows)).mul_(scale[part, None])
            total[a].addmm_(curved.T, features.index_select(0, rows))

        self.each(add)
        tail.addmm_((beside - mean).mul_((self.tail * self.weights).unsqueeze(1)).T, features)

    def add_draws(
        self,
        features: Tensor,
        noise: tuple[Tensor, Tensor],
        sketch: Tensor,
        tail: Tensor,
        control: Tensor,
    ) -> None:
        """Add S w (x) phi with S S^T the curvature to ``sketch`` (C, K, k) and, of the tail as one class, to
        ``tail`` (K, k); the same noise times the root of the diagonal to ``control``.

        Args:
            noise: w, of the entries (e, K) and of the tail (b, K).
        """
        own, other, root = self.p.sqrt(), self.tail.sqrt(), self.weights.sqrt()
        total = self.summed(noise[0], own).addcmul_(other.unsqueeze(1), noise[1])
        scale, deviation = root[self.rows], self.variance.sqrt()

        def add(a: int, part: slice, rows: Tensor) -> None:
            chosen, drawn = features.index_select(0, rows), noise[0][part]
            coupled = (drawn * own[part, None]).sub_(total.index_select(0, rows) * self.p[part, None])
            sketch[a].addmm_(coupled.mul_(scale[part, None]).T, chosen)
            control[a].addmm_((drawn * deviation[part, None]).T, chosen)

        self.each(add)
        beside = (noise[1] * other.unsqueeze(1)).sub_(total * self.tail.unsqueeze(1))
        tail.addmm_(beside.mul_(root.unsqueeze(1)).T, features)

    def project(self, features: Tensor, vectors: Tensor, of_tail: Tensor) -> Tensor:
        """v^T g of each point and vector, ``(C, K, k) -> (b, K)``; of the tail as one class ``(K, k)``."""
        found = self.summed(self.logits(features, vectors), self.residual)
        return found.addcmul_((self.tail * self.weights).unsqueeze(1), features @ of_tail.T)

    def spread(self, values: Tensor, beside: Tensor | None = None) -> Tensor:
        """Values of the entries ``(e,)``, and ``beside`` (b, C) added to them: ``(b, C)``; None: zeros."""
        counts = torch.tensor([stop - start for start, stop in pairwise(self.bounds)])
        classes = torch.arange(len(counts)).repeat_interleave(counts).to(self.rows)
        found = values.new_zeros(len(self.tail), len(counts)) if beside is None else beside
        return found.index_put((self.rows, classes), values, accumulate=True)


def leads(p: Tensor) -> Tensor:
    """Which classes are kept, ``(b, C)`` bool: the most probable until the others hold at most ``LEFT`` of
    what all but the first do."""
    kept = torch.zeros_like(p, dtype=torch.bool)
    count = min(p.shape[1], max(2, p.shape[1] // _ORDERED))
    top, order = p.topk(count, 1)
    beside = p.scatter(1, order[:, :1], 0.0).sum(1, keepdim=True)
    left = torch.cat([beside, beside - top[:, 1:].cumsum(1)], 1)  # once so many are kept
    kept.scatter_(1, order, torch.cat([torch.ones_like(beside), left[:, :-1]], 1) > LEFT * beside)
    more = (left[:, -1] > LEFT * beside[:, 0]).nonzero().squeeze(1)
    if len(more):  # of these the fewer are left out
        ordered, order = p[more].sort(1)
        kept[more] = kept[more].scatter(1, order, ordered.cumsum(1) > LEFT * beside[more])
    return kept
