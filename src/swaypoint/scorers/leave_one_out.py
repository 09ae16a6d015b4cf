"""What the last layer would say of each point had it not been trained on it, from one fit.

All are of the last layer, whatever ``params`` say, by one Newton step without the point (the design's
mathematics: finite removal in closed form), and in dataset order; large: look at it first.
"""

from __future__ import annotations

import numpy as np

from swaypoint.scorers.base import Score, register
from swaypoint.scoring.trained_model import TrainedModel


def finite_removal(trained: TrainedModel) -> np.ndarray:
    """n dtheta^T (nH) dtheta of the step that removes the point, ``(n,)`` float64: Cook's distance of a
    removal that is not infinitesimal."""
    return trained.influence.scores(removal="finite").cook


def leave_one_out_loss(trained: TrainedModel) -> np.ndarray:
    """The point's loss under the head that was not trained on it, ``(n,)`` float64."""
    return trained.influence.scores().loo_loss


register(
    Score(
        "finite_removal",
        "Cook, 1977",
        "Cook's distance of a whole removal",
        score=finite_removal,
        pointwise=True,
    )
)
register(
    Score(
        "leave_one_out_loss",
        "none",
        "loss under the head without the point",
        score=leave_one_out_loss,
        pointwise=True,
    )
)
