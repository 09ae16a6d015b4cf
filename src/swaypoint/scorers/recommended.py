"""The score that swaypoint recommends for finding wrong labels; docs/labels.md says how it was chosen.

What tells a wrong label is how improbable the model finds it, so the better the probabilities, the better
the score, and they must not have seen the label. Two views cost nothing: the softmax of the head without the
point, which no point can sway by being learned, and the mean softmax of the last third of the training, which
saw the point augmented and with many weights. Their mean, and that of several models, goes through the noise
channel of :mod:`swaypoint.scoring.wrong_labels`; where the data tell none, their geometric mean ranks better.

A model that knows its training points by heart has no doubt left of a wrong label either, with the point or
without it: there the whole training is asked, whose first epochs had not learnt it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from swaypoint.scorers.base import Score, register
from swaypoint.scorers.leave_one_out import leave_one_out_loss
from swaypoint.scoring.trained_model import Course, TrainedModel, last_third
from swaypoint.scoring.wrong_labels import (
    Channel,
    WrongLabels,
    channel_counts,
    estimated_channel,
    through_channel,
    uniform_channel,
    wrong_labels,
)

_SAMPLE = 1 << 18
"""Probabilities that a temperature is fitted to."""
_COLDEST, _WARMEST = 0.1, 10.0
_COLD = 0.3
"""The lowest for points known by heart: a lower one would make probabilities vanish that tell them apart."""
_RARE = 1e-18
"""How often each other class is given before the odds are moved: so rarely that the channel leaves p
as it is, even where hardly a doubt is left."""
_NEAREST, _FARTHEST = -30.0, 120.0  # nats, of which the channel takes 41

Part = tuple[np.ndarray, np.ndarray]
"""Probabilities (n, C) that have not seen the labels, and the given labels (n,)."""


def averaged(
    left_out: np.ndarray, labels: np.ndarray, course: Course | None, *, by_heart: bool = False
) -> np.ndarray:
    """Mean of the leave-one-out probabilities ``(n, C)`` and of those of the last third of the training,
    where they were recorded, ``(n, C)`` float32.

    Args:
        labels: as given, (n,).
        by_heart: the model knows its points by heart, see :func:`swaypoint.scoring.fitness.by_heart`: the
            mean of the probabilities of the whole training instead, of the given label the geometric one
            (its logarithm is the mean loss, which finds wrong labels better than that of the mean).
    """
    if by_heart and course is not None and course.whole is not None:
        p = course.whole.astype(np.float32)
        p[np.arange(len(p)), labels] = np.exp(-course.losses.mean(1))
        return np.asarray(p / p.sum(1, keepdims=True))
    if course is None or course.probabilities is None:
        return left_out.astype(np.float32)
    return 0.5 * (left_out.astype(np.float32) + course.probabilities.astype(np.float32))


def geometric(left_out: np.ndarray, labels: np.ndarray, course: Course | None) -> np.ndarray | None:
    """The geometric mean of the two views of :func:`averaged`, normalised, ``(n, C)`` float32; None where
    there is one alone. Of the given label the second view's is e to the minus mean loss of the same epochs,
    a geometric mean, too."""
    if course is None or course.probabilities is None:
        return None
    third = course.losses[:, last_third(course.losses.shape[1]) :]
    second = course.probabilities.astype(np.float32)
    second[np.arange(len(second)), labels] = np.exp(-np.nanmean(third, axis=1))
    second /= second.sum(1, keepdims=True)
    return geometric_mean((left_out, second))


def geometric_mean(views: Sequence[np.ndarray]) -> np.ndarray:
    """Of probabilities (n, C) each, normalised, (n, C) float32."""
    tiny = np.finfo(np.float32).tiny
    logs = sum(np.log(np.maximum(p, tiny, dtype=np.float32)) for p in views) / np.float32(len(views))
    mean = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(mean / mean.sum(1, keepdims=True), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class OneScale:
    """What puts groups of points on one scale: a temperature for each, and one channel.

    Groups that differ in how their probabilities came about, such as points trained on and points held out,
    differ in how sure these are, and a mean of probabilities is less sure than it should be. So those of each
    are first brought to the temperature at which they predict its given labels best (Guo et al., 2017), see
    :func:`temperatures`; then one channel is estimated from all of them, and every point scored through it. A
    single group at the temperature 1 has :func:`swaypoint.wrong_labels`.
    """

    temperatures: tuple[float, ...]
    channel: Channel

    @classmethod
    def of(cls, parts: Sequence[Part]) -> OneScale:
        """From the groups, or a sample of them in which each has the share that it has."""
        warmth = tuple(temperatures(parts))
        counts = [channel_counts(tempered(p, t), y) for (p, y), t in zip(parts, warmth, strict=True)]
        return cls(warmth, estimated_channel(*(np.sum(one, axis=0) for one in zip(*counts, strict=True))))

    def wrong(self, group: int, p: np.ndarray, labels: np.ndarray) -> WrongLabels:
        """Which labels are wrong of points of one of the groups."""
        return through_channel(tempered(p, self.temperatures[group]), labels, self.channel)


def recommended(
    parts: Sequence[Part], *, by_heart: bool = False, without: np.ndarray | None = None
) -> list[WrongLabels]:
    """Which labels are wrong in one or more groups of points of the same classes, see :class:`OneScale`.

    Args:
        by_heart: the model knows the points of the first group by heart, so that their probabilities say
            nothing of how many labels are wrong; of the others, a random part of the same data, it does not.
            Then the channel is that of the others alone, and the first group is scored without one, by the
            odds against the given label, moved by one factor, so that as large a share of its labels is
            expected to be wrong as of theirs; without others, as its own channel has it. Its score is the
            log-odds of its ``p_wrong``.
        without: (n, C), asked of the first group where the groups tell no channel, see :func:`geometric`.
    """
    first = int(by_heart)
    learnt, given = parts[:first], parts[first:]
    found: list[WrongLabels] = []
    share: float | None = None
    if given:
        scale = OneScale.of(given)
        if without is not None and not by_heart and not scale.channel.believed:
            return recommended([(without, parts[0][1]), *parts[1:]])
        found = [scale.wrong(group, p, y) for group, (p, y) in enumerate(given)]
        share = sum(each.expected for each in found) / sum(len(y) for _, y in given)
    return [*(_without_channel(p, y, share) for p, y in learnt), *found]


def _without_channel(p: np.ndarray, y: np.ndarray, share: float | None) -> WrongLabels:
    """By the odds against the given label, moved so that a ``share`` of labels is expected to be wrong."""
    p = tempered(p, max(temperature(p, y), _COLD))
    if share is None:
        share = wrong_labels(p, y).expected / len(y)
    channel = uniform_channel(p.shape[1], _RARE * (p.shape[1] - 1))
    shift = _shift([(p, y)], channel, share)
    own = p[np.arange(len(y)), y].astype(np.float64)
    others = p.copy()
    others[np.arange(len(y)), y] = 0
    tiny = float(np.finfo(np.float32).tiny)
    against = np.log(np.maximum(others.sum(1, dtype=np.float64), tiny)) - np.log(np.maximum(own, tiny))
    return replace(through_channel(p, y, channel, shift=shift), score=against + shift + np.log(_RARE))


def expecting(parts: Sequence[Part], known: Sequence[WrongLabels]) -> list[WrongLabels]:
    """:func:`recommended`, with the odds of all points moved by one factor, so that as many labels are
    expected to be wrong as in ``known``: for probabilities that rank better, and are too sure."""
    scale = OneScale.of(parts)
    warm = [(tempered(p, t), y) for (p, y), t in zip(parts, scale.temperatures, strict=True)]
    share = sum(each.expected for each in known) / sum(len(y) for _, y in parts)
    shift = _shift(warm, scale.channel, share)
    return [through_channel(p, y, scale.channel, shift=shift) for p, y in warm]


def _shift(parts: Sequence[Part], channel: Channel, share: float) -> float:
    """Nats for :func:`~swaypoint.scoring.wrong_labels.through_channel` with which a ``share`` of the labels
    is expected to be wrong; from evenly spaced points where there are many."""
    step = -(-sum(p.size for p, _ in parts) // _SAMPLE)
    some = [(p[::step], y[::step]) for p, y in parts]
    wanted = share * sum(len(y) for _, y in some)
    low, high = _NEAREST, _FARTHEST
    for _ in range(20):
        middle = (low + high) / 2
        expected = sum(through_channel(p, y, channel, shift=middle).expected for p, y in some)
        low, high = (low, middle) if expected > wanted else (middle, high)
    return (low + high) / 2


def as_others(score: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Scores ``(n,)`` in their own order with the distribution of ``others`` (m,).

    For points that a model knows by heart, beside a random part of the same data that it has not seen: the
    odds of the two are of different scales whatever their shares, and as many of either are wrong.
    """
    place = (np.argsort(np.argsort(score, kind="stable"), kind="stable") + 0.5) / len(score)
    known = (np.arange(len(others)) + 0.5) / len(others)
    return np.asarray(np.interp(place, known, np.sort(others)) + 1e-6 * place)  # no ties beyond the ends


def temperatures(parts: Sequence[Part]) -> list[float]:
    """Of each group, without what would make all of them less sure: a model seems too sure where labels are
    wrong, and that is what is to be found."""
    found = [temperature(p, y) for p, y in parts]
    common = max(1.0, min(found, default=1.0))
    return [t / common for t in found]


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


def of_training(
    left_out: np.ndarray, labels: np.ndarray, course: Course | None, *, by_heart: bool
) -> WrongLabels:
    """Which labels of a training set are wrong, by :func:`averaged` and :func:`geometric`."""
    labels = labels.astype(np.int64)
    p = averaged(left_out, labels, course, by_heart=by_heart)
    without = None if by_heart else geometric(left_out, labels, course)
    return recommended([(p, labels)], by_heart=by_heart, without=without)[0]


def auto(trained: TrainedModel) -> np.ndarray:
    """The recommended score of a trained model, ``(n,)`` float64; without one class a point the leave-one-out
    loss."""
    scores = trained.influence.scores(probabilities=True)
    if scores.probabilities is None:
        return leave_one_out_loss(trained)
    return of_training(scores.probabilities, scores.label, trained.course, by_heart=trained.by_heart).score


register(
    Score("auto", "none", "odds that another class is the true one, through a noise channel", score=auto)
)
