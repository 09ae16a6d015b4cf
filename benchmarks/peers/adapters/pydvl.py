"""pyDVL: the inverse of the Hessian where it fits, else EK-FAC."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, batches, linear, mlp
from torch import nn

PEER, DISTRIBUTION = "pyDVL", "pyDVL"
RIDGE = 1e-6
METHODS = {
    "head": "exact, inverse of the Hessian",
    "stream": "exact, inverse of the Hessian",
    "wide_head": "approximate, EK-FAC",
    "perceptron": "approximate, EK-FAC",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from pydvl.influence.torch import DirectInfluence

    layer = linear(weight, bias)
    direct = DirectInfluence(layer, nn.functional.cross_entropy, regularization=RIDGE)
    return _values(direct, layer, features, labels, 1024)


stream = head


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _ekfac(nn.Sequential(linear(weight, bias)), features, labels, RIDGE, 256)


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    return _ekfac(mlp(weights, biases), features, labels, PERCEPTRON_RIDGE, 1000)


def _ekfac(
    model: nn.Module, features: np.ndarray, labels: np.ndarray, damping: float, size: int
) -> np.ndarray:
    from pydvl.influence.torch import EkfacInfluence

    ekfac = EkfacInfluence(model, update_diagonal=True, hessian_regularization=damping)
    return _values(ekfac, model, features, labels, size)


def _values(
    influence: Any, model: nn.Module, features: np.ndarray, labels: np.ndarray, size: int
) -> np.ndarray:
    """Its factors are H^-1 g; that they be multiplied with g of the same point is not in its interface."""
    from pydvl.influence.torch.base import TorchBatch, TorchGradientProvider

    influence = influence.fit(batches(features, labels, size))
    named = dict(model.named_parameters())
    provider = TorchGradientProvider(model, nn.functional.cross_entropy, restrict_to=named)
    values = []
    for x, y in batches(features, labels, size):
        factors = influence.influence_factors(x, y)
        values.append((factors * provider.flat_grads(TorchBatch(x, y))).sum(1).detach())
    return torch.cat(values).numpy()
