"""Where the minimum of a head's objective is, by the quadratic model at the head as it stands."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from swaypoint.scoring.risks.chunk import Summary
from swaypoint.scoring.risks.head import LinearHeadRisk


@dataclass(frozen=True)
class NewtonStep:
    """From a head to the minimum of its objective's quadratic model.

    Attributes:
        objective: mean loss plus ridge at the head [nats, of a cross-entropy].
        decrement: 1/2 grad^T H^-1 grad, by how much the model is lower at its minimum (Boyd & Vandenberghe,
            2004, 9.5.1), of what some point sees.
        change: of the head's matrix, ``(C, D)`` float64, where no point sees it as the ridge has it.
    """

    objective: float
    decrement: float
    change: Tensor


def newton_step(risk: LinearHeadRisk, summary: Summary, inverse: Tensor) -> NewtonStep:
    """``inverse`` (G, P / G, P / G): H^-1 in the coordinates of ``risk``; damping in it shortens the step."""
    assert risk.range is not None
    ridge, held = (risk.head.penalty(damping).to(risk.matrix) for damping in (0.0, risk.damping))
    slope = ridge * risk.matrix
    mean = slope.mean(0) if risk.head.loss.shift_invariant else torch.zeros_like(ridge)
    gradient = summary.gradient + slope - mean
    # Directions of the features that no point has: there the ridge alone is to be minimised, given the rest.
    null = risk.range.null
    free = null @ torch.linalg.pinv(null.T @ (held.unsqueeze(1) * null), hermitian=True) @ null.T
    reduced = risk.gradient_coordinates(gradient - gradient @ free * held)
    step = -(inverse @ reduced.unsqueeze(2)).squeeze(2)
    maps = risk.coordinates()
    blocks = step.view(*maps["outputs"].shape[::2], -1)
    change = torch.einsum("gcm,gmk,dk->cd", maps["outputs"], blocks, maps["features"])
    change -= (gradient + change * held) @ free
    change -= torch.where(held > 0, mean / held, 0.0)  # what shifts all logits of a softmax
    return NewtonStep(
        objective=summary.loss + 0.5 * float((slope * risk.matrix).sum()),
        decrement=-0.5 * float((reduced * step).sum()),
        change=change,
    )
