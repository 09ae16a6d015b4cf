"""swaypoint's other ways: what the peers compute and no more; the exact wide head; EK-FAC."""

from __future__ import annotations

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, mlp

PEER, DISTRIBUTION, ENVIRONMENT = "swaypoint, another way", "swaypoint", "swaypoint"
RIDGE = 0.0
COLD = ("wide_head",)
METHODS = {
    "head": "exact, distances alone (no by-products)",
    "stream": "exact, distances alone (no by-products)",
    "wide_head": "exact, Cholesky in panels",
    "perceptron": "approximate, EK-FAC",
    "rank": "loss",
}
CANNOT: dict[str, str] = {}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from swaypoint.data.batches import ArrayBatches
    from swaypoint.risks.linear_head import HeadWeights
    from swaypoint.risks.losses import CrossEntropy
    from swaypoint.scoring import Influence

    trained = HeadWeights(torch.tensor(weight), torch.tensor(bias), CrossEntropy())
    return Influence(trained, ArrayBatches(features, labels)).scores(leave_one_out=False).cook


stream = head


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from swaypoint.data.batches import ArrayBatches
    from swaypoint.risks.linear_head import HeadWeights
    from swaypoint.risks.losses import CrossEntropy
    from swaypoint.tiled import TiledInfluence

    trained = HeadWeights(torch.tensor(weight), torch.tensor(bias), CrossEntropy())
    return TiledInfluence(trained, ArrayBatches(features, labels)).scores().cook


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    from swaypoint.estimators import TrainedModel, methods

    score = methods["cooks_distance"].score
    assert score is not None
    model, options = mlp(weights, biases), {"params": "*", "damping": PERCEPTRON_RIDGE, "batch_size": 1000}
    return score(TrainedModel(model, (features, labels), solver="ekfac", **options))


def rank(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from heads import linear

    from swaypoint.estimators import TrainedModel, methods

    score = methods["loss"].score
    assert score is not None
    return score(TrainedModel(linear(weight, bias), (features, labels), batch_size=65536))
