"""What a solve says of each point, and of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from swaypoint.scoring.risks.head import Chunk

Removal = Literal["infinitesimal", "finite"]


@dataclass(frozen=True)
class Scores:
    """Per-point results in dataset order, float64 arrays of length n.

    ``cook`` is g^T H^-1 g for ``removal="infinitesimal"``. For ``"finite"`` it is n times
    dtheta^T (nH) dtheta of one Newton step without the point, the same quantity to first order (for
    linear regression n e^2 h / (1 - h)^2, exactly). ``margin`` is the leave-one-out probability of
    the given label minus the largest other; ``suggested_label`` the leave-one-out prediction (class
    index, or the predicted value of a single-output regression). ``first_order``: of the finite form, what
    the infinitesimal one would be; else None.
    """

    cook: np.ndarray
    loss: np.ndarray
    loo_loss: np.ndarray
    leverage: np.ndarray
    margin: np.ndarray
    suggested_label: np.ndarray
    label: np.ndarray
    loo_logits: np.ndarray | None = None
    standard_error: np.ndarray | None = None
    first_order: np.ndarray | None = None


@dataclass(frozen=True)
class Facts:
    """What a solver knows of how far to trust its scores; see :mod:`swaypoint.scoring.fitness`.

    ``decrement`` is the Newton decrement 1/2 grad^T H^-1 grad (Boyd & Vandenberghe, 2004, 9.5.1): how
    far below the mean loss and its ridge could still go. ``condition`` None: not known.
    """

    solver: str
    outcome: str
    precision: str
    estimated_error: float
    decrement: float
    saturated: float | None
    dropped: int
    condition: float | None = None
    cut: int = 0
    negative: float = 0.0


def prediction(
    chunk: Chunk, logits: Tensor, probabilities: Tensor | None, labels: Tensor | None
) -> dict[str, Tensor]:
    """Given label, suggested label and margin, from leave-one-out logits (of a regression: means)."""
    if probabilities is None or labels is None:
        missing = torch.full_like(chunk.terms.value, torch.nan)
        single = logits.shape[1] == 1
        given = chunk.targets[:, 0].double() if single and chunk.targets.ndim == 2 else missing
        return {"margin": missing, "suggested_label": logits[:, 0] if single else missing, "label": given}
    own = probabilities.gather(1, labels.unsqueeze(1)).squeeze(1)
    others = probabilities.scatter(1, labels.unsqueeze(1), -torch.inf).amax(1)
    return {"margin": own - others, "suggested_label": probabilities.argmax(1), "label": labels}
