"""The empirical risk of a linear head: two passes over the data, memory independent of n.

Pass one accumulates second moments, pass two contracts them against each point. See
``operators/moments.py`` for the algebra and ``risks/coordinates.py`` for the coordinates.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from swaypoint.data.batches import ArrayBatches, FeatureBatches, pieces
from swaypoint.data.folds import Fold, InProcess, Statistic, total
from swaypoint.data.parallel import ordered_map
from swaypoint.errors import InputError
from swaypoint.scoring.operators import outer
from swaypoint.scoring.operators.logits import DiagonalMinusOuter, LogitCurvature, pair_map
from swaypoint.scoring.operators.moments import FeaturePairs, HeadCurvature
from swaypoint.scoring.operators.packed import pair_count
from swaypoint.scoring.risks.chunk import Chunk, Summary, check_range, room
from swaypoint.scoring.risks.coordinates import (
    Conditioning,
    FeatureRange,
    conditioning,
    contrasts,
    feature_range,
    inverse_form,
)
from swaypoint.scoring.risks.losses import Loss

Result = TypeVar("Result")
_SAMPLE, _FEW = 4096, 256
_BATCH = 8192
_CHUNK = 8192
_CHUNK_BYTES = 8 << 20
_LEAST_BYTES = 64 << 20
_KEPT_BYTES = 1 << 30
_CURVED_BYTES = 256 << 20


@dataclass(frozen=True)
class HeadWeights:
    """The trained head z = W phi + b and the objective it was trained on.

    Args:
        weight: ``(C, D)``; bias: ``(C,)`` or None.
        loss: the per-sample loss.
        l2: ridge of the training objective mean loss + (l2 / 2) ||theta||^2.
        penalize_bias: whether the ridge covers the bias (torch's weight decay: yes;
            scikit-learn: no).
    """

    weight: Tensor
    bias: Tensor | None
    loss: Loss
    l2: float = 0.0
    penalize_bias: bool = True

    @property
    def outputs(self) -> int:
        return self.weight.shape[0]

    @property
    def width(self) -> int:
        """Features seen by the head, the constant 1 of the bias included."""
        return self.weight.shape[1] + (self.bias is not None)

    @property
    def matrix(self) -> Tensor:
        """W and b side by side, ``(C, D [+ 1])`` float64."""
        weight = self.weight.detach().double()
        if self.bias is None:
            return weight
        return torch.cat([weight, self.bias.detach().double().unsqueeze(1)], 1)

    def at(self, matrix: Tensor) -> HeadWeights:
        """The same objective at another :attr:`matrix`."""
        weight, bias = matrix[:, : self.weight.shape[1]], None if self.bias is None else matrix[:, -1]
        return replace(self, weight=weight, bias=bias)

    def penalty(self, damping: float) -> Tensor:
        """Diagonal of ridge plus damping over the columns of :attr:`matrix`."""
        ridge = torch.full((self.width,), self.l2, dtype=torch.float64)
        if self.bias is not None and not self.penalize_bias:
            ridge[-1] = 0.0
        return ridge + damping


class LinearHeadRisk:
    """Mean loss of ``data`` as a function of a head's parameters.

    Args:
        head: weights and objective.
        data: features and targets.
        damping: added to the Hessian for every parameter, the bias included.
        dtype: of the large products (float32 or float64); everything pointwise is float64.
        device: where to compute.
        chunk: points evaluated at a time; default: what the cache holds.

    Raises:
        InputError: wrong shapes, non-finite features or labels out of range; the row is named.
    """

    def __init__(
        self,
        head: HeadWeights,
        data: FeatureBatches,
        *,
        damping: float = 0.0,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        chunk: int | None = None,
    ) -> None:
        if damping < 0 or head.l2 < 0:
            raise InputError(f"l2 is {head.l2} and damping is {damping}; both must be >= 0")
        self.head, self.data, self.dtype = head, data, dtype
        self.device, self.damping = torch.device(device), damping
        self._matrix = head.matrix.to(self.device)
        if not bool(torch.isfinite(self._matrix).all()):
            raise InputError("the head's weights are NaN or infinite; the training has diverged")
        outputs = head.outputs
        gauge = contrasts(outputs) if head.loss.shift_invariant else torch.eye(outputs, dtype=torch.float64)
        gauge = gauge.to(self.device)
        # (C, m) per group: the coupled outputs in one group, or every output a group of its own.
        self._gauge = list(gauge.split(1, 1)) if head.loss.separable else [gauge]
        self._resolution = 0.0
        self.range: FeatureRange | None = None
        # As many points as keep a chunk's arrays near the cache, and at any rate within memory.
        m = self._gauge[0].shape[1]
        self._many = head.loss.shift_invariant and outer.cheaper(outputs, head.width)
        entries = head.width + len(self._gauge) * (m * head.width if self._many else pair_count(m))
        least = max(1, min(512, _LEAST_BYTES // (8 * entries)))
        self._chunk_size = chunk or max(least, min(_CHUNK, _CHUNK_BYTES // (8 * entries)))
        self._chunks: list[Chunk] | None = None
        self._kept: list[tuple[Tensor, Tensor]] | None = None
        self._sampled: tuple[Tensor, Tensor] | None = None
        self._curved: tuple[Tensor, list[LogitCurvature]] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the points that are remembered: workers of a fold have shards of their own."""
        _ = self._conditioning  # of the whole, before a shard takes its place; a copy asks for it as well
        return self.__dict__ | {"_chunks": None, "_kept": None, "_sampled": None, "_curved": None}

    def of(self, data: FeatureBatches) -> LinearHeadRisk:
        """The same coordinates for other points."""
        other = copy.copy(self)
        other.data, other._chunks, other._kept, other._sampled = data, None, None, None
        other._curved = None
        return other

    # -- points ---------------------------------------------------------------------------------

    def _columns(self, features: Tensor, targets: Tensor, offset: int) -> tuple[Tensor, Tensor]:
        """Features as float64 columns ``(D, b)`` with the constant 1, and checked targets."""
        expected = self.head.weight.shape[1]
        if features.ndim != 2 or features.shape[1] != expected:
            raise InputError(f"features have shape {tuple(features.shape)}; the head takes (n, {expected})")
        if features.is_floating_point():
            self._resolution = max(self._resolution, torch.finfo(features.dtype).eps)
        columns = self._as_columns(features)
        check_range(columns, offset)
        return columns, self.head.loss.check(targets.to(self.device), self.head.outputs, offset)

    def _as_columns(self, features: Tensor) -> Tensor:
        given, size = features.T.to(self.device), (self.head.width, len(features))
        columns = given.new_empty(size if given.is_contiguous() else size[::-1], dtype=torch.float64)
        columns = columns if given.is_contiguous() else columns.T  # as they came: turning takes longer
        columns[: len(given)] = given
        columns[len(given) :] = 1.0
        return columns

    def _chunk(self, features: Tensor, targets: Tensor, offset: int) -> Chunk:
        columns, targets = self._columns(features, targets, offset)
        logits = (self._matrix @ columns).T
        remake = partial(self._as_columns, features)
        return Chunk(columns, targets, logits, loss=self.head.loss, offset=offset, remake=remake)

    def map(
        self, function: Callable[[Chunk], Result], data: FeatureBatches | None = None
    ) -> Iterator[Result]:
        """``function`` of every chunk of the dataset (or other ``data``), in order, on all cores."""
        if data is None and self._chunks is not None:
            yield from ordered_map(function, self._chunks, self.device)
            return

        def evaluate(piece: tuple[Tensor, Tensor, int]) -> tuple[Chunk, Result]:
            chunk = self._chunk(*piece)
            return chunk, function(chunk)

        kept, left, threads = list[Chunk](), 0, 1  # shards are cut alike, whoever works on them
        if data is None:
            left, threads = room(self.device), torch.get_num_threads() if self.device.type == "cpu" else 1
        points = pieces(self.data if data is None else data, self._chunk_size, threads)
        for chunk, result in ordered_map(evaluate, points, self.device):
            left -= chunk.release()
            kept = [] if left < 0 else kept
            kept.append(chunk)
            yield result
        if data is None and left >= 0:
            self._chunks = kept

    def chunks(self, data: FeatureBatches | None = None) -> Iterator[Chunk]:
        """The dataset (or other ``data``) in its order, some points at a time, their terms made."""

        def whole(chunk: Chunk) -> Chunk:
            _ = chunk.terms
            return chunk

        return self.map(whole, data)

    # -- coordinates ----------------------------------------------------------------------------

    @cached_property
    def _conditioning(self) -> Conditioning:
        """Of a sample: values that no coordinates are needed for are computed without."""
        outputs = self.head.outputs
        entries = outputs if self.head.loss.convex else outputs**2  # of the curvature of a point
        sample = self.data.sample(max(64, min(_SAMPLE, _LEAST_BYTES // (8 * entries))))
        thin = slice(None, None, len(sample[0]) // _FEW + 1)  # some that stand for all
        self.few = ArrayBatches(sample[0][thin].clone(), sample[1][thin].clone())
        ridge = self.head.penalty(self.damping)
        return conditioning(self._chunk(*sample, 0), self._gauge, ridge, convex=self.head.loss.convex)

    @property
    def outputs(self) -> list[Tensor]:
        """Whitened bases of the outputs, ``(C, m)`` a group."""
        return self._conditioning.outputs

    @property
    def wide(self) -> bool:
        """Softmax of so many classes, on so few features, that pairs of outputs are not formed."""
        return self._many and self._conditioning.coupled

    @property
    def _paired(self) -> bool:
        return self._conditioning.paired and not self.wide

    def residuals(self, chunk: Chunk) -> Tensor:
        """r in the output coordinates, ``(G, m, b)`` float64."""
        return torch.stack([basis.T @ chunk.terms.residual.T for basis in self.outputs])

    def features(self, chunk: Chunk) -> Tensor:
        """phi in the feature coordinates, ``(k, b)``, in the dtype of the products."""
        if self.range is not None and self.range.dropped:
            return (self.range.map.T @ chunk.features).to(self.dtype)
        if chunk.reduced is None:
            chunk.reduced = (self._conditioning.features.T @ chunk.features).to(self.dtype)
        return chunk.reduced

    def logits_step(self, steps: Tensor) -> Tensor:
        """A change of the reduced logits as one of the C logits: (G, m, b) -> (b, C)."""
        parts = [(basis @ step).T for basis, step in zip(self.outputs, steps, strict=True)]
        return torch.stack(parts).sum(0)

    def gradient_coordinates(self, gradient: Tensor) -> Tensor:
        """A raw (C, D) gradient in the reduced coordinates, ``(G, m * k)``."""
        assert self.range is not None
        return torch.stack([(basis.T @ gradient @ self.range.map).flatten() for basis in self.outputs])

    def feature_map(self) -> Tensor:
        """Full-rank whitened feature coordinates ``(D, k)`` from one pass, without the curvature."""
        second, n = torch.zeros(self.head.width, self.head.width, dtype=torch.float64, device=self.device), 0
        for chunk in self.chunks():
            second += chunk.terms.weighed(chunk.features) @ chunk.features.T
            n += len(chunk)
        self.range, _ = feature_range(second / n, self._conditioning.features, self._resolution)
        self.leverage_form = inverse_form(self.range.map.T @ second @ self.range.map)
        return self.range.map

    @property
    def dropped(self) -> int:
        """Dead or collinear feature directions projected out by :meth:`feature_map`."""
        assert self.range is not None
        return self.range.dropped

    def range_penalty(self) -> Tensor:
        """Ridge plus damping in the coordinates of :meth:`feature_map`, ``(k, k)``."""
        assert self.range is not None
        return self.range.penalty(self.head.penalty(self.damping).to(self.device))

    def coordinates(self) -> dict[str, Tensor]:
        """The maps into the reduced coordinates: ``outputs`` (G, C, m) and ``features`` (D, k)."""
        assert self.range is not None
        return {"outputs": torch.stack(self.outputs), "features": self.range.map}

    # -- as a function of the head's matrix -----------------------------------------------------

    @property
    def matrix(self) -> Tensor:
        """W and b side by side, ``(C, D [+ 1])`` float64, where the risk is taken."""
        return self._matrix

    def sampled(self, size: int) -> tuple[Tensor, Tensor]:
        """Checked columns ``(D, b)`` and targets of about ``size`` points, the same each time."""
        if self._sampled is None:
            self._sampled = self._columns(*self.data.sample(size), 0)
        return self._sampled

    def _points(self) -> Iterable[tuple[Tensor, Tensor]]:
        """Checked columns and targets, in large batches; kept when they fit in ``_KEPT_BYTES``."""
        if self._kept is not None:
            return self._kept
        if len(self.data) * self.head.width * 8 > _KEPT_BYTES:
            return self._read_points()
        self._kept = list(self._read_points())
        return self._kept

    def _read_points(self) -> Iterator[tuple[Tensor, Tensor]]:
        offset = 0
        for features, targets in self.data:
            for start in range(0, len(features), _BATCH):
                rows = slice(start, start + _BATCH)
                yield self._columns(features[rows], targets[rows], offset + start)
            offset += len(features)

    def objective(self, matrix: Tensor) -> tuple[float, Tensor, float]:
        """Mean loss plus ridge at ``matrix``, its gradient ``(C, D)``, the residuals' rms."""
        penalty = self.head.penalty(self.damping).to(self.device)
        value, square, n, gradient = 0.0, 0.0, 0, torch.zeros_like(matrix)
        for features, targets in self._points():
            terms = self.head.loss.terms((matrix @ features).T, targets)
            value += float(terms.value.sum())
            square += float(terms.residual.square().sum())
            gradient += (features @ terms.residual).T
            n += features.shape[1]
        ridge = 0.5 * float((penalty * matrix.square()).sum())
        return value / n + ridge, gradient / n + penalty * matrix, (square / n) ** 0.5

    def hessian_product(self, matrix: Tensor, step: Tensor) -> Tensor:
        """Hessian of :meth:`objective` at ``matrix`` times ``step``: ``(C, D) -> (C, D)``."""
        product, n = torch.zeros_like(matrix), 0
        for features, curvature in self._curvatures(matrix):
            product += (features @ curvature.matmul((step @ features).T)).T
            n += features.shape[1]
        return product / n + self.head.penalty(self.damping).to(self.device) * step

    def _curvatures(self, matrix: Tensor) -> Iterator[tuple[Tensor, LogitCurvature]]:
        """Columns of points and their curvature at ``matrix``, in the batches of :meth:`_points`; that of the
        last matrix asked for is kept where it fits in ``_CURVED_BYTES``: conjugate gradients ask for it again
        and again, and of many outputs their exponentials are most of a product."""
        entries = self.head.outputs if self.head.loss.convex else self.head.outputs**2
        keep = self._kept is not None and 16 * len(self.data) * entries <= _CURVED_BYTES
        if keep and self._curved is not None and self._curved[0] is matrix:
            for (features, _), curvature in zip(self._points(), self._curved[1], strict=True):
                yield features, curvature
            return
        known = []
        for features, targets in self._points():
            curvature = self.head.loss.terms((matrix @ features).T, targets).curvature
            known += [curvature] if keep else []
            yield features, curvature
        self._curved = (matrix, known) if keep else None

    # -- pass one -------------------------------------------------------------------------------

    def curvature(self, fold: Fold | None = None) -> tuple[HeadCurvature, Summary]:
        """The Hessian of the mean loss (plus ridge and damping), and a summary of the data.

        Args:
            fold: where the data's shards are worked on; default: in this process.

        Raises:
            InputError: see the class.
        """
        _ = self._conditioning  # once, not by each thread
        self.range = None
        pairs = FeaturePairs(self.head.width, self.dtype, self.device)
        name = f"curvature-loss-{str(self.dtype).removeprefix('torch.')}"  # earlier sums had no loss
        sums = (fold or InProcess(self.device)).total(name, partial(self._moments, pairs), self.data.shards())
        if sums is None:
            raise InputError("the data is empty; expected at least one row")
        second, n = sums["second"].to(self.device), int(sums["points"])
        self.range, project = feature_range(second / n, self._conditioning.features, self._resolution)
        if self.wide:
            of_u, of_d = (sums.pop(name).to(self.device) for name in ("outer", "diagonal"))
            unpacked = outer.packed(of_u, of_d, self.outputs[0]).div_(n).unsqueeze(0)
        else:
            packed = sums["packed"].to(self.device) / n
            packed = pair_map(self.outputs[0]) @ packed / self._conditioning.scale if self._paired else packed
            unpacked = pairs.unpack(packed).unflatten(0, (len(self.outputs), -1))
        if project is not None:
            unpacked = project.T @ unpacked @ project
        curvature = HeadCurvature(unpacked, self.penalty(), dtype=self.dtype)
        self.leverage_form = inverse_form(self.range.map.T @ second @ self.range.map)
        loss, gradient, share = (sums[name].to(self.device) / n for name in ("loss", "gradient", "saturated"))
        known = float(share) if self.head.loss.classifies else None
        return curvature, Summary(n, float(loss), gradient, known, self.range.dropped)

    def penalty(self, factor: float = 1.0) -> tuple[Tensor, Tensor] | None:
        """``factor`` times ridge plus damping in the reduced coordinates, as :class:`HeadCurvature` adds it;
        None: there are none."""
        assert self.range is not None
        diagonal = factor * self.head.penalty(self.damping).to(self.device)
        if not bool(diagonal.any()):
            return None
        outputs = torch.stack([basis.T @ basis for basis in self.outputs])
        return outputs, self.range.penalty(diagonal)

    def _moments(self, pairs: FeaturePairs, shard: FeatureBatches) -> Statistic:
        """Of one shard: the second moments behind the curvature, feature moment (D, D), loss, its gradient
        (C, D), the number of saturated points and of all."""

        def of(chunk: Chunk) -> Statistic:
            return {
                **self._second_moments(pairs, chunk),
                "second": chunk.terms.weighed(chunk.features) @ chunk.features.T,
                "loss": chunk.terms.value.sum(),
                "gradient": (chunk.features @ chunk.terms.residual).T,
                "saturated": self.saturated(chunk),
                "points": torch.tensor(len(chunk)),
            }

        # The whole dataset as its only shard is remembered between the passes.
        moments = total(self.map(of, None if shard is self.data else shard))
        return {} if moments is None else moments

    def _second_moments(self, pairs: FeaturePairs, chunk: Chunk) -> Statistic:
        features, curvature = self.features(chunk), chunk.terms.curvature
        if not isinstance(curvature, DiagonalMinusOuter) or not (self.wide or self._paired):
            packed = torch.cat([curvature.project(basis) for basis in self.outputs])
        elif self.wide:
            return outer.moments(curvature, self.outputs[0], features.double())
        else:  # only their sum is taken to the outputs' coordinates
            packed = curvature.pairs(self._conditioning.scale, self.dtype)
        return {"packed": pairs.accumulate(packed.to(self.dtype), features)}

    def right(self, chunk: Chunk) -> Tensor | None:
        """Which points have their label as the head's first choice, ``(b,)`` bool; None without classes."""
        labels = self.head.loss.labels(chunk.targets)
        if labels is None or chunk.terms.probabilities is None:
            return None
        return chunk.terms.probabilities.max(1).indices == labels

    def saturated(self, chunk: Chunk) -> Tensor:
        """How many of the points have p_y > 1 - 1e-6."""
        labels = self.head.loss.labels(chunk.targets)
        if labels is None or chunk.terms.probabilities is None:
            return torch.zeros((), dtype=torch.float64, device=self.device)
        return (chunk.terms.probabilities.gather(1, labels.unsqueeze(1)) > 1 - 1e-6).sum().double()

    def leverages(self, features: Tensor) -> Tensor:
        """phi^T (Phi^T Phi)^+ phi of reduced features ``(k, b) -> (b,)``, in 0..1."""
        features = features.double()
        return (features * (self.leverage_form @ features)).sum(0)
