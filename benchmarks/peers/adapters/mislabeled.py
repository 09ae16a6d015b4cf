"""mislabeled (Orange): its self-influence of a scikit-learn logistic regression, g^T H^-1 g; its CookDistance
is another measure."""

from __future__ import annotations

import numpy as np

PEER, DISTRIBUTION = "mislabeled", "mislabeled"
RIDGE = 1e-6
METHODS = {"head": "exact, solve with the Hessian", "stream": "exact, solve with the Hessian"}
CANNOT = {
    "wide_head": "Hessian of 51,300 parameters: 10.5 GB, and as much to solve with",
    "perceptron": "linear models only",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from mislabeled.probe import SelfInfluence
    from sklearn.linear_model import LogisticRegression

    points = len(labels)
    # Its ridge spares an intercept, whose Hessian a softmax leaves singular: so a column of ones.
    model = LogisticRegression(C=1.0 / (RIDGE * points), fit_intercept=False)
    model.coef_ = np.column_stack([weight, bias])
    model.classes_ = np.arange(len(bias))
    with_ones = np.column_stack([features, np.ones(points, features.dtype)])
    return -points * SelfInfluence()(model, with_ones, labels)  # of the sum of losses, and negative


stream = head
