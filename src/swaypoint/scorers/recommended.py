"""The score that swaypoint recommends for finding wrong labels; docs/labels.md says how it was chosen.

What tells a wrong label is how improbable the model finds it, so the better the probabilities, the better
the score, and they must not have seen the label. Two views cost nothing: the softmax of the head without the
point, which no point can sway by being learned, and the mean softmax of the last third of the training, which
saw the point augmented and with many weights. Their mean, and that of several models, goes through the noise
channel of :mod:`swaypoint.scoring.wrong_labels`.

A model that knows its training points by heart has no doubt left of a wrong label either, with the point or
without it: there the mean softmax of the whole training is taken, whose first epochs had not learnt it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swaypoint.scorers.base import Score, register
from swaypoint.scorers.leave_one_out import leave_one_out_loss
from swaypoint.scoring.trained_model import Course, TrainedModel
from swaypoint.scoring.wrong_labels import (
    Channel,
    WrongLabels,
    channel_counts,
    estimated_channel,
    through_channel,
)

_SAMPLE = 1 << 18
"""Probabilities that a temperature is fitted to."""
_COLDEST, _WARMEST = 0.1, 10.0

Part = tuple[np.ndarray, np.ndarray]
"""Probabilities (n, C) that have not seen the labels, and the given labels (n,)."""


def averaged(left_out: np.ndarray, course: Course | None, *, by_heart: bool = False) -> np.ndarray:
    """Mean of the leave-one-out probabilities ``(n, C)`` and of those of the last third of the training,
    where they were recorded, ``(n, C)`` float32.

    Args:
        by_heart: the check "Memorisation" of :mod:`swaypoint.scoring.fitness` fails: the mean of the
            probabilities of the whole training instead.
    """
    if by_heart and course is not None and course.whole is not None:
        return course.whole.astype(np.float32)
    if course is None or course.probabilities is None:
        return left_out.astype(np.float32)
    return 0.5 * (left_out.astype(np.float32) + course.probabilities.astype(np.float32))


def out_of_sample(trained: TrainedModel) -> Part | None:
    """What is known of each training point apart from its label, see :func:`averaged`, and the labels; None
    of a loss without one class a point."""
    scores = trained.influence.scores(probabilities=True)
    if scores.probabilities is None:
        return None
    p = averaged(scores.probabilities, trained.course, by_heart=trained.by_heart)
    return p, scores.label.astype(np.int64)


@dataclass(frozen=True, eq=False)
class OneScale:
    """What puts groups of points on one scale: a temperature for each, and one channel.

    Groups that differ in how their probabilities came about, such as points trained on and points held out,
    differ in how sure these are. So those of each are first brought to the temperature at which they predict
    its given labels best (Guo et al., 2017); then one channel is estimated from all of them, and every point
    scored through it. A single group is taken as it is: :func:`swaypoint.wrong_labels`.
    """

    temperatures: tuple[float, ...]
    channel: Channel

    @classmethod
    def of(cls, parts: Sequence[Part]) -> OneScale:
        """From the groups, or a sample of them in which each has the share that it has."""
        temperatures = tuple(temperature(*part) for part in parts) if len(parts) > 1 else (1.0,)
        found = [channel_counts(tempered(p, t), y) for (p, y), t in zip(parts, temperatures, strict=True)]
        return cls(
            temperatures, estimated_channel(*(np.sum(one, axis=0) for one in zip(*found, strict=True)))
        )

    def wrong(self, group: int, p: np.ndarray, labels: np.ndarray) -> WrongLabels:
        """Which labels are wrong of points of one of the groups."""
        return through_channel(tempered(p, self.temperatures[group]), labels, self.channel)


def recommended(parts: Sequence[Part]) -> list[WrongLabels]:
    """Which labels are wrong in several groups of points of the same classes, see :class:`OneScale`."""
    scale = OneScale.of(parts)
    return [scale.wrong(group, p, y) for group, (p, y) in enumerate(parts)]


def together(found: Sequence[WrongLabels], order: np.ndarray) -> WrongLabels:
    """Groups of one scale as one: the points one group after another, taken in ``order``."""
    points = {
        name: np.concatenate([getattr(one, name) for one in found])[order]
        for name in ("score", "p_wrong", "likely")
    }
    sums = {name: np.sum([getattr(one, name) for one in found], axis=0) for name in ("pairs", "variance")}
    return replace(found[0], **points, **sums)


def temperature(p: np.ndarray, labels: np.ndarray) -> float:
    """The t for which p^(1/t), normalised, has the least negative log likelihood of the labels; 0.1 to 10.

    By Newton's method on 1/t, of which the likelihood is a concave function; on evenly spaced points where
    there are many.
    """
    step = -(-p.size // _SAMPLE)
    p, y = p[::step], labels[::step]
    logs = np.log(np.maximum(p.astype(np.float64), np.finfo(np.float32).tiny))
    own = logs[np.arange(len(y)), y].mean()
    inverse = 1.0
    for _ in range(20):
        weights = np.exp(inverse * (logs - logs.max(1, keepdims=True)))
        weights /= weights.sum(1, keepdims=True)
        mean = (weights * logs).sum(1)
        spread = (weights * (logs - mean[:, None]) ** 2).sum(1).mean()
        moved = inverse - (mean.mean() - own) / max(spread, 1e-12)
        moved = min(max(moved, inverse / 2, 1 / _WARMEST), inverse * 2, 1 / _COLDEST)
        if abs(moved - inverse) < 1e-6 * inverse:
            break
        inverse = moved
    return 1 / inverse


def tempered(p: np.ndarray, t: float) -> np.ndarray:
    """p^(1/t), normalised, (n, C) float32; ``p`` itself for t = 1."""
    if t == 1.0:
        return p
    logs = np.log(np.maximum(p.astype(np.float32), np.finfo(np.float32).tiny)) / np.float32(t)
    weights = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(weights / weights.sum(1, keepdims=True))


def auto(trained: TrainedModel) -> np.ndarray:
    """The recommended score of a trained model, ``(n,)`` float64; without one class a point the leave-one-out
    loss."""
    known = out_of_sample(trained)
    return leave_one_out_loss(trained) if known is None else recommended([known])[0].score


register(
    Score("auto", "none", "odds that another class is the true one, through a noise channel", score=auto)
)
