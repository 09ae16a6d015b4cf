"""The linear layers inside a model: what comes in, and how the logits depend on what goes out.

For a layer z = W a the derivative of logit c by W is (dlogit_c / dz) (x) a, summed over the positions at
which the layer runs (pixels of a convolution, tokens of a sequence). From the two factors come, without
a gradient per point ever being formed, the Gauss-Newton matrix of a perceptron by contraction
(:mod:`~swaypoint.scoring.risks.gauss_newton`) and the Kronecker factors of any network
(:mod:`~swaypoint.scoring.risks.kronecker`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from swaypoint.scoring.operators.logits import LogitCurvature
from swaypoint.scoring.risks.model import ModelRisk, in_parts

_FACTOR_BYTES = 256 << 20
COLUMNS = 16
"""Directions in logits for whose slopes a batch leaves room: the columns of Lambda^(1/2) up to so many."""

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
class NormLayer:
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
    norms: list[Tensor]
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
        self.norms: list[NormLayer] = []
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
            self.norms.append(NormLayer(norm, torch.cat(places).to(risk.theta.device), *parts))
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
            entries += COLUMNS * output.numel()
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
        modules += [norm.module for norm in self.norms]
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
            for norm in self.norms:
                calls = received[id(norm.module)]
                parts = [torch.stack([norm.rows(call, s) for s in next(slopes)]) for call in calls]
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


def at_a_time(risk: ModelRisk, entries: int) -> int:
    """Points whose arrays of so many entries each fit in ``_FACTOR_BYTES``."""
    return max(1, _FACTOR_BYTES // (entries * risk.theta.element_size()))
