"""Curvature of a linear head by second-moment contraction.

With gradients g_i = r_i (x) phi_i and curvature blocks Lambda_i (x) phi_i phi_i^T, the mean Hessian
is the matrix product T^T S / n of T_i, the distinct entries of Lambda_i, and S_i, the distinct
products of phi_i phi_i^T; and the blocks A_i = U_i^T K U_i (U_i = I (x) phi_i) that give both Cook's
distance and leave-one-out are S_i contracted with K in the same packed form. Two large GEMMs, both
symmetries used, no solve per point. Of few outputs S would take longer to form than to use: there each of
the few entries weighs the features, or is a form of its own, in GEMMs of D rows.

Layouts: points are columns. ``features`` (D, b), ``residuals`` (G, m, b); G groups of m outputs that
the loss couples (softmax: one group of C - 1 contrasts; separable losses: C groups of one).
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from swaypoint.scoring.operators.packed import pack_pairs, pair_weights, unpack_index

_STEP = {"cpu": 512, "cuda": 16384}
"""Points whose products are formed at a time: on a CPU they stay in the cache (a third faster than
2,048 at D = 65)."""
_BAND = 5
_BUFFER_ROWS = 640
_FEW, _PART, _MOST = 12, 8, 2**26
"""Rows of coefficients up to which no products of features are formed, or so many parts of the width where
that is more (``python -m benchmarks.contraction --few`` has what that is worth), as long as their sums, which
are held twice over, have no more entries than this."""
_HEIGHT, _LEAST = 34, 100
"""Features, about, that are then taken together against all from their first on, as long as that makes a
product of so many rows: the fewer, the fewer products below the diagonal are made, and the slower."""


class FeaturePairs:
    """Products phi_d phi_e of feature columns, streamed through a buffer that each thread reuses; of few rows
    of coefficients none are formed.

    Features are taken in bands of ``_BAND`` rows, each against all rows from its first on: one call
    a band. The few products below the diagonal of a band are formed twice (6 % at D = 65), which
    costs far less than a call for every row would, or an index gather. ``dtype`` is that of the
    products and of the GEMMs.
    """

    def __init__(self, width: int, dtype: torch.dtype, device: torch.device) -> None:
        self.width, self.dtype = width, dtype
        self.bands = [(d, min(d + _BAND, width)) for d in range(0, width, _BAND)]
        left, right, scale = [], [], []
        for first, last in self.bands:
            d, e = torch.meshgrid(torch.arange(first, last), torch.arange(first, width), indexing="ij")
            left.append(d.flatten())
            right.append(e.flatten())
            scale.append(torch.where(e < last, 0.5, 1.0).flatten())
        self._left, self._right = torch.cat(left).to(device), torch.cat(right).to(device)
        self._scale = torch.cat(scale).double().to(device)
        self.pairs = len(self._left)
        self._make = partial(_Products, self.bands, width, dtype, device)
        self._local = threading.local()
        self._halves = dict[int, _Half]()
        self._arguments = (width, dtype, device)

    def __reduce__(self) -> tuple[Any, ...]:
        return FeaturePairs, self._arguments  # the threads' buffers stay where they are

    def unpack(self, packed: Tensor) -> Tensor:
        """Symmetric matrices from their packed entries: ``(.., pairs) -> (.., D, D)``."""
        index = torch.empty(self.width, self.width, dtype=torch.long, device=packed.device)
        positions = torch.arange(self.pairs, device=packed.device)
        upper = self._left <= self._right
        index[self._left[upper], self._right[upper]] = positions[upper]
        index[self._right[upper], self._left[upper]] = positions[upper]
        return packed[..., index]

    def form(self, matrices: Tensor) -> Callable[[Tensor], Tensor]:
        """phi^T K phi of each K of ``matrices`` (Q, D, D): a function of features (D, b) to (Q, b), both in
        :attr:`dtype`."""
        if self._few(len(matrices)):
            both, parts = matrices + matrices.mT, []
            # What the bands leave out below the diagonal counts above it.
            for first, last in self._half(len(matrices)).bands:
                part = both[:, first:last, first:].clone()
                part[..., : last - first] /= 2
                parts.append((first, last, part.to(self.dtype).flatten(0, 1)))
            return partial(self._forms, len(matrices), parts)
        left, right = self._left, self._right
        packed = (matrices[:, left, right] + matrices[:, right, left]) * self._scale
        return partial(self._contract, packed.to(self.dtype))

    def _few(self, rows: int) -> bool:
        return rows <= max(_FEW, self.width // _PART) and rows * self.width**2 <= _MOST

    def _half(self, rows: int) -> _Half:
        count = max(1, round(self.width / max(_HEIGHT, _LEAST / rows)))
        if count not in self._halves:
            self._halves[count] = _Half(self.width, count, self._left, self._right)
        return self._halves[count]

    def _products(self) -> _Products:
        if not hasattr(self._local, "products"):
            self._local.products = self._make()
        return self._local.products

    def accumulate(self, coefficients: Tensor, features: Tensor) -> Tensor:
        """``coefficients @ S^T``: (Q, b), (D, b), both in :attr:`dtype`, -> (Q, pairs) float64."""
        if self._few(len(coefficients)):
            return self._weighed(coefficients, features)
        products, count = self._products(), len(coefficients)
        coefficients = _filled(coefficients)
        total = torch.zeros(len(coefficients), self.pairs).to(coefficients)
        for columns in products.steps(features.shape[1]):
            for start, stop, block in products.of(features[:, columns]):
                total[:, start:stop].addmm_(coefficients[:, columns], block.T)
        return total[:count].double()

    def _weighed(self, coefficients: Tensor, features: Tensor) -> Tensor:
        """:meth:`accumulate`, of features that are weighed by each row of coefficients."""
        products, count, half = self._products(), len(coefficients), self._half(len(coefficients))
        totals = [torch.zeros(count * (b - a), self.width - a).to(features) for a, b in half.bands]
        for columns in products.steps(features.shape[1]):
            part, weights = features[:, columns], coefficients[:, None, columns]
            for (first, last), total in zip(half.bands, totals, strict=True):
                weighed = products.rows(len(total), part.shape[1])
                torch.mul(weights, part[first:last], out=weighed.view(count, last - first, part.shape[1]))
                total.addmm_(weighed, part[first:].T)
        return torch.cat([total.view(count, -1) for total in totals], 1)[:, half.place].double()

    def _forms(self, count: int, matrices: list[tuple[int, int, Tensor]], features: Tensor) -> Tensor:
        """phi^T K phi of few matrices, see :meth:`form`. Always of as many columns, whatever they are: a
        kernel of another shape would round a point's value otherwise."""
        products = self._products()
        result = torch.zeros(count, features.shape[1]).to(features)
        for columns in products.steps(features.shape[1]):
            part = products.filled(features[:, columns])
            for first, last, rows in matrices:
                applied = torch.mm(rows, part[first:], out=products.rows(len(rows), part.shape[1]))
                values = applied.view(count, last - first, -1).mul_(part[first:last]).sum(1)
                result[:, columns] += values[:, : columns.stop - columns.start]
        return result

    def _contract(self, coefficients: Tensor, features: Tensor) -> Tensor:
        """``coefficients @ S``: (Q, pairs), (D, b) -> (Q, b)."""
        products, count = self._products(), len(coefficients)
        coefficients = _filled(coefficients)
        result = torch.zeros(len(coefficients), features.shape[1]).to(coefficients)
        for columns in products.steps(features.shape[1]):
            for start, stop, block in products.of(features[:, columns]):
                result[:, columns].addmm_(coefficients[:, start:stop], block)
        return result[:count]


def _filled(rows: Tensor) -> Tensor:
    """With rows of zeros up to a multiple of four: the kernels' tiles are as high, and the product of a
    few rows takes a tenth to a third less time for it."""
    return F.pad(rows, (0, 0, 0, -len(rows) % 4))


class _Half:
    """The upper triangle of a (D, D) matrix, and what is below it in ``count`` blocks along the diagonal:
    bands of rows ``(first, last)``, each from its first column on, and in them the ``place`` of the entries
    (left, right) of :class:`FeaturePairs`."""

    def __init__(self, width: int, count: int, left: Tensor, right: Tensor) -> None:
        self.bands = list(itertools.pairwise(width * i // count for i in range(count + 1)))
        places, done = left.new_empty(width, width), 0
        for first, last in self.bands:
            size = (last - first) * (width - first)
            places[first:last, first:] = torch.arange(done, done + size).view(last - first, -1)
            done += size
        self.place = places[torch.minimum(left, right), torch.maximum(left, right)]


class _Products:
    """The buffers of :class:`FeaturePairs`, made when they are first asked for, and their views: slicing anew
    at every step would cost as much as the products."""

    def __init__(
        self, bands: list[tuple[int, int]], width: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self._step = _STEP.get(device.type, _STEP["cpu"])
        self._bands, self._width = bands, width
        self._rows = torch.empty(0, dtype=dtype, device=device)

    @cached_property
    def _features(self) -> Tensor:
        return self._rows.new_zeros(self._width, self._step)

    @cached_property
    def _blocks(self) -> list[tuple[int, int, list[tuple[Tensor, Tensor, Tensor]], Tensor]]:
        width = self._width
        blocks: list[list[tuple[int, int]]] = [[]]  # bands that share the buffer
        for band in self._bands:
            if blocks[-1] and _rows([*blocks[-1], band], width) > _BUFFER_ROWS:
                blocks.append([])
            blocks[-1].append(band)
        buffer = self._rows.new_empty(max(_rows(block, width) for block in blocks), self._step)
        found, start = [], 0
        for block in blocks:
            views, row = [], 0
            for first, last in block:
                height = _rows([(first, last)], width)
                out = buffer[row : row + height].view(last - first, width - first, self._step)
                views.append((self._features[first:last, None], self._features[None, first:], out))
                row += height
            found.append((start, start + row, views, buffer[:row]))
            start += row
        return found

    def rows(self, height: int, points: int) -> Tensor:
        """A buffer (height, points), the same one at every call that it is large enough for."""
        if self._rows.numel() < height * points:
            self._rows = self._rows.new_empty(height * self._step)
        return self._rows[: height * points].view(height, points)

    def filled(self, features: Tensor) -> Tensor:
        """A buffer (D, step) whose first columns are those of ``features``, and the others finite."""
        self._features[:, : features.shape[1]] = features
        return self._features

    def steps(self, points: int) -> Iterator[slice]:
        return (slice(i, min(i + self._step, points)) for i in range(0, points, self._step))

    def of(self, features: Tensor) -> Iterator[tuple[int, int, Tensor]]:
        """Blocks of rows ``start..stop`` of S, for at most a step's points."""
        b = features.shape[1]
        self.filled(features)
        for start, stop, views, block in self._blocks:
            for one, other, out in views:
                torch.mul(one, other, out=out)
            yield start, stop, block[:, :b]


def _rows(bands: list[tuple[int, int]], width: int) -> int:
    return sum((last - first) * (width - first) for first, last in bands)


class HeadCurvature:
    """(1/n) sum_i Lambda_i (x) phi_i phi_i^T + penalty, from its packed second moments: G diagonal blocks.

    Args:
        moments: (G, m (m + 1) / 2, D, D) float64, already divided by n.
        penalty: ``outputs`` (G, m, m) and ``features`` (D, D), whose Kronecker product is added.
        dtype: of the products in :meth:`quadratic_form`.
    """

    def __init__(self, moments: Tensor, penalty: tuple[Tensor, Tensor] | None, *, dtype: torch.dtype) -> None:
        self.blocks, pairs, self.width, _ = moments.shape
        self.outputs = round((2 * pairs + 0.25) ** 0.5 - 0.5)
        self.dtype = dtype
        self._moments, self._penalty = moments, penalty

    def penalized(self, penalty: tuple[Tensor, Tensor] | None) -> HeadCurvature:
        """The same second moments with another penalty."""
        return HeadCurvature(self._moments, penalty, dtype=self.dtype)

    def dense(self) -> Tensor:
        """The diagonal blocks, ``(G, m D, m D)`` float64."""
        m, d = self.outputs, self.width
        index = unpack_index(m, self._moments.device)
        full = self._moments.new_empty(self.blocks, m, d, m, d)
        for i in range(m):  # a row of blocks at a time: nothing of this size beside the result
            row = self._moments[:, index[i]]
            if self._penalty is not None:
                outputs, features = self._penalty
                row += outputs[:, i, :, None, None] * features
            full[:, i] = row.transpose(1, 2)
        return full.view(self.blocks, m * d, m * d)

    def diagonal(self) -> Tensor:
        """That of :meth:`dense`, ``(G, m D)``."""
        own = torch.arange(self.outputs, device=self._moments.device)
        rows = self._moments[:, unpack_index(self.outputs, own.device)[own, own]].diagonal(dim1=2, dim2=3)
        if self._penalty is not None:
            outputs, features = self._penalty
            rows = rows + outputs[:, own, own].unsqueeze(2) * features.diagonal()
        return rows.flatten(1)

    def quadratic_form(self, matrix: Tensor, *, beside: Tensor | None = None) -> HeadForm:
        """g^T K g for K in the layout of :meth:`dense`; ``beside`` (D, D), a form of the features alone,
        rides along in the same product."""
        m, d = self.outputs, self.width
        blocks = matrix.view(self.blocks, m, d, m, d)
        a, b = torch.triu_indices(m, m, device=matrix.device)
        entries = blocks[:, a, :, b, :].transpose(0, 1)  # advanced indices move first
        return HeadForm(entries, m, self.dtype, beside)


class HeadForm:
    """g^T K g of head gradients, and the blocks U^T K U behind it."""

    def __init__(
        self, entries: Tensor, outputs: int, dtype: torch.dtype, beside: Tensor | None = None
    ) -> None:
        """``entries`` (G, m (m + 1) / 2, D, D): the distinct output blocks of K."""
        self._groups = len(entries)
        forms = entries.flatten(0, 1)
        forms = forms if beside is None else torch.cat([forms, beside.unsqueeze(0)])
        self._forms = FeaturePairs(entries.shape[-1], dtype, entries.device).form(forms)
        self._count = len(entries) * entries.shape[1]
        self._weights = pair_weights(outputs, entries)

    def blocks(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Distinct entries of A_i = U_i^T K U_i: (D, b) -> (G, m (m + 1) / 2, b) in the dtype of the
        products; and the form ``beside`` at each point, (1, b), or (0, b) where there is none."""
        values = self._forms(features)
        return values[: self._count].view(self._groups, -1, features.shape[1]), values[self._count :]

    def from_blocks(self, blocks: Tensor, residuals: Tensor) -> Tensor:
        """sum over groups of r^T A r: (G, Q, b), (G, m, b) float64 -> (b,) float64."""
        # In the dtype of the blocks: residuals may be so small that their squares are beyond its range.
        scale = residuals.abs().amax((0, 1)).clamp_min(torch.finfo(residuals.dtype).tiny)
        scaled, weights = (residuals / scale).to(blocks), self._weights.to(blocks)
        total = torch.zeros_like(blocks[0, 0])
        for block, residual in zip(blocks, scaled, strict=True):
            total += weights @ pack_pairs(residual).mul_(block)
        return scale.square() * total
