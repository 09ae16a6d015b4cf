"""swaypoint's cheapest way, as several peers have it."""

from __future__ import annotations

import numpy as np
from heads import PERCEPTRON_RIDGE, mlp

PEER, DISTRIBUTION, ENVIRONMENT = "swaypoint", "swaypoint", "swaypoint"
RIDGE = 1e-6
METHODS = {"wide_head": "approximate, EK-FAC", "perceptron": "approximate, EK-FAC"}


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _ekfac(features, labels, [weight], [bias], RIDGE)


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    return _ekfac(features, labels, weights, biases, PERCEPTRON_RIDGE)


def _ekfac(
    features: np.ndarray,
    labels: np.ndarray,
    weights: list[np.ndarray],
    biases: list[np.ndarray],
    damping: float,
) -> np.ndarray:
    from swaypoint.scorers import scores
    from swaypoint.scoring.trained_model import TrainedModel

    score = scores["cooks_distance"].score
    assert score is not None
    model, options = mlp(weights, biases), {"params": "*", "damping": damping, "batch_size": 1000}
    return score(TrainedModel(model, (features, labels), solver="ekfac", **options))
