"""Influenciae, on TensorFlow: the pseudo-inverse of the explicit Hessian where it fits, else Arnoldi."""

from __future__ import annotations

from typing import Any

import numpy as np

PEER, DISTRIBUTION = "Influenciae", "Influenciae"
RIDGE = 0.0
_EXACT = "exact, pseudo-inverse of the Hessian (float32: cut below 8e-4 of the largest eigenvalue)"
METHODS = {
    "head": _EXACT,
    "stream": _EXACT,
    "wide_head": "approximate, Arnoldi, 50 directions",
    "perceptron": "approximate, Arnoldi, 50 directions",
}


def head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    from deel.influenciae.common import ExactIHVP
    from deel.influenciae.influence import FirstOrderInfluenceCalculator

    model, data = _wrapped([weight], [bias]), _batches(features, labels, 64)
    calculator = FirstOrderInfluenceCalculator(model, data, ExactIHVP(model, data))
    return _values(calculator, data)


stream = head


def wide_head(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return perceptron(features, labels, [weight], [bias])


def perceptron(
    features: np.ndarray, labels: np.ndarray, weights: list[np.ndarray], biases: list[np.ndarray]
) -> np.ndarray:
    from deel.influenciae.influence import ArnoldiInfluenceCalculator

    model, data = _wrapped(weights, biases), _batches(features, labels, 256)
    # All of the subspace: fewer would be the eigenvalues nearest to zero, whatever the option's name says.
    calculator = ArnoldiInfluenceCalculator(
        model, data, subspace_dim=50, force_hermitian=True, k_largest_eig_vals=50
    )
    return _values(calculator, data)


def _wrapped(weights: list[np.ndarray], biases: list[np.ndarray]) -> Any:
    import tensorflow as tf
    from deel.influenciae.common import InfluenceModel

    last = len(weights) - 1
    layers = [
        tf.keras.layers.Dense(len(bias), activation=None if i == last else "relu")
        for i, bias in enumerate(biases)
    ]
    model = tf.keras.Sequential([tf.keras.Input((weights[0].shape[1],)), *layers])
    for layer, weight, bias in zip(layers, weights, biases, strict=True):
        layer.set_weights([weight.T, bias])
    loss = tf.keras.losses.SparseCategoricalCrossentropy(
        from_logits=True, reduction=tf.keras.losses.Reduction.NONE
    )
    return InfluenceModel(model, start_layer=0, last_layer=last, loss_function=loss)


def _batches(features: np.ndarray, labels: np.ndarray, size: int) -> Any:
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices((features, labels)).batch(size)


def _values(calculator: Any, data: Any) -> np.ndarray:
    parts = [values.numpy().ravel() for _, values in calculator.compute_influence_values(data)]
    return np.real(np.concatenate(parts))
