"""Influence: one factorised curvature, and everything that one factorisation answers."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.data.folds import Fold
from swaypoint.errors import InputError
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.newton_step import NewtonStep, newton_step
from swaypoint.scoring.operators import outer
from swaypoint.scoring.operators.moments import HeadForm
from swaypoint.scoring.operators.packed import unpack_index
from swaypoint.scoring.operators.removal import of_few_outputs, of_many_outputs
from swaypoint.scoring.risks.beyond import Beyond
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.scores import (
    Expected,
    Facts,
    Removal,
    Scores,
    check_removal,
    collected,
    kept,
    prediction,
)
from swaypoint.scoring.solvers.cholesky import Factorization, by_cholesky, factorize

ACCURACY = 1e-5
"""Relative error promised for float32; beyond it float64 takes over (``dtype=None``)."""
_ROUNDINGS, _NEARLY_ALL = 3.0, 0.99
"""Of its precision, by how much an entry of the Hessian may be off; of how many points an error is told."""

_BLOCK_BYTES = 128 << 20
_TOGETHER = 64  # points that take steps of conjugate gradients together, as many as the slowest needs
_COPIES = 4
"""Of the (m, m) blocks of a point, in all threads together, while leave-one-out is solved for."""


def closed_form_bytes(head: HeadWeights) -> float:
    """Memory that an :class:`Influence` takes at most, beside the features: the Hessian's blocks, packed and
    square, its factor and its inverse, and the work on some points."""
    groups = head.outputs if head.loss.separable else 1
    return 8.0 * groups * _side(head) ** 2 * 4.5 + 3.0 * _BLOCK_BYTES


def _side(head: HeadWeights) -> int:
    """Of the Hessian's square blocks."""
    return head.width if head.loss.separable else head.outputs * head.width


class Influence(HeadSolution):
    """A head, its data and the inverse Hessian of their mean loss.

    Args:
        head, data: as for :class:`~swaypoint.scoring.risks.head.LinearHeadRisk`.
        damping: added to the Hessian's diagonal.
        dtype: of the large products. None takes float32, and repeats in float64 when that could be off by
            more than ``ACCURACY``, or when it sees no curvature in some directions.
        device: where to compute.
        fold: where the shards of ``data`` are worked on; default: in this process.

    Attributes:
        estimated_error: relative error to expect of nearly all scores, from the precision of the products.

    Raises:
        InputError: the data or the head cannot be used.
    """

    def __init__(
        self,
        head: HeadWeights,
        data: FeatureBatches,
        *,
        damping: float = 0.0,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        fold: Fold | None = None,
    ) -> None:
        if dtype not in (None, torch.float32, torch.float64):
            raise InputError(f"dtype is {dtype}; expected torch.float32, torch.float64 or None")
        self.head, self.data = head, data
        self.dtype = dtype or torch.float32
        self._threads = torch.get_num_threads()  # a thread that works on points has one
        self._removes = True  # else points are added, see unseen
        self._beyond: Beyond | None = None
        if dtype is None and len(data) < _side(head):  # it is the factor that takes the time
            self.dtype = torch.float64
        self._take(damping, device, fold)
        if dtype is not None or self.dtype == torch.float64:
            self._invert()
        elif not self._float32_suffices():
            self.dtype = torch.float64
            del self._curvature  # before as much is made again
            self._take(damping, device, fold)
            self._invert()
        self._ready()

    def _take(self, damping: float, device: torch.device | str, fold: Fold | None) -> None:
        """The Hessian."""
        self.risk = LinearHeadRisk(self.head, self.data, damping=damping, dtype=self.dtype, device=device)
        if self.risk.wide:  # a difference of two sums, for which float32 has too few digits
            self.dtype = self.risk.dtype = torch.float64
        self._curvature, self.summary = self.risk.curvature(fold)
        self.points = self.summary.points
        self._expected: int | None = self.points

    def _float32_suffices(self) -> bool:
        """Whether it has digits enough for this Hessian, whose inverse is then made. Directions without
        curvature in float32 may well have some in float64: eigenvalues, which cost ten factorisations, are
        for what float64 finds singular."""
        regular = by_cholesky(self._curvature.dense(), noise=self._noise)
        if regular is None:
            return False
        self._invert(regular)
        if self.estimated_error > ACCURACY:
            del self.inverse
            return False
        return True

    def _invert(self, known: Factorization | None = None) -> None:
        self.inverse = known or factorize(self._curvature.dense(), noise=self._noise)
        self.estimated_error = _ROUNDINGS * torch.finfo(self.dtype).eps * self._felt()

    def _ready(self) -> None:
        # Blocks of many outputs on few features cost more than products with the inverse.
        self._narrow = self.risk.wide and self.risk.head.width <= outer.NARROW
        self._known = None if self._narrow else self._quadratic_form()

    def damped(self, damping: float) -> Influence:
        """The same points and head with another ``damping``, in the precision of these, without a pass over
        the points.

        Raises:
            InputError: it is negative.
        """
        if not damping >= 0:
            raise InputError(f"damping is {damping}; expected 0 or more")
        other = copy.copy(self)
        other.risk = copy.copy(self.risk)
        other.risk.damping = damping
        other._curvature = self._curvature.penalized(other.risk.penalty())
        other._invert()
        other._ready()
        return other

    def _quadratic_form(self) -> HeadForm:
        return self._curvature.quadratic_form(self.inverse.matrix, beside=self.risk.leverage_form)

    @property
    def _form(self) -> HeadForm:
        return self._known or self._quadratic_form()

    def damped_cook(self, factor: float, data: FeatureBatches) -> Tensor:
        """Cook's distances ``(b,)`` float64 of the points of ``data``, were the ridge and damping ``factor``
        times what they are; without a pass over the points of the fit, and without an inverse."""
        dense = self._curvature.penalized(self.risk.penalty(factor)).dense()
        # Of a convex loss it lies between H and factor x H: so much larger can its condition number be.
        condition = max(factor, 1.0 / factor) * self.inverse.condition
        known = self.head.loss.convex and not self.inverse.cut
        lower, failed = torch.linalg.cholesky_ex(dense)
        regular = known and condition * self._noise * dense.shape[1] < 1.0 and not bool(failed.any())
        inverse = None if regular else factorize(dense, noise=self._noise).matrix
        del dense

        def cook(chunk: Chunk) -> Tensor:
            rows = self._gradients(chunk).transpose(0, 1)  # (G, b, P / G)
            if inverse is not None:
                return (rows * (rows @ inverse)).sum((0, 2))
            return torch.linalg.solve_triangular(lower.mT, rows, upper=True, left=False).square().sum((0, 2))

        return torch.cat([cook(chunk) for chunk in self.risk.chunks(data)])

    def of(self, data: FeatureBatches) -> Influence:
        """The same inverse Hessian for the points of a shard: their :meth:`scores` are those in the whole."""
        other = copy.copy(self)
        other.data, other.risk, other._expected = data, self.risk.of(data), None
        return other

    def unseen(self, data: FeatureBatches) -> Influence:
        """See :meth:`HeadSolution.unseen`. What a point has in directions of the features that no point of
        the fit has meets the ridge and damping alone, and counts for nothing where there are none."""
        other = self.of(data)
        other._removes = False
        other._beyond = Beyond(self.risk) if self.summary.dropped else None
        return other

    def _felt(self) -> float:
        """How much larger a relative error of the Hessian's entries is in the Cook's distance of nearly all
        points: sum_j H_jj x_j^2 / x^T H x for x = H^-1 g, of a sample. A condition number of the equations
        for the right-hand sides there are (Chan & Foulser, 1988); that of the matrix is for the worst there
        could be."""
        gradients = torch.cat([self._gradients(chunk) for chunk in self.risk.chunks(self.risk.few)])
        steps = torch.einsum("gpq,bgq->bgp", self.inverse.matrix, gradients)
        felt = (steps.square() * self._curvature.diagonal()).sum((1, 2)) / (steps * gradients).sum((1, 2))
        felt = felt[felt.isfinite()].abs()
        return float(felt.quantile(_NEARLY_ALL)) if len(felt) else 1.0

    @property
    def _noise(self) -> float:
        """Relative accuracy of the Hessian's entries."""
        return 0.1 * torch.finfo(self.dtype).eps

    def facts(self) -> Facts:
        return Facts(
            solver=f"closed form, Cholesky of {self.inverse.matrix.shape[0] * self.inverse.matrix.shape[1]:,}"
            " parameters",
            outcome=self.inverse.outcome,
            precision=str(self.dtype).removeprefix("torch."),
            error=Expected(
                self.estimated_error,
                f"rounding of the products in {str(self.dtype).removeprefix('torch.')}, estimated from a"
                " sample of the points",
                held_to=ACCURACY,
            ),
            decrement=self.newton_step().decrement,
            saturated=self.summary.saturated,
            dropped=self.summary.dropped,
            condition=self.inverse.condition,
            cut=self.inverse.cut,
            negative=self.inverse.negative,
        )

    def newton_step(self) -> NewtonStep:
        """From the head towards the minimum of mean loss and ridge."""
        return newton_step(self.risk, self.summary, self.inverse.matrix)

    def scores(
        self,
        *,
        removal: Removal = "infinitesimal",
        probabilities: bool = False,
        leave_one_out: bool = True,
        on_chunk: Callable[[int], None] | None = None,
    ) -> Scores:
        """Of every point, in one pass; see :meth:`HeadSolution.scores`.

        Args:
            leave_one_out: False skips the by-products (``loo_loss``, ``margin``,
                ``suggested_label`` are then those of the fitted model).
        """
        check_removal(removal)
        score = partial(
            self._score, removal=removal, leave_one_out=leave_one_out, probabilities=probabilities
        )
        columns = collected(self.risk.map(score), on_chunk)
        done = len(columns["cook"])
        if self._expected is not None and done != self._expected:
            raise InputError(
                f"the data gave {self.summary.points} points in the first pass and {done} in the second;"
                " pass a dataset or loader that can be iterated twice"
            )
        return Scores(**columns)

    def columns(
        self, data: FeatureBatches, *, removal: Removal, probabilities: bool = False
    ) -> Iterator[dict[str, Tensor]]:
        """The columns of :class:`Scores` for the points of a shard, chunk by chunk, ``(b,)`` each, and
        ``right``, whether the head's first choice is their label."""

        def score(chunk: Chunk) -> dict[str, Tensor]:
            right = self.risk.right(chunk)
            found = torch.zeros(len(chunk), dtype=torch.bool) if right is None else right
            return {
                **self._score(chunk, removal=removal, leave_one_out=True, probabilities=probabilities),
                "right": found,
            }

        return self.risk.map(score, data)

    def cook(self, data: FeatureBatches) -> Iterator[tuple[Chunk, Tensor]]:
        """Cook's distance alone, ``(b,)`` float64, of the points of a shard, chunk by chunk."""

        def score(chunk: Chunk) -> tuple[Chunk, Tensor]:
            features, residuals = self.risk.features(chunk), self.risk.residuals(chunk)
            return chunk, torch.cat(
                [of(features[:, rows], residuals[..., rows]) for rows in self._parts(len(chunk))]
            )

        def of(features: Tensor, residuals: Tensor) -> Tensor:
            if not self._narrow:
                return self._form.from_blocks(self._form.blocks(features)[0], residuals)
            vectors = residuals[0].T
            return (vectors * self._products(features).times(vectors)).sum(1)

        return self.risk.map(score, data)

    def by_label(self) -> Iterator[Tensor]:
        """Cook's distance of every point had it each of the classes as its label, ``(b, classes)`` float64,
        chunk by chunk: the inverse Hessian does not depend on it for the losses of
        :mod:`swaypoint.scoring.risks.losses` that have classes.

        Raises:
            InputError: the loss has no classes.
        """
        loss = self.head.loss
        if not loss.classifies or (loss.separable and self.head.outputs > 1):
            raise InputError(f"{loss.name!r} has not one class a point, so no other label to compare with")
        classes = max(self.head.outputs, 2)

        def score(chunk: Chunk) -> Tensor:
            features = self.risk.features(chunk)
            return torch.cat([part(chunk, features[:, rows], rows) for rows in self._parts(len(chunk))])

        form = self._form

        def part(chunk: Chunk, features: Tensor, rows: slice) -> Tensor:
            blocks, _ = form.blocks(features)
            columns = []
            for label in range(classes):
                targets = loss.relabelled(chunk.targets[rows], label)
                residual = loss.terms(chunk.logits[rows], targets).residual
                residuals = torch.stack([basis.T @ residual.T for basis in self.risk.outputs])
                columns.append(form.from_blocks(blocks, residuals))
            return torch.stack(columns, 1)

        return self.risk.map(score)

    def on(self, queries: FeatureBatches) -> Iterator[tuple[int, Tensor]]:
        """Influence I(z, z') = g(z')^T H^-1 g(z) of every point z on every query z' (the paper's
        Eq. 1; Koh & Liang, 2017, write it with a minus sign).

        Removing z from the training changes the loss at z' by about + I(z, z') / n.

        Yields:
            The position of the first point and the values ``(n_queries, b)`` float64 of b points.
        """
        rows = [self._gradients(chunk) for chunk in self.risk.chunks(queries)]
        solved = [torch.einsum("gpq,bgq->bgp", self.inverse.matrix, g).flatten(1) for g in rows]
        products = torch.cat(solved)
        done = 0
        for chunk in self.risk.chunks():
            yield done, products @ self._gradients(chunk).flatten(1).T
            done += len(chunk)

    def _gradients(self, chunk: Chunk) -> Tensor:
        """Gradients in the reduced coordinates, ``(b, G, P / G)``."""
        residuals, features = self.risk.residuals(chunk), self.risk.features(chunk).double()
        return torch.einsum("gmb,db->bgmd", residuals, features).flatten(2)

    def _score(
        self, chunk: Chunk, *, removal: Removal, leave_one_out: bool, probabilities: bool
    ) -> dict[str, Tensor]:
        risk, loss = self.risk, self.head.loss
        leave_one_out = leave_one_out and self._removes
        change = leave_one_out or removal == "finite"
        found = [self._of_points(chunk, rows, change) for rows in self._parts(len(chunk))]
        cook, leverage, moved, shift = (torch.cat(column, -1) for column in zip(*found, strict=True))
        if loss.convex:  # less than 0 is rounding, beside entries of the inverse that cancel
            cook = cook.clamp_min(0.0)
        logits, left_out = chunk.logits, chunk.terms
        beside = {}
        if removal == "finite":
            # Leverage one: without the point the fit is undetermined; it sways without bound.
            beside["first_order"] = cook
            cook = moved.nan_to_num(nan=torch.inf)
        if change and self._removes:
            logits = logits + risk.logits_step(shift)
            left_out = loss.terms(logits, chunk.targets)
        leverage = chunk.terms.weighed(leverage)
        if not self._removes:
            leverage = leverage / (1.0 + leverage)
            apart = None if self._beyond is None else self._beyond.apart(chunk)
            leverage = leverage if apart is None else torch.where(apart, 1.0, leverage)
        columns = {
            "cook": cook,
            "loss": chunk.terms.value,
            "loo_loss": left_out.value,
            "leverage": leverage,
            **prediction(chunk, loss.mean(logits), left_out.probabilities, loss.labels(chunk.targets)),
            **beside,
        }
        if probabilities:
            columns |= kept(left_out.probabilities, chunk.terms.probabilities)
        return columns

    def _parts(self, points: int) -> list[slice]:
        """Of a chunk, as many points at a time as their (m, m) blocks, or gradients, leave memory for."""
        m = self.risk.outputs[0].shape[1]
        entries = m * self.risk.head.width if self._narrow else len(self.risk.outputs) * m**2
        most = _TOGETHER if self._narrow else points
        step = max(1, min(most, _BLOCK_BYTES // (_COPIES * 8 * entries * self._threads)))
        return [slice(start, start + step) for start in range(0, points, step)]

    def _of_points(self, chunk: Chunk, rows: slice, change: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of some points of a chunk: Cook's distance, leverage, Cook's distance of their removal, or of their
        addition, ``(b,)`` each, and the shift of their logits by it, ``(G, m, b)``; zeros without
        ``change``."""
        beyond, residuals = self._beyond, self.risk.residuals(chunk)[..., rows]
        features = self.risk.features(chunk) if beyond is None else beyond.features(chunk).to(self.dtype)
        features, curvature = features[:, rows], chunk.terms.curvature.rows(rows)
        points = self.summary.points if self._removes else -self.summary.points
        if self.risk.wide:
            blocks, leverage = self._blocks_of_many(chunk, rows, features, residuals.shape[1])
            cook = (residuals[0].T * blocks.times(residuals[0].T.contiguous())).sum(1)
        else:
            packed, leverages = self._form.blocks(features)
            if beyond is not None:  # of any size
                packed = packed.double() + beyond.blocks(chunk, rows)
            leverage = leverages[0].to(torch.float64, copy=True)  # no view, which keeps the blocks
            cook = self._form.from_blocks(packed, residuals)
        if not change:
            return cook, leverage, torch.zeros_like(cook), torch.zeros_like(residuals)
        if self.risk.wide:
            found = [of_many_outputs(curvature, self.risk.outputs[0], blocks, residuals[0], points)]
        else:
            groups = zip(self.risk.outputs, packed, residuals, strict=True)
            found = [of_few_outputs(curvature, *group, points) for group in groups]
        corrected, shift = (torch.stack(parts) for parts in zip(*found, strict=True))
        return cook, leverage, points * (corrected * shift).sum((0, 1)), shift

    def _blocks_of_many(
        self, chunk: Chunk, rows: slice, features: Tensor, outputs: int
    ) -> tuple[outer.Blocks, Tensor]:
        """The blocks A_i of a wide head's points, and their leverages ``(b,)``."""
        beyond = self._beyond
        if self._narrow:
            outside = None if beyond is None else beyond.outside(chunk, rows)
            return self._products(features, outside), self.risk.leverages(features)
        packed, leverages = self._form.blocks(features)
        if beyond is not None:
            packed = packed + beyond.blocks(chunk, rows)
        return outer.HeldBlocks.of(packed[0], outputs), leverages[0].clone()

    def _products(self, features: Tensor, outside: Tensor | None = None) -> outer.Products:
        """The blocks of a wide head's points with ``features`` (k, b), by products with the inverse;
        ``outside`` of :meth:`~swaypoint.scoring.risks.beyond.Beyond.outside`."""
        rows, inverse = features.T.to(self.inverse.matrix), self.inverse.matrix[0]
        if outside is None or self._beyond is None:
            return outer.Products(inverse, rows)
        gram = self._beyond.grams[0][unpack_index(self.risk.outputs[0].shape[1], rows.device)].squeeze(2)
        return outer.Products(inverse, rows, outside, gram)

    def factor(self) -> dict[str, Tensor]:
        return {"inverse": self.inverse.matrix, **self.risk.coordinates()}

    def __repr__(self) -> str:
        return f"Influence(n={self.summary.points}, dtype={self.dtype}, {self.inverse.outcome})"
