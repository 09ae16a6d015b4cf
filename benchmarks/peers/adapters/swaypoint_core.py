"""swaypoint's other exact ways: what the peers compute and no more; the wide head; the plain loss."""

from __future__ import annotations

import numpy as np
import torch

PEER, DISTRIBUTION, ENVIRONMENT = "swaypoint", "swaypoint", "swaypoint"
RIDGE = 0.0
COLD = ("wide_head",)
METHODS = {
    "head": "exact, distances alone (no by-products)",
    "stream": "exact, distances alone (no by-products)",
    "wide_head": "exact, Cholesky in panels",
    "rank": "loss",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from swaypoint.data.batches import ArrayBatches
    from swaypoint.scoring.closed_form import Influence
    from swaypoint.scoring.risks.head import HeadWeights
    from swaypoint.scoring.risks.losses import CrossEntropy

    trained = HeadWeights(torch.tensor(weight), torch.tensor(bias), CrossEntropy())
    return Influence(trained, ArrayBatches(features, labels)).scores(leave_one_out=False).cook


stream = head


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from swaypoint.data.batches import ArrayBatches
    from swaypoint.scoring.panels import TiledInfluence
    from swaypoint.scoring.risks.head import HeadWeights
    from swaypoint.scoring.risks.losses import CrossEntropy

    trained = HeadWeights(torch.tensor(weight), torch.tensor(bias), CrossEntropy())
    return TiledInfluence(trained, ArrayBatches(features, labels)).scores().cook


def rank(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from heads import linear

    from swaypoint.scorers import scores
    from swaypoint.scoring.trained_model import TrainedModel

    score = scores["loss"].score
    assert score is not None
    return score(TrainedModel(linear(weight, bias), (features, labels), batch_size=65536))
