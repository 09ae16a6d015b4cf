"""Scores of how a point fared while the model learned; they cost nothing beside the training.

In dataset order; large: look at it first. All need ``TrainedModel(course=...)``.
"""

from __future__ import annotations

import numpy as np

from swaypoint.errors import InputError
from swaypoint.scorers.base import Score, register
from swaypoint.scoring.trained_model import Course, TrainedModel


def area_under_margin(trained: TrainedModel) -> np.ndarray:
    """Minus the mean margin over the epochs, ``(n,)`` float64 (Pleiss, Zhang, Elenberg & Weinberger, NeurIPS
    2020, who look at the smallest first): points like it pull the model the other way all along.

    Raises:
        InputError: the training was not recorded.
    """
    return -_course(trained, "area_under_margin").margins.astype(np.float64).mean(1)


def forgetting(trained: TrainedModel) -> np.ndarray:
    """How often a point was right and at its next visit wrong, ``(n,)`` float64; one that never was right
    counts as forgotten at every visit (Toneva et al., ICLR 2019).

    Raises:
        InputError: the training was not recorded.
    """
    right = _course(trained, "forgetting").margins > 0
    events = (right[:, :-1] & ~right[:, 1:]).sum(1)
    return np.where(right.any(1), events, right.shape[1]).astype(np.float64)


def _course(trained: TrainedModel, name: str) -> Course:
    if trained.course is None:
        raise InputError(
            f"{name} needs the course of the training, which is recorded where swaypoint trains the model;"
            " for yours pass TrainedModel(course=...), see swaypoint.models.trajectory"
        )
    return trained.course


register(
    Score(
        "area_under_margin",
        "Pleiss et al., NeurIPS 2020",
        "minus the mean margin",
        score=area_under_margin,
        classes=True,
        course=True,
    )
)
register(
    Score(
        "forgetting",
        "Toneva et al., ICLR 2019",
        "times right, then wrong",
        score=forgetting,
        classes=True,
        course=True,
    )
)
