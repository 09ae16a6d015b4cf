"""dattri: solves with the explicit Hessian where it fits, else EK-FAC of the empirical Fisher.

Its self-influence is right for a loader of one batch only: later batches are added onto the first, and
the explicit Hessian would be that of each batch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, batches, linear
from torch import Tensor, nn

PEER, DISTRIBUTION = "dattri", "dattri"
RIDGE = 1e-6
METHODS = {
    "head": "exact, solve with the Hessian",
    "wide_head": "approximate, EK-FAC of the empirical Fisher",
    "perceptron": "approximate, EK-FAC of the empirical Fisher",
}
CANNOT = {
    "stream": "self-influence takes one batch: a Hessian by vmap over all points, 26 GB an array",
}


class Folded(nn.Module):
    """A layer that has its bias as the weight of a constant input: dattri's EK-FAC puts biases elsewhere in
    the matrix of a layer than its covariances have them."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray) -> None:
        super().__init__()
        self.inner = nn.Linear(weight.shape[1] + 1, len(weight), bias=False)
        with torch.no_grad():
            self.inner.weight.copy_(torch.tensor(np.column_stack([weight, bias])))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(nn.functional.pad(x, (0, 1), value=1.0))


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from dattri.algorithm import IFAttributorExplicit

    task = _task(linear(weight, bias))
    return _values(IFAttributorExplicit(task, regularization=RIDGE), features, labels)


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _ekfac([weight], [bias], features, labels, RIDGE)


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    return _ekfac(weights, biases, features, labels, PERCEPTRON_RIDGE)


def _ekfac(
    weights: list[np.ndarray],
    biases: list[np.ndarray],
    features: np.ndarray,
    labels: np.ndarray,
    damping: float,
) -> np.ndarray:
    from dattri.algorithm import IFAttributorEKFAC

    layers: list[nn.Module] = []
    for weight, bias in zip(weights, biases, strict=True):
        layers += [Folded(weight, bias), nn.ReLU()]
    task = _task(nn.Sequential(*layers[:-1]))
    return _values(IFAttributorEKFAC(task, damping=damping), features, labels)


def _task(model: nn.Module) -> Any:
    from dattri.task import AttributionTask

    def loss(parameters: dict[str, Tensor], data: tuple[Tensor, Tensor]) -> Tensor:
        logits = torch.func.functional_call(model, parameters, data[0])
        return nn.functional.cross_entropy(logits, data[1])

    return AttributionTask(loss_func=loss, model=model, checkpoints=model.state_dict())


def _values(attributor: Any, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    everything = batches(features, labels, len(labels))
    attributor.cache(everything)
    return attributor.self_attribute(everything).detach().numpy()
