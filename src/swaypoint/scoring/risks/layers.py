"""The linear layers inside a model: what comes in, and how the logits depend on what goes out.

For a layer z = W a the derivative of logit c by W is (dlogit_c / dz) (x) a, summed over the positions at
which the layer runs (pixels of a convolution, tokens of a sequence). From the two factors come, without
a gradient per point ever being formed, the Gauss-Newton matrix of a perceptron by contraction and the
Kronecker factors of any network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swaypoint.errors import InputError
from swaypoint.scoring.operators.kronecker import Kronecker, KroneckerBlock
from swaypoint.scoring.operators.packed import pack_index, unpack_index
from swaypoint.scoring.risks.losses import LogitCurvature
from swaypoint.scoring.risks.model import ModelRisk, alone, in_parts, over_points

_FACTOR_BYTES = 256 << 20
_DRAWS = 4
_COLUMNS = 16
"""Classes up to which the columns of Lambda^(1/2) are all used; beyond, ``_DRAWS`` random mixtures."""
_FLUSH = 16
"""Batches whose float32 sums go into the float64 total at a time."""

Multiplying = nn.Linear | nn.Conv2d


@dataclass(frozen=True)
class Layer:
    """A ``Linear`` or ``Conv2d`` module whose weight is among the chosen parameters.

    ``index`` (out, in) int64: where the matrix [W b] stands in theta.
    """

    module: Multiplying
    index: Tensor
    bias: bool

    def positions(self, received: Tensor) -> Tensor:
        """What the layer multiplies, ``(b, T, in)``: a convolution's patches, the constant 1 of a bias."""
        if isinstance(self.module, nn.Conv2d):
            conv = self.module
            assert not isinstance(conv.padding, str)
            patches = F.unfold(received, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
            inputs = patches.transpose(1, 2)
        else:
            inputs = received.flatten(1, -2) if received.ndim > 2 else received.unsqueeze(1)
        if not self.bias:
            return inputs
        return torch.cat([inputs, inputs.new_ones(*inputs.shape[:2], 1)], 2)

    def outputs(self, slopes: Tensor) -> Tensor:
        """A derivative by the layer's output, as ``(b, T, out)``."""
        if isinstance(self.module, nn.Conv2d):
            return slopes.flatten(2).transpose(1, 2)
        return slopes.flatten(1, -2) if slopes.ndim > 2 else slopes.unsqueeze(1)


Normalizing = nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d | nn.LayerNorm | nn.GroupNorm


# Subclasses that compute something else with the same parameters are not taken at their name.
_FORWARDS = {
    kind.forward
    for kind in (
        nn.Linear,
        nn.Conv2d,
        nn.BatchNorm1d,
        nn.BatchNorm2d,
        nn.BatchNorm3d,
        nn.LayerNorm,
        nn.GroupNorm,
    )
}


@dataclass(frozen=True)
class Scale:
    """A norm whose scale, shift or both are among the chosen parameters.

    ``index`` (m,) int64: where they stand in theta, the scale first.
    """

    module: Normalizing
    index: Tensor
    weight: bool
    bias: bool

    def rows(self, received: Tensor, slopes: Tensor) -> Tensor:
        """Each point's derivative, from the norm's input and the slope of its output: ``(b, m)``."""
        parts = [slopes * self._normalized(received)] if self.weight else []
        parts += [slopes] if self.bias else []
        if isinstance(self.module, nn.LayerNorm):
            width = len(self.module.normalized_shape)
            flat = [part.flatten(-width).flatten(1, -2).sum(1) for part in (p.unsqueeze(1) for p in parts)]
        else:
            flat = [part.unsqueeze(2).flatten(2).sum(2) for part in parts]
        return torch.cat(flat, 1)

    def _normalized(self, received: Tensor) -> Tensor:
        norm = self.module
        if isinstance(norm, nn.LayerNorm):
            return F.layer_norm(received, norm.normalized_shape, eps=norm.eps)
        if isinstance(norm, nn.GroupNorm):
            return F.group_norm(received, norm.num_groups, eps=norm.eps)
        return F.batch_norm(received, norm.running_mean, norm.running_var, eps=norm.eps)


@dataclass(frozen=True)
class Factors:
    """One layer on one batch: ``inputs`` (b, T, in) and, for V directions in logits, ``slopes``
    (V, b, T, out)."""

    inputs: Tensor
    slopes: Tensor


@dataclass(frozen=True)
class Pass:
    """One batch: the linear layers' factors, each norm's derivatives ``(V, b, m)``, the loss's curvature,
    the V directions ``(V, b, C)`` in logits, and the inputs."""

    layers: list[Factors]
    scales: list[Tensor]
    curvature: LogitCurvature
    directions: Tensor
    inputs: Any

    def __len__(self) -> int:
        return self.directions.shape[1]


Directions = Callable[[Tensor, LogitCurvature], Tensor]


class Layers:
    """The linear layers and norms of a risk, and ``rest``, the positions of all other parameters."""

    def __init__(self, risk: ModelRisk) -> None:
        self.risk = risk
        starts, start = {}, 0
        named = dict(risk.model.named_parameters())
        for name in risk.names:
            starts[id(named[name])] = start
            start += named[name].numel()
        run, self._point_bytes = self._that_run()
        users: dict[int, int] = {}
        for module in risk.model.modules():
            for parameter in module.parameters(recurse=False):
                users[id(parameter)] = users.get(id(parameter), 0) + 1
        free = torch.ones(risk.dimension, dtype=torch.bool)
        self.layers: list[Layer] = []
        for module in _multiplying(risk.model):
            if module not in run or id(module.weight) not in starts or users[id(module.weight)] > 1:
                continue
            rows = len(module.weight)
            index = torch.arange(module.weight.numel()).view(rows, -1) + starts[id(module.weight)]
            bias = module.bias is not None and id(module.bias) in starts and users[id(module.bias)] == 1
            if bias:
                index = torch.cat([index, torch.arange(rows).unsqueeze(1) + starts[id(module.bias)]], 1)
            free[index.flatten()] = False
            self.layers.append(Layer(module, index.to(risk.theta.device), bias))
        self.scales: list[Scale] = []
        for norm in _normalizing(risk.model):
            own = [norm.weight, norm.bias]
            parts = [p is not None and id(p) in starts and users[id(p)] == 1 for p in own]
            if norm not in run or not any(parts):
                continue
            places = [
                torch.arange(p.numel()) + starts[id(p)]
                for p, chosen in zip(own, parts, strict=True)
                if chosen
            ]
            free[torch.cat(places)] = False
            self.scales.append(Scale(norm, torch.cat(places).to(risk.theta.device), *parts))
        self.rest = free.nonzero()[:, 0].to(risk.theta.device)

    def _that_run(self) -> tuple[set[nn.Module], int]:
        """Modules that are called (attention uses the weight of its last layer without calling it), and
        what their inputs and outputs take per point, in bytes."""
        run: set[nn.Module] = set()
        entries = 0

        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal entries
            if len(output) == size:  # else points and positions share a dimension
                run.add(module)
            entries += _COLUMNS * output.numel()
            if isinstance(module, Multiplying):
                entries += output.numel() // len(module.weight) * module.weight[0].numel()

        inputs, targets = next(in_parts(*next(self.risk.batches()), 2))
        size = len(targets)
        modules = [*_multiplying(self.risk.model), *_normalizing(self.risk.model)]
        handles = [module.register_forward_hook(record) for module in modules]
        try:
            with self.risk.differentiable():
                self.risk.logits(self.risk.theta, inputs)
        finally:
            for handle in handles:
                handle.remove()
        return run, max(1, entries // size * self.risk.theta.element_size())

    def _batches(self, beside: int) -> Iterator[tuple[Any, Tensor]]:
        """Batches whose factors fit in ``_FACTOR_BYTES``."""
        size = max(1, _FACTOR_BYTES // (self._point_bytes + beside * self.risk.theta.element_size()))
        for inputs, targets in self.risk.batches():
            yield from in_parts(inputs, targets, size)

    def passes(self, directions: Directions, *, beside: int = 0) -> Iterator[Pass]:
        """Every batch, forward once and backward once for each direction.

        Args:
            directions: from logits ``(b, C)`` and their curvature to ``(V, b, C)``.
            beside: entries per point to leave room for.
        """
        received: dict[int, list[Tensor]] = {}
        produced: dict[int, list[Tensor]] = {}

        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            received.setdefault(id(module), []).append(inputs[0].detach())
            produced.setdefault(id(module), []).append(output)
            return output.clone()  # what follows may change it in place

        modules: list[nn.Module] = [layer.module for layer in self.layers]
        modules += [scale.module for scale in self.scales]
        for inputs, targets in self._batches(beside):
            received.clear()
            produced.clear()
            handles = [module.register_forward_hook(record) for module in modules]
            try:
                with self.risk.differentiable(), torch.enable_grad():
                    theta = self.risk.theta.detach().requires_grad_()  # outputs depend on it
                    logits = self.risk.logits(theta, inputs)
            finally:
                for handle in handles:
                    handle.remove()
            curvature = self.risk.loss.terms(logits.detach(), targets).curvature
            vectors = directions(logits.detach(), curvature)
            outputs = [output for module in modules for output in produced[id(module)]]
            columns = [
                _slopes(logits, outputs, vector, keep=v + 1 < len(vectors))
                for v, vector in enumerate(vectors)
            ]
            slopes = iter(zip(*columns, strict=True))  # of each call of each module, V of them

            factors, rows = [], []
            for layer in self.layers:
                calls = received[id(layer.module)]
                parts = [torch.stack([layer.outputs(s) for s in next(slopes)]) for _ in calls]
                positions = torch.cat([layer.positions(call) for call in calls], 1)
                factors.append(Factors(positions, torch.cat(parts, 2)))
            for scale in self.scales:
                calls = received[id(scale.module)]
                parts = [torch.stack([scale.rows(call, s) for s in next(slopes)]) for call in calls]
                rows.append(torch.stack(parts).sum(0))
            yield Pass(factors, rows, curvature, vectors, inputs)


def _slopes(logits: Tensor, outputs: list[Tensor], vector: Tensor, *, keep: bool) -> list[Tensor]:
    if not outputs:
        return []
    found = torch.autograd.grad(logits, outputs, vector, retain_graph=keep, allow_unused=True)
    return [
        torch.zeros_like(output) if slope is None else slope
        for output, slope in zip(outputs, found, strict=True)
    ]


def _normalizing(model: nn.Module) -> list[Normalizing]:
    """Norms that treat each point by itself: batch norms by their running statistics."""
    return [
        module
        for module in model.modules()
        if isinstance(module, Normalizing)
        and type(module).forward in _FORWARDS
        and getattr(module, "running_mean", module) is not None
    ]


def _multiplying(model: nn.Module) -> list[Multiplying]:
    return [
        module
        for module in model.modules()
        if type(module).forward in _FORWARDS
        and (
            isinstance(module, nn.Linear)
            or (
                isinstance(module, nn.Conv2d)
                and module.groups == 1
                and module.padding_mode == "zeros"
                and not isinstance(module.padding, str)
            )
        )
    ]


# -- the Gauss-Newton matrix ----------------------------------------------------------------------


def identity(logits: Tensor, _: LogitCurvature) -> Tensor:
    """One direction per logit."""
    outputs = logits.shape[1]
    return torch.eye(outputs).to(logits).unsqueeze(1).expand(outputs, len(logits), outputs)


def dense_ggn(risk: ModelRisk) -> Tensor:
    """The Gauss-Newton matrix with ridge and damping, ``(P, P)`` float64.

    Where every chosen parameter belongs to a linear layer that runs once per point, by second-moment
    contraction over pairs of layers: n P^2 flops whatever the number of classes. Else from the
    Jacobian, C times that.
    """
    layers, size = Layers(risk), risk.dimension
    total = torch.zeros(size, size, dtype=torch.float64, device=risk.theta.device)

    def mean() -> Tensor:
        total.div_(risk.size).diagonal().add_(risk.ridge)
        return total

    if not layers.scales and len(layers.rest) == 0 and _contract(layers, total) and _agrees(risk, mean()):
        return total
    total.zero_()
    _from_jacobians(risk, total)
    return mean()


def _agrees(risk: ModelRisk, matrix: Tensor) -> bool:
    """With one product by automatic differentiation: a weight that the model also uses outside its layer
    would be missed."""
    vector = torch.randn(risk.dimension, 1, generator=torch.Generator().manual_seed(0)).to(risk.theta)
    expected = (risk.curvature("ggn") @ vector).double()
    return float((matrix @ vector.double() - expected).norm()) <= 1e-3 * float(expected.norm())


def _contract(layers: Layers, total: Tensor) -> bool:
    """Adds sum_i J_i^T Lambda_i J_i to ``total``; False where a layer runs more than once per point."""
    beside = max(sum(side**2 for side in layer.index.shape) for layer in layers.layers)
    indices = [layer.index for layer in layers.layers]
    pairs = [(one, two) for one in range(len(indices)) for two in range(one, len(indices))]
    sums: dict[tuple[int, int], Tensor] = {}
    for count, batch in enumerate(layers.passes(identity, beside=beside), start=1):
        if any(part.inputs.shape[1] != 1 for part in batch.layers):
            return False
        inputs = [part.inputs[:, 0] for part in batch.layers]
        slopes = [part.slopes[:, :, 0].transpose(0, 1) for part in batch.layers]  # (b, C, out)
        curved = [batch.curvature.matmul(slope) for slope in slopes]
        for one, two in pairs:
            outputs = (slopes[one].mT @ curved[two]).flatten(1)
            products = (inputs[one].unsqueeze(2) * inputs[two].unsqueeze(1)).flatten(1)
            if one == two:  # both are symmetric: a quarter of the product says it all
                outputs, products = (
                    x[:, pack_index(side, x.device)]
                    for x, side in zip((outputs, products), indices[one].shape, strict=True)
                )
            if (one, two) in sums:
                sums[one, two].addmm_(outputs.T, products)
            else:
                sums[one, two] = outputs.T @ products
        if count % _FLUSH == 0:
            _flush(sums, indices, total)
    _flush(sums, indices, total)
    return True


def _flush(sums: dict[tuple[int, int], Tensor], indices: list[Tensor], total: Tensor) -> None:
    """Float32 sums into the float64 total."""
    for (one, two), block in sums.items():
        left, right = indices[one], indices[two]
        if one == two:
            height, width = left.shape
            rows, columns = (unpack_index(k, block.device).flatten() for k in (height, width))
            block = block[rows][:, columns]
        entries = block.view(left.shape[0], right.shape[0], left.shape[1], right.shape[1])
        entries = entries.transpose(1, 2).reshape(left.numel(), right.numel()).double()
        rows, columns = left.flatten(), right.flatten()
        total[rows.unsqueeze(1), columns] += entries
        if one != two:
            total[columns.unsqueeze(1), rows] += entries.T
    sums.clear()


def _from_jacobians(risk: ModelRisk, total: Tensor) -> None:
    def logits(theta: Tensor, inputs: Any) -> Tensor:
        return risk.logits(theta, alone(inputs))[0]

    for inputs, targets in risk.batches():
        with risk.differentiable():
            outputs = risk.logits(risk.theta, inputs).shape[1]
        size = _at_a_time(risk, 2 * outputs * risk.dimension)
        for part, labels in in_parts(inputs, targets, size):
            with risk.differentiable():
                jacobian = over_points(partial(torch.func.jacrev(logits), risk.theta), part)  # (b, C, P)
                curvature = risk.loss.terms(risk.logits(risk.theta, part), labels).curvature
                curved = curvature.matmul(jacobian)
            total += (jacobian.flatten(0, 1).T @ curved.flatten(0, 1)).double()


def _at_a_time(risk: ModelRisk, entries: int) -> int:
    """Points whose arrays of so many entries each fit in ``_FACTOR_BYTES``."""
    return max(1, _FACTOR_BYTES // (entries * risk.theta.element_size()))


# -- Kronecker factors ----------------------------------------------------------------------------


def kronecker(risk: ModelRisk, *, corrected: bool = True) -> Kronecker:
    """The Gauss-Newton matrix, each linear layer a Kronecker product of the second moments of its
    inputs and of its output slopes, no coupling between layers (K-FAC).

    The slopes are exact in the classes up to 16 of them (columns of Lambda^(1/2), not labels sampled
    from the model), and random mixtures of the columns beyond. Other layers' parameters (norms,
    embeddings) have their diagonal.

    Args:
        corrected: also fit the eigenvalues in the factors' eigenbasis (EK-FAC; George et al., 2018).

    Raises:
        InputError: a custom loss, whose Lambda may be indefinite.
    """
    if not risk.loss.convex:
        raise InputError(
            "a custom loss has no Kronecker factors; use solver='exact' or 'cg', or a named loss"
        )
    layers = Layers(risk)
    generator = torch.Generator().manual_seed(0)

    def roots(logits: Tensor, curvature: LogitCurvature) -> Tensor:
        b, c = logits.shape
        if c <= _COLUMNS:
            mixtures = torch.eye(c).to(logits).expand(b, c, c)
        else:
            signs = torch.randint(0, 2, (b, c, _DRAWS), generator=generator) * 2 - 1
            mixtures = signs.to(logits) * _DRAWS**-0.5
        return curvature.sqrt_matmul(mixtures).permute(2, 0, 1)

    shapes = [layer.index.shape for layer in layers.layers]
    inputs = [risk.theta.new_zeros(width, width) for _, width in shapes]
    outputs = [risk.theta.new_zeros(height, height) for height, _ in shapes]
    scales = [risk.theta.new_zeros(len(scale.index)) for scale in layers.scales]
    diagonal, points = torch.zeros(len(layers.rest)).to(risk.theta), 0
    for batch in layers.passes(roots):
        for a, b, part in zip(inputs, outputs, batch.layers, strict=True):
            positions, slopes = part.inputs.flatten(0, 1), part.slopes.flatten(0, 2)
            a.addmm_(positions.T, positions)
            b.addmm_(slopes.T, slopes, alpha=1.0 / part.inputs.shape[1])
        for total, rows in zip(scales, batch.scales, strict=True):
            total += rows.square().sum((0, 1))
        diagonal += _diagonal(risk, layers.rest, batch.directions, batch.inputs)
        points += len(batch)
    blocks = []
    for layer, a, b in zip(layers.layers, inputs, outputs, strict=True):
        values_in, vectors_in = torch.linalg.eigh(a.double() / points)
        values_out, vectors_out = torch.linalg.eigh(b.double() / points)
        values = torch.outer(values_out.clamp_min(0), values_in.clamp_min(0))
        blocks.append(KroneckerBlock(layer.index, *(t.to(a) for t in (vectors_out, vectors_in, values))))
    if corrected:
        blocks = _corrected(layers, roots, blocks, points)
    rest = torch.cat([*(scale.index for scale in layers.scales), layers.rest])
    return Kronecker(blocks, rest, torch.cat([*scales, diagonal]) / points, risk.ridge)


def _corrected(
    layers: Layers, roots: Directions, blocks: list[KroneckerBlock], points: int
) -> list[KroneckerBlock]:
    """Mean squares of the points' slopes in the eigenbasis."""
    sums = [torch.zeros_like(block.values) for block in blocks]
    for batch in layers.passes(roots):
        for total, block, part in zip(sums, blocks, batch.layers, strict=True):
            inputs, slopes = part.inputs @ block.inputs, part.slopes @ block.outputs
            if inputs.shape[1] == 1:
                total.addmm_(slopes[:, :, 0].square().sum(0).T, inputs[:, 0].square())
            else:
                for direction in slopes:
                    total += (direction.mT @ inputs).square().sum(0)
    return [
        KroneckerBlock(block.index, block.outputs, block.inputs, total / points)
        for block, total in zip(blocks, sums, strict=True)
    ]


def _diagonal(risk: ModelRisk, rest: Tensor, vectors: Tensor, inputs: Any) -> Tensor:
    """sum over points and directions of (v^T J)^2 at the positions ``rest``."""
    if len(rest) == 0:
        return torch.zeros(0).to(risk.theta)

    def weighted(part: Tensor, inputs: Any, vector: Tensor) -> Tensor:
        theta = risk.theta.index_put((rest,), part)
        return risk.logits(theta, alone(inputs))[0] @ vector

    total = torch.zeros(len(rest)).to(risk.theta)
    with risk.differentiable():
        for vector in vectors:
            for part, own in in_parts(inputs, vector, _at_a_time(risk, risk.dimension)):
                slopes = over_points(partial(torch.func.grad(weighted), risk.theta[rest]), part, own)
                total += slopes.square().sum(0)
    return total
