"""Laplace: the posterior covariance of a Bayesian last layer is the inverse that influence needs."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, batches, linear, mlp
from torch import nn

PEER, DISTRIBUTION = "Laplace", "laplace-torch"
RIDGE = 1e-6
METHODS = {
    "head": "exact, inverse of the GGN",
    "stream": "exact, inverse of the GGN",
    "wide_head": "approximate, K-FAC",
    "perceptron": "approximate, K-FAC",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    posterior = _fitted(linear(weight, bias), features, labels, "full", RIDGE)
    covariance = posterior.posterior_covariance
    values = []
    for x, y in batches(features, labels, 1024):
        gradients = posterior.backend.gradients(x, y)[0]
        values.append(((gradients @ covariance) * gradients).sum(1).detach())
    return torch.cat(values).numpy() * len(labels)


stream = head


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _kronecker(nn.Sequential(linear(weight, bias)), features, labels, RIDGE)


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    return _kronecker(mlp(weights, biases), features, labels, PERCEPTRON_RIDGE)


def _kronecker(model: nn.Module, features: np.ndarray, labels: np.ndarray, damping: float) -> np.ndarray:
    posterior = _fitted(model, features, labels, "kron", damping)
    values = []
    for x, y in batches(features, labels, 256):
        gradients = posterior.backend.gradients(x, y)[0].unsqueeze(1)
        values.append(posterior.posterior_precision.inv_square_form(gradients).flatten().detach())
    return torch.cat(values).numpy() * len(labels)


def _fitted(
    model: nn.Module, features: np.ndarray, labels: np.ndarray, structure: str, damping: float
) -> Any:
    """Its Hessian is that of the sum of the losses: the prior and the values are multiplied by n."""
    from laplace import Laplace

    posterior = Laplace(
        model,
        "classification",
        subset_of_weights="all",
        hessian_structure=structure,
        prior_precision=len(labels) * damping,
    )
    posterior.fit(batches(features, labels, 1024))
    return posterior
