"""Captum: the eigenvectors of the whole Hessian where it fits, else its Arnoldi projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from heads import PERCEPTRON_RIDGE, batches, linear, mlp
from torch import nn

PEER, DISTRIBUTION = "Captum", "captum"
RIDGE = 0.0
METHODS = {
    "head": "exact, every eigenvector of the Hessian",
    "stream": "exact, every eigenvector of the Hessian",
    "wide_head": "approximate, Arnoldi, 50 of 200 directions",
    "perceptron": "approximate, Arnoldi, 50 of 200 directions",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    # The tolerance cuts off the softmax gauge: in float32 its eigenvalues are noise, not zero.
    every = {"projection_dim": weight.size + bias.size, "hessian_inverse_tol": 1e-6 * len(labels)}
    options = every | {"hessian_reg": RIDGE}
    return _values(NaiveInfluenceFunction, linear(weight, bias), features, labels, 1024, options)


stream = head


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _arnoldi(linear(weight, bias), features, labels, 256, 0.0)


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    return _arnoldi(mlp(weights, biases), features, labels, 1000, PERCEPTRON_RIDGE)


def _arnoldi(
    model: nn.Module, features: np.ndarray, labels: np.ndarray, size: int, damping: float
) -> np.ndarray:
    from captum.influence._core.arnoldi_influence_function import ArnoldiInfluenceFunction

    options = {"projection_dim": 50, "arnoldi_dim": 200, "hessian_reg": damping * len(labels)}
    return _values(ArnoldiInfluenceFunction, model, features, labels, size, options)


def _values(
    method: Any,
    model: nn.Module,
    features: np.ndarray,
    labels: np.ndarray,
    size: int,
    options: dict[str, Any],
) -> np.ndarray:
    """Its Hessian is that of the sum of the losses, so its values are multiplied by n."""
    influence = method(
        model,
        batches(features, labels, size),
        checkpoint="",
        checkpoints_load_func=lambda *_: 0,
        loss_fn=nn.CrossEntropyLoss(reduction="none"),
        batch_size=size,
        show_progress=False,
        **options,
    )
    return influence.self_influence(batches(features, labels, size)).numpy() * len(labels)
