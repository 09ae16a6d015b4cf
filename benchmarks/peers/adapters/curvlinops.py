"""curvlinops: the Gauss-Newton matrix as an operator, written out where it fits, else EK-FAC of it.

It has no gradients of single points; those are torch.func's.
"""

from __future__ import annotations

import numpy as np
import torch
from heads import PERCEPTRON_RIDGE, batches, gradients, linear, mlp
from torch import nn

PEER, DISTRIBUTION = "curvlinops", "curvlinops-for-pytorch"
RIDGE = 1e-6
METHODS = {
    "head": "exact, columns of the GGN, Cholesky",
    "stream": "exact, columns of the GGN, Cholesky",
    "wide_head": "approximate, EK-FAC of the GGN",
    "perceptron": "approximate, EK-FAC of the GGN",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from curvlinops import GGNLinearOperator

    model, data = linear(weight, bias), batches(features, labels, 1024)
    parameters = list(model.parameters())
    operator = GGNLinearOperator(model, nn.CrossEntropyLoss(), parameters, data, check_deterministic=False)
    identity = torch.eye(operator.shape[0])
    factor = torch.linalg.cholesky(operator @ identity + RIDGE * identity)
    each, values = gradients(model), []
    for x, y in data:
        solved = torch.linalg.solve_triangular(factor, each(x, y).T, upper=False)
        values.append(solved.square().sum(0))
    return torch.cat(values).detach().numpy()


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
    from curvlinops import EKFACLinearOperator, FisherType, KFACInverseLinearOperator

    data = batches(features, labels, size)
    operator = EKFACLinearOperator(
        model,
        nn.CrossEntropyLoss(),
        list(model.parameters()),
        data,
        fisher_type=FisherType.TYPE2,
        separate_weight_and_bias=False,
        check_deterministic=False,
    )
    inverse = KFACInverseLinearOperator(operator, damping, use_exact_damping=True)
    each, values = gradients(model), []
    for x, y in data:
        rows = each(x, y)
        values.append((rows * (inverse @ rows.T).T).sum(1))
    return torch.cat(values).detach().numpy()
