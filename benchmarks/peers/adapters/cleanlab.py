"""cleanlab: only its ranking of given probabilities; it has no influence functions."""

from __future__ import annotations

import numpy as np

PEER, DISTRIBUTION = "cleanlab", "cleanlab"
RIDGE = 0.0
METHODS = {"rank": "probability of the label (self-confidence)"}
_WHY = "ranks probabilities; has no influence functions"
CANNOT = dict.fromkeys(("head", "stream", "wide_head", "perceptron"), _WHY)


def rank(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from cleanlab.rank import get_label_quality_scores

    logits = features @ weight.T + bias
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = exponentials / exponentials.sum(1, keepdims=True)
    return 1 - get_label_quality_scores(labels, probabilities, method="self_confidence")
