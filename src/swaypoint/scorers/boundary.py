"""Boundary-based influence: how far a point is from the nearest decision boundary.

The score is the *negative* distance, so that large still means: look at it first. The boundary is that
of the predicted class, wherever the label lies: the distance is the smallest change that makes the
prediction tie with another class.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scorers.base import Score, register
from swaypoint.scorers.baselines import class_logits
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.model import ModelRisk
from swaypoint.scoring.trained_model import TrainedModel

STEPS = 10
"""DeepFool mostly crosses in two or three."""
OVERSHOOT = 0.02
"""A step beyond the boundary to be sure of the crossing (the paper's eta); no part of the distance."""
_JACOBIAN_ENTRIES = 1 << 24


def boundary_weights(trained: TrainedModel) -> np.ndarray:
    """Minus the distance in the weights of the last layer, ``(n,)`` float64, in closed form.

    The smallest change of [W, b] (Frobenius norm) that makes the predicted class y tie with another:
    min_k (z_y - z_k) / (sqrt(2) ||phi||), phi with the constant 1 of the bias; |z| / ||phi|| for the
    single logit of a binary classifier.

    Raises:
        InputError: the loss has no classes.
    """
    loss = trained.head.weights.loss

    def of(chunk: Chunk) -> Tensor:
        best = class_logits(chunk.logits, loss, "boundary_weights").topk(2).values
        gaps = best[:, 0] - best[:, 1]
        rows = min(2, chunk.logits.shape[1])  # of [W, b] that the change touches
        reach = rows**0.5 * chunk.features.norm(dim=0)
        # Without features all logits are 0, and tie.
        return torch.where(gaps > 0, gaps / reach, 0.0)

    return -trained.of_points(of).cpu().numpy()


def boundary_inputs(trained: TrainedModel, *, steps: int = STEPS) -> np.ndarray:
    """Minus the distance in the inputs (Euclidean), ``(n,)`` float64, by DeepFool.

    Moosavi-Dezfooli, Fawzi & Frossard, CVPR 2016, Algorithm 2: linearise the logits in the input, step
    to the nearest of the linearised boundaries, until the prediction changes. Exact for a linear
    model; else, ``OVERSHOOT`` apart, no less than the true distance where the point has crossed. One
    that has not after ``steps`` gets its distance from where it started; one whose input has no effect,
    -inf.

    Raises:
        InputError: the loss has no classes, there is no model, or its inputs are no float tensor.
    """
    if trained.model is None:
        raise InputError(
            "boundary_inputs needs a model and this head has only its features; use boundary_weights"
        )
    risk, parts = trained.risk, []
    for inputs, _ in risk.batches():
        if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
            raise InputError(
                f"boundary_inputs moves the inputs, and these are {_described(inputs)}; expected one float"
                " tensor a batch: use boundary_weights"
            )
        with risk.differentiable():
            outputs = class_logits(risk.logits(risk.theta, inputs), risk.loss, "boundary_inputs").shape[1]
            size = max(1, _JACOBIAN_ENTRIES // (outputs * max(1, inputs[0].numel())))
            parts += [_deepfool(risk, piece, steps) for piece in inputs.split(size)]
    return -torch.cat(parts).double().cpu().numpy()


def _deepfool(risk: ModelRisk, inputs: Tensor, steps: int) -> Tensor:
    """Distances ``(b,)``, in the dtype of ``inputs``."""
    logits = _logits(risk, inputs)
    original = logits.argmax(1, keepdim=True)
    moved = torch.zeros_like(inputs).flatten(1)
    inside = torch.arange(len(inputs), device=inputs.device)
    for _ in range(steps):
        at = inputs[inside] + (1 + OVERSHOOT) * moved[inside].view_as(inputs[inside])
        step = _to_boundary(risk, at, original[inside])
        moved[inside] += step
        at = inputs[inside] + (1 + OVERSHOOT) * moved[inside].view_as(inputs[inside])
        stays = _logits(risk, at).argmax(1) == original[inside].squeeze(1)
        # A step of zero leads nowhere, neither on the boundary nor where the input has no effect.
        inside = inside[stays & (step.norm(dim=1) > 0) & step.isfinite().all(1)]
        if len(inside) == 0:
            break
    return moved.norm(dim=1)


def _to_boundary(risk: ModelRisk, inputs: Tensor, original: Tensor) -> Tensor:
    """The step ``(b, D)`` to the nearest boundary of the linearised model."""
    logits, pull = torch.func.vjp(lambda x: _logits(risk, x), inputs)  # type: ignore[misc]
    units = torch.eye(logits.shape[1]).to(logits).unsqueeze(1).expand(-1, *logits.shape)
    # Points do not see each other in eval mode: one pull gives the gradients of all of them.
    slopes = torch.func.vmap(lambda unit: pull(unit)[0])(units).flatten(2).transpose(0, 1)
    index = original.unsqueeze(2).expand(-1, 1, slopes.shape[2])
    normals = slopes - slopes.gather(1, index)
    gaps = (logits.gather(1, original) - logits).clamp_min(0.0)
    lengths = normals.norm(dim=2)
    distances = torch.where(lengths > 0, gaps / lengths, torch.inf).scatter(1, original, torch.inf)
    nearest = distances.argmin(1, keepdim=True)
    normal = normals.gather(1, nearest.unsqueeze(2).expand_as(index)).squeeze(1)
    distance = distances.gather(1, nearest)
    return torch.where(distance.isfinite(), distance * normal / lengths.gather(1, nearest), torch.inf)


def _logits(risk: ModelRisk, inputs: Tensor) -> Tensor:
    return class_logits(risk.logits(risk.theta, inputs), risk.loss, "boundary_inputs")


def _described(inputs: Any) -> str:
    return f"{inputs.dtype}" if isinstance(inputs, Tensor) else f"a {type(inputs).__name__}"


register(
    Score(
        "boundary_weights",
        "closed form for the last layer",
        "minus the distance to the decision boundary, in weights",
        score=boundary_weights,
        pointwise=True,
        classes=True,
    )
)
register(
    Score(
        "boundary_inputs",
        "Moosavi-Dezfooli, Fawzi & Frossard, CVPR 2016",
        "minus the distance to the decision boundary, in inputs",
        score=boundary_inputs,
        classes=True,
    )
)
