"""The model's probabilities that labels are wrong, corrected by what verdicts found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from swaypoint.review.log.counting import UNDECIDED, UNSEEN, WRONG

_PRIOR = (1.0, 0.5)  # standard deviations, of the shift around 0 and of the slope around 1
_STEPS = 50
_LEAST = 1e-6


@dataclass(frozen=True)
class Recalibration:
    """logit of the corrected probability = ``shift`` + ``slope`` · logit of the model's; the slope is
    positive, so the order of the points stays.

    Attributes:
        judged: points that it was learnt from, as many as they weigh (Kish's effective size).
    """

    shift: float
    slope: float
    judged: float

    def of(self, p: np.ndarray) -> np.ndarray:
        """``(n,)`` float64, corrected."""
        return _logistic(self.shift + self.slope * _logit(p))


def recalibrated(p: np.ndarray, states: np.ndarray, places: np.ndarray, order: np.ndarray) -> Recalibration:
    """Platt's two parameters ("Probabilistic outputs for support vector machines", 1999), from verdicts.

    The queue shows what is probably wrong, so its points are no sample: what was judged before the draw is
    counted for itself; of what nobody had judged then, only what was dealt at random counts, each for as many
    as there are to one that was dealt (inverse probability of selection), and what the queue took since does
    not. The maximum of the weighted likelihood, its weights scaled to their effective size, under a prior
    by which few verdicts leave the model's probabilities as they are.

    Args:
        p: the model's probabilities that each label is wrong, ``(n,)``.
        states, places: as in :func:`~.counting.bounds`; undecided points count for nothing.
        order: those dealt and judged, ``(t,)``.
    """
    weights = np.where(places < 0, 1.0, 0.0)
    weights[order] = np.count_nonzero(places >= 0) / max(len(order), 1)
    weights[(states == UNDECIDED) | (states == UNSEEN)] = 0.0
    chosen = weights > 0
    x, wrong, weights = _logit(p[chosen]), states[chosen] == WRONG, weights[chosen]
    effective = weights.sum() ** 2 / np.square(weights).sum() if chosen.any() else 0.0
    weights = weights * (effective / max(weights.sum(), 1.0))
    design, mean = np.stack([np.ones_like(x), x], 1), np.array([0.0, 1.0])
    precision, found = np.diag(1 / np.square(_PRIOR)), mean.copy()

    def cost(at: np.ndarray) -> float:
        z = design @ at
        return float(weights @ (np.logaddexp(0, z) - wrong * z) + (at - mean) @ precision @ (at - mean) / 2)

    for _ in range(_STEPS):
        q = _logistic(design @ found)
        gradient = design.T @ (weights * (q - wrong)) + precision @ (found - mean)
        hessian = (design.T * (weights * q * (1 - q))) @ design + precision
        step = np.linalg.solve(hessian, gradient)
        length = 1.0
        while cost(found - length * step) > cost(found) and length > _LEAST:
            length /= 2
        found = found - length * step
        if np.abs(step).max() < 1e-10:
            break
    return Recalibration(float(found[0]), float(max(found[1], _LEAST)), float(effective))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(np.asarray(p, dtype=np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(p) - np.log1p(-p))


def _logistic(z: np.ndarray) -> np.ndarray:
    return np.asarray(0.5 * (1 + np.tanh(z / 2)))
