"""The Gauss-Newton matrix of a model, dense: by contraction of its layers' factors, or from Jacobians."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from swaypoint.scoring.operators.logits import LogitCurvature
from swaypoint.scoring.operators.packed import pack_index, unpack_index
from swaypoint.scoring.risks.layers import Layers, at_a_time
from swaypoint.scoring.risks.model import ModelRisk, alone, in_parts, over_points

_FLUSH = 16
"""Batches whose float32 sums go into the float64 total at a time."""


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

    if not layers.norms and len(layers.rest) == 0 and _contract(layers, total) and _agrees(risk, mean()):
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
        size = at_a_time(risk, 2 * outputs * risk.dimension)
        for part, labels in in_parts(inputs, targets, size):
            with risk.differentiable():
                jacobian = over_points(partial(torch.func.jacrev(logits), risk.theta), part)  # (b, C, P)
                curvature = risk.loss.terms(risk.logits(risk.theta, part), labels).curvature
                curved = curvature.matmul(jacobian)
            total += (jacobian.flatten(0, 1).T @ curved.flatten(0, 1)).double()
