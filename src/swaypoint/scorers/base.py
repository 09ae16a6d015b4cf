"""What a score is, and all of them by name.

A score is one file: a function of a :class:`TrainedModel`, entered with :func:`register`, or named by another
package's entry point of ``swaypoint.scores``. From there it is in ``swaypoint.scores``, in ``swaypoint audit
--score`` and in the comparison table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from swaypoint.errors import InputError
from swaypoint.extending import Registry
from swaypoint.scoring.trained_model import TrainedModel


@dataclass(frozen=True)
class Score:
    """A number for each training point, or for each on each test point.

    Attributes:
        name: as given to ``--score`` and ``swaypoint.scores``.
        source: the paper.
        summary: what it is, in a few words.
        score: of each training point, ``(n,)`` float64, dataset order; large: look at it first. None
            for scores that only compare points with test points.
        on: of each training point on each test point, ``(n_test, n)`` float64; positive: a proponent
            (removing it raises the test loss). None for scores without test points.
        pointwise: the score of a point hangs on the others through the head and its inverse Hessian alone, so
            that it is computed by the shard where the data are larger than memory, and of points that the
            model was not trained on too, see
            :meth:`~swaypoint.scoring.trained_model.TrainedModel.unseen`. Of such others have none: NaN.
        classes: it needs one class a point, and has no meaning for real values.
        course: it needs the record of the training, see :class:`~swaypoint.scoring.trained_model.Course`.
    """

    name: str
    source: str
    summary: str
    score: Callable[[TrainedModel], np.ndarray] | None = None
    on: Callable[[TrainedModel, Any], np.ndarray] | None = None
    pointwise: bool = False
    classes: bool = False
    course: bool = False


scores: Registry[Score] = Registry("score", "swaypoint.scores", Score, home="swaypoint.scorers")


def register(score: Score) -> Score:
    """Enter ``score`` into :data:`scores` by its name.

    Raises:
        ValueError: the name is taken.
    """
    return scores.register(score.name, score)


def of_points(name: str) -> Callable[[TrainedModel], np.ndarray]:
    """The function of the score ``name`` that gives every training point a number, a column of an audit.

    Raises:
        InputError: there is no such score, or it only compares points with test points.
    """
    function = scores.named(name).score
    if function is None:
        raise InputError(
            f"the score {name!r} compares training points with test points, and an audit has none; use"
            f" swaypoint.scores[{name!r}].on(trained_model, test)"
        )
    return function
