"""swaypoint as its users call it, by-products and diagnostics included: what the ratios are to."""

from __future__ import annotations

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, linear, mlp

PEER, DISTRIBUTION, ENVIRONMENT = "swaypoint", "swaypoint", "swaypoint"
RIDGE = 0.0
COLD = ("perceptron",)
METHODS = {
    "head": "exact, closed form",
    "stream": "exact, closed form",
    "wide_head": "approximate, sketch (the default at this size)",
    "perceptron": "exact, Cholesky of the GGN",
    "rank": "margin of the logits",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    import swaypoint
    from swaypoint.scoring.risks.head import HeadWeights
    from swaypoint.scoring.risks.losses import CrossEntropy

    trained = HeadWeights(torch.tensor(weight), torch.tensor(bias), CrossEntropy())
    return swaypoint.cooks_distance(swaypoint.LinearHead(trained), (features, labels), progress=False).values


stream = wide_head = head


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    import swaypoint

    return swaypoint.cooks_distance(
        mlp(weights, biases),
        (features, labels),
        params="*",
        damping=PERCEPTRON_RIDGE,
        solver="exact",
        batch_size=1000,
        progress=False,
    ).values


def rank(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from swaypoint.scorers import scores
    from swaypoint.scoring.trained_model import TrainedModel

    score = scores["logit_margin"].score
    assert score is not None
    return score(TrainedModel(linear(weight, bias), (features, labels), batch_size=65536))
