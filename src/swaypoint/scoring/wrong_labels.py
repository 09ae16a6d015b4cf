"""Which labels are probably wrong, from out-of-sample probabilities: log-odds through a noise channel.

Notation: p (n, C), the model's probabilities of the *given* labels y; T[k, j] = P(given j | true k), the
channel, rows sum to one; q (n, C), the probabilities of the true labels, so that p ≈ q T. Everything is
numpy, by chunks of rows: a memory map larger than memory is read three times and never held.

Sources: Northcutt et al., "Confident Learning", 2021 (errors of classes, counted where a model is sure);
Patrini et al., "Making Deep Neural Networks Robust to Label Noise", 2017 (p = q T, T read off at points that
are surely of a class); Richardson, 1972, and Lucy, 1974 (q from p and T). docs/labels.md has what each step
gains, and what lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from swaypoint.errors import InputError

_STEPS = 5
"""Richardson-Lucy steps; 20 give the same ranking, 100 a slightly worse one (they fit the noise of p)."""
_REGIONS = (0.25, 0.5, 0.75, 1.0)
"""Shares of the points that the model takes for a class among which its clearest region is sought."""
_UNSURE = 0.25
"""A point is at the border of its two most probable classes if their probabilities' ratio exceeds this."""
_LEAK = 0.08
"""Honest confusions expected at most inside the clear region for each point at the border of two classes."""
_LEAKY = 3.0
"""Times what all pairs leak on average: less than that a pair may leak without a label being wrong."""
_EVIDENCE = 5.0
"""Nats by which unequal rates must explain the counts better than one rate before a channel is believed."""
_TRUST = 0.25
"""Of the counts as they are, beside those without leaks, in the channel to rank by."""
_LARGEST_NOISE = 0.9
_TOLERANCE = 0.01
_TINY = float(np.finfo(np.float32).tiny)
_CACHED, _HELD = 1 << 16, 1 << 24  # elements of a chunk that stays in the cache; of a block of a class


@dataclass(frozen=True)
class WrongLabels:
    """Scores of all points, and the channel behind them.

    Attributes:
        score: (n,) float64, large: look first. In nats; 0: another class is as likely as the given one.
        p_wrong: (n,) float64 in [0, 1], the model's estimate that the given label is wrong. No bound: too low
            where people err as the model does.
        likely: (n,) int64, the most probable class other than the given one.
        pairs: (C, C) float64, [j, k]: the expected number of labels j whose true class is k, by the same
            estimate; ``variance`` likewise, of that number, if the points were independent.
        channel: (C, C) float64, ``channel[k, j]`` = P(given j | true k); uniform where none was believed. The
            score goes through a more cautious one, see ``estimated_channel``.
        believed: whether the data told a channel. If not, ``score`` is the log-odds margin of the
            probabilities as they are.
        evidence: nats by which rates that differ between pairs of classes explain the counts better than one
            rate for all; 0 for a model that contradicts most labels; NaN for a channel that was given.
    """

    score: np.ndarray
    p_wrong: np.ndarray
    likely: np.ndarray
    pairs: np.ndarray
    variance: np.ndarray
    channel: np.ndarray
    believed: bool
    evidence: float

    @property
    def expected(self) -> float:
        """The expected number of wrong labels, the sum of ``p_wrong``."""
        return float(self.p_wrong.sum())


class Channel(NamedTuple):
    """What a channel's counts tell: the channel, the cautious one to rank by, both (C, C), and the evidence
    for them, see :class:`WrongLabels`."""

    told: np.ndarray
    cautious: np.ndarray
    evidence: float

    @property
    def believed(self) -> bool:
        return math.isnan(self.evidence) or self.evidence >= _EVIDENCE


class Counts(NamedTuple):
    """What :func:`estimated_channel` takes, (C, C) each; those of several sets of points add up."""

    counts: np.ndarray
    sizes: np.ndarray
    border: np.ndarray


def wrong_labels(
    probabilities: np.ndarray,
    labels: np.ndarray,
    *,
    channel: np.ndarray | None = None,
    rows: int | None = None,
) -> WrongLabels:
    """Score every label by the odds that another class is the true one.

    The score is the mean of two log-odds margins, log max_{k≠y} a_k − log a_y, of the cleaned posterior
    a = q and of its product with the channel, a_k = q_k T[k, y]. The first forgets how often the classes are
    taken for each other, the second trusts it fully; people's errors lie between. Where the data tell no
    channel, both are the margin of p.

    Args:
        probabilities: (n, C), float16, float32 or float64: class probabilities from models that were not
            trained on the point they judge (out of fold, leave one out). An array or a memory map.
        labels: (n,) integers in [0, C), the given labels.
        channel: (C, C), a channel that is known, for instance from verdicts; None estimates one.
        rows: points a chunk; None chooses. The result does not depend on it.

    Raises:
        InputError: probabilities that are not of shape (n, C) with C ≥ 2 and n ≥ 1, not numbers from 0 on, or
            not summing to one; labels of another length, out of range or not integers; a channel whose shape,
            signs or sums are wrong, or that keeps no label of some class.

    >>> import numpy as np
    >>> p = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    >>> found = wrong_labels(p, np.array([0, 0, 1]))
    >>> found.believed, found.score.round(3).tolist()  # log 0.1/0.9, log 0.8/0.2, log 0.3/0.7
    (False, [-2.197, 1.386, -0.847])
    """
    p, y = _shaped(probabilities, labels)
    counts = channel_counts(p, y, rows=rows)  # the first pass over the data, hence where they are checked
    if channel is None:
        return through_channel(p, y, estimated_channel(*counts), rows=rows)
    told = _given(channel, p.shape[1])
    return through_channel(p, y, Channel(told, told, math.nan), rows=rows)


def channel_counts(p: np.ndarray, y: np.ndarray, *, rows: int | None = None) -> Counts:
    """Of (n, C) probabilities and (n,) int64 labels.

    Raises:
        InputError: a row of ``p`` is no distribution.
    """
    predicted, border = _predictions(_Chunks.of(p, y, rows))
    return Counts(*_clear_counts(p, y, predicted), border)


def through_channel(
    p: np.ndarray, y: np.ndarray, channel: Channel, *, shift: float = 0.0, rows: int | None = None
) -> WrongLabels:
    """The scores of :func:`wrong_labels` by a channel from elsewhere, of (n, C) probabilities and (n,) int64
    labels that are known to fit; ``shift`` nats are added to the log-odds of every other class."""
    through = _through_channel if channel.believed else _without_channel
    (score, p_wrong), likely = np.empty((2, len(y))), np.empty(len(y), dtype=np.int64)
    pairs, squares = np.zeros((2, *channel.told.shape))
    classes = np.eye(p.shape[1], dtype=np.float32)
    for at, p_chunk, given in _Chunks.of(p, y, rows):
        score[at], true = through(p_chunk, given, channel.cautious, channel.told)
        each, of = np.arange(len(given)), classes[given].T
        own = true[each, given] * math.exp(-shift)
        true[each, given] = -1
        likely[at] = true.argmax(1)
        true[each, given] = 0
        others = true.sum(1)
        whole = np.maximum(others + own, _TINY)
        p_wrong[at] = np.where(own > 0, others / whole, 1)
        true /= whole[:, None]
        true[each, given] = own / whole
        pairs += of @ true
        squares += of @ np.square(true)
    told, believed, evidence = channel.told, channel.believed, channel.evidence
    variance = np.maximum(pairs - squares, 0)
    return WrongLabels(score + shift, p_wrong, likely, pairs, variance, told, believed, evidence)


def estimated_channel(counts: np.ndarray, sizes: np.ndarray, border: np.ndarray) -> Channel:
    """The channel from counts in clear regions, a cautious one to rank by, and the evidence for that.

    A weak model's honest confusions (cat, dog) reach into the clear regions too, see :func:`_leaks`. The
    cautious channel takes so many off a count, but leaves what the mean rate of all pairs would give (there
    the data cannot tell, and the pair is an average one), and a quarter of what it takes off: a pair of which
    much is wrong has many points at its border, too. The first is the better estimate of how many labels are
    wrong, the second the better ranking, as a pair that is believed wrongly costs more than one that is
    overlooked. Where the evidence is weak, both are uniform, at the mean rate of the counts as they are.

    Args:
        counts: (C, C), [k, j]: points given j in the region clearest of j among those taken for k; [k, k]:
            those given k among all that are taken for k.
        sizes: (C, C), the points of these regions.
        border: (C, C) symmetric, points at the border of two classes.
    """
    off = ~np.eye(len(counts), dtype=bool)
    n, m = counts[off].astype(np.float64), sizes[off].astype(np.float64)
    beyond = np.maximum(n - _leaks(n, border[off]), 0)
    beyond = np.maximum(beyond, np.minimum(n, m * beyond.sum() / max(m.sum(), 1)))
    rates, evidence = _rates(beyond, m)
    if 2 * counts.trace() < sizes.trace():  # the model contradicts most labels: it knows no class surely
        evidence = 0.0
    if evidence < _EVIDENCE:
        uniform = _closed(np.full(n.shape, _mean_rate(n, m)), off)
        return Channel(uniform, uniform, evidence)
    told = _closed(_rates(n, m)[0], off)
    return Channel(told, _TRUST * told + (1 - _TRUST) * _closed(rates, off), evidence)


def _leaks(n: np.ndarray, border: np.ndarray) -> np.ndarray:
    """Honest confusions expected at most in the clear region of each pair of counts ``n`` with so many points
    at its ``border``.

    Those of weak models grow with the border. A strong model has next to none, but for the pair or two that
    it hardly tells apart; there they grow faster, with the square. How strong it is the counts say: as leaky
    as that pairs leak thrice as much as all of them on average, by either law, but not more than a weak one.
    """
    by_either = [n.sum() * law / max(law.sum(), 1) for law in (border, border * border)]
    return np.minimum(_LEAK * border, _LEAKY * np.maximum(*by_either))


def uniform_channel(classes: int, share: float) -> Channel:
    """Without a channel by classes: the ``share`` of the labels is wrong, every other class as often."""
    off = ~np.eye(classes, dtype=bool)
    told = _closed(np.full(classes * (classes - 1), share / (classes - 1)), off)
    return Channel(told, told, 0.0)


def _mean_rate(n: np.ndarray, m: np.ndarray) -> float:
    """Of all pairs; half an error where there is none."""
    return float(max(n.sum(), 0.5) / max(m.sum(), 1))


def _rates(n: np.ndarray, m: np.ndarray) -> tuple[np.ndarray, float]:
    """Posterior means of n / m, shrunk to their pooled mean e; the evidence that they differ.

    The rates have a Gamma prior with mean e and the shape s that maximises the likelihood of the counts,
    which are negative binomial: (n + s) / (m + s / e). The evidence is its gain over equal rates, s → ∞.
    """
    mean = _mean_rate(n, m)
    shapes = np.geomspace(1e-6, 100, 81)
    likelihoods = [_negative_binomial(n, m * mean, shape) for shape in shapes]
    best = int(np.argmax(likelihoods))
    rates = (n + shapes[best]) / (m + shapes[best] / mean)
    return rates, likelihoods[best] - _poisson(n, m * mean)


def _closed(rates: np.ndarray, off: np.ndarray) -> np.ndarray:
    """The channel with ``rates`` off its diagonal and rows that sum to one."""
    channel = np.zeros(off.shape)
    channel[off] = rates
    channel *= np.minimum(1, _LARGEST_NOISE / channel.sum(1, keepdims=True))
    np.fill_diagonal(channel, 1 - channel.sum(1))
    return channel


def cleaned(p: np.ndarray, channel: np.ndarray) -> np.ndarray:
    """q with q T ≈ p: Richardson-Lucy steps q ← q ∘ (p / qT) Tᵀ from q = p, normalised, (b, C)."""
    q = p.copy()
    for _ in range(_STEPS):
        ratio = q @ channel
        np.divide(p, np.maximum(ratio, _TINY, out=ratio), out=ratio)
        q *= ratio @ channel.T
        q /= q.sum(1, keepdims=True)
    return q


def log_odds_margin(a: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """log max_{k≠y} a_k − log a_y, (b,) float64, of positive weights ``a`` (b, C).

    Zeros count as the smallest normal float32, so that the margins stay finite and ordered.
    """
    at = np.arange(len(labels))
    own, others = a[at, labels], a.copy()
    others[at, labels] = -1
    weights = np.stack([others.max(1), own]).astype(np.float64)
    largest, kept = np.log(np.maximum(weights, _TINY))
    return largest - kept


def _through_channel(
    p: np.ndarray, y: np.ndarray, cautious: np.ndarray, channel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The scores (b,), and the weights (b, C) of the true classes given p and y."""
    cautious, channel = cautious.astype(p.dtype), channel.astype(p.dtype)
    q = cleaned(p, cautious)
    score = (log_odds_margin(q, y) + log_odds_margin(q * cautious.T[y], y)) / 2
    return score, q * channel.T[y]


def _without_channel(
    p: np.ndarray, y: np.ndarray, cautious: np.ndarray, channel: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The margin of p as it is; the weights through the uniform channel, whose inverse is explicit.

    The margin of the cleaned q would order the points alike but for those where q_y is cut off at 0.
    """
    score = log_odds_margin(p, y)
    q = np.maximum(p - channel[0, 1].astype(p.dtype), 0)
    return score, q * channel.T.astype(p.dtype)[y]


@dataclass(frozen=True)
class _Chunks:
    """Rows of p, in its own precision but at least float32, with their labels; checked when read."""

    p: np.ndarray
    y: np.ndarray
    rows: int

    @classmethod
    def of(cls, p: np.ndarray, y: np.ndarray, rows: int | None) -> _Chunks:
        return cls(p, y, rows or max(512, _CACHED // p.shape[1]))

    def __iter__(self) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        for start in range(0, len(self.y), self.rows):
            at = slice(start, start + self.rows)
            yield at, _as_float(self.p[at]), self.y[at]


def _as_float(p: np.ndarray) -> np.ndarray:
    return np.array(p, dtype=np.promote_types(p.dtype, np.float32), order="C")


def _predictions(chunks: _Chunks) -> tuple[np.ndarray, np.ndarray]:
    """The most probable class of each point (n,), and the points at each pair's border (C, C), symmetric."""
    classes = chunks.p.shape[1]
    predicted, border = np.empty(len(chunks.y), dtype=np.int64), np.zeros(classes * classes)
    for at, p, _ in chunks:
        _check_rows(p, at.start)
        each = np.arange(len(p))
        predicted[at] = first = p.argmax(1)
        top = p[each, first]
        p[each, first] = -1
        second = p.argmax(1)
        unsure = p[each, second] > _UNSURE * top
        pairs = first[unsure] * classes + second[unsure]
        border += np.bincount(pairs, minlength=classes * classes)
    border = border.reshape(classes, classes)
    return predicted, border + border.T


def _clear_counts(p: np.ndarray, y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How often j was given where k is clear of j: counts and sizes of the regions, (C, C) each.

    Among the points taken for k, a region is the share with the smallest p_j / p_k. It is chosen by p alone,
    and p has not seen the label, so the frequency of j in it estimates P(given j | true k), however the model
    is calibrated: from above, for what truly is j in it counts too. Of the four nested regions the one whose
    frequency has the lowest upper bound (one standard error) is taken: small ones where there are points
    enough, larger ones where a frequency would be chance.
    """
    classes = p.shape[1]
    counts, sizes = np.zeros((2, classes, classes))
    order = np.argsort(predicted, kind="stable")
    ends = np.bincount(predicted, minlength=classes).cumsum()
    for k, members in enumerate(np.split(order, ends[:-1])):
        if not len(members):
            continue
        width = max(1, _HELD // len(members))
        top = _as_float(p[members, k])
        for start in range(0, classes, width):
            block = slice(start, min(start + width, classes))
            ratios = np.ascontiguousarray(_as_float(p[:, block][members]).T) / top
            counts[k, block], sizes[k, block] = _clearest(ratios, y[members] - start)
    return counts, sizes


def _clearest(ratios: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count and size of each class's region of lowest bounded frequency; (w, m) -> (w,), (w,)."""
    width, points = ratios.shape
    ranks = [max(math.ceil(share * points) - 1, 0) for share in _REGIONS]
    inside = np.flatnonzero((given >= 0) & (given < width))
    of = given[inside]
    own = ratios[of, inside]
    limits = np.partition(ratios, sorted(set(ranks)), axis=1)[:, ranks].T
    # Ties at a limit are all inside, so that nothing depends on the order of the points.
    found = np.stack([np.bincount(of[own <= limit[of]], minlength=width) for limit in limits])
    sizes = np.stack([np.count_nonzero(ratios <= limit[:, None], axis=1) for limit in limits])
    best = ((found + 1 + np.sqrt(found + 1)) / sizes).argmin(0)
    each = np.arange(width)
    return found[best, each], sizes[best, each]


def _negative_binomial(n: np.ndarray, mean: np.ndarray, shape: float) -> float:
    """Log likelihood of Poisson counts whose rates are Gamma with ``shape``; terms of n alone left out."""
    seen = n > 0
    total = -shape * np.log1p(mean / shape).sum()
    total += (_log_gamma(n[seen] + shape) - math.lgamma(shape)).sum()
    total += (n[seen] * np.log(mean[seen] / (shape + mean[seen]))).sum()
    return float(total)


def _poisson(n: np.ndarray, mean: np.ndarray) -> float:
    seen = n > 0
    return float((n[seen] * np.log(mean[seen])).sum() - mean.sum())


def _log_gamma(x: np.ndarray) -> np.ndarray:
    """log Γ(x) for x > 0 to 1e-10: Stirling's series at x + 6; numpy has none and the core has no scipy."""
    z = x + 6
    series = (z - 0.5) * np.log(z) - z + 0.5 * math.log(2 * math.pi)
    series += 1 / (12 * z) - 1 / (360 * z**3) + 1 / (1260 * z**5) - 1 / (1680 * z**7)
    return series - np.log(x * (x + 1) * (x + 2) * (x + 3) * (x + 4) * (x + 5))


def _shaped(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asanyarray(probabilities), np.asarray(labels)
    if p.ndim != 2 or p.shape[1] < 2 or not len(p):
        raise InputError(
            f"probabilities of shape {p.shape}: a row for each point and a column for each of two or more"
            " classes are needed; for two classes pass both columns, np.stack([1 - p, p], 1)"
        )
    if p.dtype.kind != "f":
        raise InputError(f"probabilities of type {p.dtype}: pass float16, float32 or float64")
    if y.shape != p.shape[:1] or y.dtype.kind not in "iu":
        raise InputError(
            f"labels of shape {y.shape} and type {y.dtype} for {len(p)} rows of probabilities: pass one"
            " integer a row, the column of the given class"
        )
    if (outside := np.flatnonzero((y < 0) | (y >= p.shape[1]))).size:
        raise InputError(
            f"label {y[outside[0]]} of point {outside[0]} is no column of the probabilities: labels run from"
            f" 0 to {p.shape[1] - 1}, so number the classes in the order of the columns"
        )
    return p, y.astype(np.int64)


def _check_rows(p: np.ndarray, start: int) -> None:
    """Raise InputError unless each row holds numbers from 0 on that sum to one; NaN fails both."""
    wrong = ~((p.min(1) >= 0) & (np.abs(p.sum(1) - 1) <= _TOLERANCE))
    if wrong.any():
        row = int(wrong.argmax())
        raise InputError(
            f"probabilities of point {start + row} are no distribution (smallest {p[row].min():.3g}, sum"
            f" {p[row].sum():.6g}): pass softmax outputs, not logits or log-probabilities, without NaN"
        )


def _given(channel: np.ndarray, classes: int) -> np.ndarray:
    told = np.asarray(channel, dtype=np.float64)
    fits = told.shape == (classes, classes) and told.min() >= 0 and told.diagonal().min() > 0
    if not fits or not np.allclose(told.sum(1), 1, atol=_TOLERANCE):
        raise InputError(
            f"the channel of shape {told.shape} is no table P(given | true) of {classes} classes: its rows,"
            " one for each true class, must sum to one, with a diagonal above 0"
        )
    return told
