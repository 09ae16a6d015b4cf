"""The Kronecker factors of a model's Gauss-Newton matrix, layer by layer (Martens & Grosse, 2015; George et
al., 2018)."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scoring.operators.kronecker import Kronecker, KroneckerBlock
from swaypoint.scoring.operators.logits import LogitCurvature
from swaypoint.scoring.operators.spectrum import eigh
from swaypoint.scoring.risks.layers import COLUMNS, Directions, Layers, at_a_time
from swaypoint.scoring.risks.model import ModelRisk, alone, in_parts, over_points

_DRAWS = 4
"""Random mixtures of the columns of Lambda^(1/2) that are used where there are more than ``COLUMNS``."""


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
        if c <= COLUMNS:
            mixtures = torch.eye(c).to(logits).expand(b, c, c)
        else:
            signs = torch.randint(0, 2, (b, c, _DRAWS), generator=generator) * 2 - 1
            mixtures = signs.to(logits) * _DRAWS**-0.5
        return curvature.sqrt_matmul(mixtures).permute(2, 0, 1)

    shapes = [layer.index.shape for layer in layers.layers]
    inputs = [risk.theta.new_zeros(width, width) for _, width in shapes]
    outputs = [risk.theta.new_zeros(height, height) for height, _ in shapes]
    scales = [risk.theta.new_zeros(len(norm.index)) for norm in layers.norms]
    diagonal, points = torch.zeros(len(layers.rest)).to(risk.theta), 0
    for batch in layers.passes(roots):
        for a, b, part in zip(inputs, outputs, batch.layers, strict=True):
            positions, slopes = part.inputs.flatten(0, 1), part.slopes.flatten(0, 2)
            a.addmm_(positions.T, positions)
            b.addmm_(slopes.T, slopes, alpha=1.0 / part.inputs.shape[1])
        for total, rows in zip(scales, batch.norms, strict=True):
            total += rows.square().sum((0, 1))
        diagonal += _diagonal(risk, layers.rest, batch.directions, batch.inputs)
        points += len(batch)
    blocks = []
    for layer, a, b in zip(layers.layers, inputs, outputs, strict=True):
        values_in, vectors_in = eigh(a.double() / points)
        values_out, vectors_out = eigh(b.double() / points)
        values = torch.outer(values_out.clamp_min(0), values_in.clamp_min(0))
        blocks.append(KroneckerBlock(layer.index, *(t.to(a) for t in (vectors_out, vectors_in, values))))
    if corrected:
        blocks = _corrected(layers, roots, blocks, points)
    rest = torch.cat([*(norm.index for norm in layers.norms), layers.rest])
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
            for part, own in in_parts(inputs, vector, at_a_time(risk, risk.dimension)):
                slopes = over_points(partial(torch.func.grad(weighted), risk.theta[rest]), part, own)
                total += slopes.square().sum(0)
    return total
