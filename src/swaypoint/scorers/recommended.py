"""The score that swaypoint recommends for finding wrong labels; chosen in docs/cifar10.md.

Where labels are wrong by chance, what tells a wrong one is how improbable the model finds it, and the better
the probabilities, the better the score. So it averages the two views of the loss that cost nothing: that of
the head without the point, which no point can lower by being learned, and that of the last third of the
training, which saw the point augmented and with many weights. Several models are averaged likewise.

A model that knows its training points by heart has no loss left on a wrong label either, with the point or
without it: there the losses of the whole training are the score, whose first epochs had not learnt it yet.
"""

from __future__ import annotations

import numpy as np

from swaypoint.scorers.base import Score, register
from swaypoint.scorers.leave_one_out import leave_one_out_loss
from swaypoint.scoring.trained_model import Course, TrainedModel

_LAST = 1 / 3


def recommended(left_out: np.ndarray, course: Course | None, *, by_heart: bool = False) -> np.ndarray:
    """Mean of the leave-one-out losses ``(n,)`` and of the losses of the last third of the training, where
    it was recorded; ``(n,)`` float64, large: look at it first.

    Args:
        by_heart: the check "Memorisation" of :mod:`swaypoint.scoring.fitness` fails: the mean of the losses
            of the whole training instead.
    """
    if course is None:
        return left_out
    if by_heart:
        return course.losses.astype(np.float64).mean(1)
    epochs = course.losses.shape[1]
    last = course.losses[:, epochs - max(1, round(_LAST * epochs)) :].astype(np.float64)
    return 0.5 * (left_out + last.mean(1))


def auto(trained: TrainedModel) -> np.ndarray:
    """:func:`recommended` of a trained model, ``(n,)`` float64."""
    return recommended(leave_one_out_loss(trained), trained.course, by_heart=trained.by_heart)


register(Score("auto", "none", "leave-one-out loss and that of the training's last third", score=auto))
