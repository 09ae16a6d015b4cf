"""Small sigmoid perceptrons, trained to a stationary point in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import swaypoint
from swaypoint.errors import require

_GAIN = 3.0  # sigmoids are 4 times flatter than the identity; less leaves deep ones constant at first


@dataclass(frozen=True)
class Fit:
    """Where training ended.

    Attributes:
        loss: mean binary cross-entropy, without the ridge.
        gradient: Euclidean norm of the gradient of loss plus ridge, by all parameters.
        steps: of L-BFGS-B.
    """

    loss: float
    gradient: float
    steps: int


def perceptron(hidden: Sequence[int], generator: torch.Generator) -> nn.Sequential:
    """Two inputs, sigmoid layers of the widths ``hidden``, one logit; float64, Glorot-initialised."""
    widths = (2, *hidden, 1)
    layers: list[nn.Module] = []
    for inputs, outputs in itertools.pairwise(widths):
        layer = nn.Linear(inputs, outputs, dtype=torch.float64)
        nn.init.xavier_uniform_(layer.weight, gain=_GAIN, generator=generator)
        nn.init.uniform_(layer.bias, -1.0, 1.0, generator=generator)
        layers += [layer, nn.Sigmoid()]
    return nn.Sequential(*layers[:-1])


def objective(model: nn.Module, inputs: Tensor, labels: Tensor, l2: float) -> Tensor:
    """Mean binary cross-entropy + (l2 / 2) ||theta||^2 over all parameters, biases included.

    Args:
        inputs: (n, 2) float64; labels: (n,) float64 of 0 and 1.
    """
    loss = F.binary_cross_entropy_with_logits(model(inputs).squeeze(1), labels)
    squares = torch.stack([parameter.square().sum() for parameter in model.parameters()])
    return loss + 0.5 * l2 * squares.sum()


def converge(
    model: nn.Module,
    inputs: Tensor,
    labels: Tensor,
    *,
    l2: float,
    steps: int,
    tolerance: float = 1e-5,
    on_steps: Callable[[int, int], None] | None = None,
) -> Fit:
    """Minimise :func:`objective` in place by L-BFGS-B on all points (scipy; Zhu et al., 1997).

    Args:
        steps: at most so many.
        tolerance: stop where no entry of the gradient is larger.
        on_steps: told (done, at most).

    Raises:
        MissingExtra: scipy is not installed.
    """
    minimize = require("scipy.optimize", "study").minimize
    parameters = dict(model.named_parameters())
    shapes = [parameter.shape for parameter in parameters.values()]

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        # One leaf instead of many parameters: half of the time would go into small operations.
        theta = torch.from_numpy(flat).requires_grad_()
        parts = theta.split([shape.numel() for shape in shapes])
        weights = {
            name: part.view(shape) for name, part, shape in zip(parameters, parts, shapes, strict=True)
        }
        logits = functional_call(model, weights, (inputs,)).squeeze(1)
        value = F.binary_cross_entropy_with_logits(logits, labels) + 0.5 * l2 * theta.dot(theta)
        value.backward()
        assert theta.grad is not None
        return value.item(), theta.grad.numpy()

    done = itertools.count(1)
    start = parameters_to_vector(model.parameters()).detach().numpy().copy()
    found = minimize(
        value_and_gradient,
        start,
        jac=True,
        method="L-BFGS-B",
        callback=None if on_steps is None else lambda _: on_steps(next(done), steps),
        # Only the gradient stops it: the loss of a plateau hardly falls either.
        options={"maxcor": 30, "maxiter": steps, "maxfun": 10 * steps, "ftol": 0.0, "gtol": tolerance},
    )
    with torch.no_grad():
        vector_to_parameters(torch.from_numpy(found.x), model.parameters())
        loss = float(objective(model, inputs, labels, 0.0))
    return Fit(loss, float(np.linalg.norm(found.jac)), int(found.nit))


def rank(model: nn.Module, points: np.ndarray, labels: np.ndarray, l2: float) -> swaypoint.Ranking:
    """By Cook's distance of the last layer, exactly, under :func:`objective`.

    Args:
        points: (n, 2) float64; labels: (n,) int64.
    """
    return swaypoint.cooks_distance(
        model,
        (points, labels),
        loss="binary_cross_entropy",
        l2=l2,
        dtype=torch.float64,
        progress=False,
    )
