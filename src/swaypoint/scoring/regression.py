"""What statistics books say of a regression's points: residual, leverage, studentised residual, Cook's D.

Of heads with one output whose loss is that of a linear or generalised linear model (McCullagh & Nelder, 1989,
ch. 12; Cook & Weisberg, 1982): squared error, Poisson, one logit; and of Huber's, by a robust scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from swaypoint.data.batches import FeatureBatches
from swaypoint.folder.manifest import Goodness
from swaypoint.scoring.risks.head import Chunk, HeadWeights, LinearHeadRisk
from swaypoint.scoring.risks.losses import Loss

_UNIT = 1e-10
"""Leverage this near one leaves no residual to judge by: the fit goes through the point."""
_NORMAL = 1.4826
"""Of a normal distribution: its standard deviation by its median absolute deviation."""


@dataclass(frozen=True)
class Family:
    """Of a generalised linear model with canonical link: the variance of a target, but for the dispersion, as
    a function of its mean, which is then the loss's curvature too.

    Attributes:
        dispersion: None: estimated.
        robust: the dispersion by the median absolute deviation, as the loss bounds what single points do.
    """

    variance: Callable[[np.ndarray], np.ndarray]
    dispersion: float | None = None
    robust: bool = False


FAMILIES = {
    "squared_error": Family(np.ones_like),
    "huber": Family(np.ones_like, robust=True),
    "poisson": Family(np.copy, dispersion=1.0),
    "binary_cross_entropy": Family(lambda mean: mean * (1.0 - mean), dispersion=1.0),
}
"""By the name of the loss."""


@dataclass(frozen=True)
class Statistics:
    """Of n points, arrays ``(n,)`` float64.

    Attributes:
        residual: target minus prediction, in the target's units.
        leverage: diagonal of the hat matrix (of a generalised linear model the weighted one), 0..1.
        studentised: residual by its standard deviation, the dispersion estimated without the point (external;
            "jackknifed"); NaN at leverage one.
        cooks_distance: D_i of Cook (1977) as statsmodels prints it: p and the dispersion divided out, the
            dispersion one where the family says so; NaN at leverage one.
        error: standard error of the leave-one-out prediction as a prediction of the target.
        parameters: p, the rank of the features.
        scale: root of the estimated dispersion.
    """

    residual: np.ndarray
    leverage: np.ndarray
    studentised: np.ndarray
    cooks_distance: np.ndarray
    error: np.ndarray
    parameters: int
    scale: float


def statistics(residual: np.ndarray, leverage: np.ndarray, mean: np.ndarray, family: Family) -> Statistics:
    """From the residuals ``(n,)``, the hat matrix's diagonal ``(n,)`` and the fitted means ``(n,)``.

    >>> x, y = np.c_[np.ones(4), [0.0, 1, 2, 3]], np.array([0.0, 1, 2, 4])
    >>> hat = x @ np.linalg.inv(x.T @ x) @ x.T
    >>> found = statistics(y - hat @ y, hat.diagonal(), hat @ y, FAMILIES["squared_error"])
    >>> found.cooks_distance.round(3).tolist()
    [1.037, 0.02, 0.327, 2.333]
    """
    count, parameters = len(residual), round(float(leverage.sum()))
    variance, free = family.variance(mean), max(count - parameters, 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(leverage < 1.0 - _UNIT, 1.0 - leverage, np.nan)
        pearson = residual / np.sqrt(variance)
        if family.robust:
            dispersion = float((_NORMAL * np.median(np.abs(pearson - np.median(pearson)))) ** 2)
            without = np.full(count, dispersion)
        else:
            total = float(np.square(pearson).sum())
            dispersion = total / free
            without = np.maximum(total - np.square(pearson) / rest, 0.0) / max(free - 1, 1)
        known = dispersion if family.dispersion is None else family.dispersion
        return Statistics(
            residual=residual,
            leverage=leverage,
            studentised=pearson / np.sqrt(without * rest),
            cooks_distance=np.square(pearson / rest) * leverage / (max(parameters, 1) * known),
            error=np.sqrt(without * variance / rest),
            parameters=parameters,
            scale=dispersion**0.5,
        )


def of_head(head: HeadWeights, data: FeatureBatches) -> Statistics | None:
    """Of the points that a head was fitted to; None where it has several outputs or another loss.

    The hat matrix is that of the features: exact at the optimum of the mean loss without a ridge.
    """
    family = FAMILIES.get(head.loss.name)
    if family is None or head.outputs != 1:
        return None
    hat = _Hat(head, data, family)
    residual, leverage, mean = hat.of(data)
    return statistics(residual, np.clip(leverage, 0.0, 1.0), mean, family)


def of_unseen(
    head: HeadWeights, data: FeatureBatches, unseen: FeatureBatches, found: Statistics
) -> Statistics:
    """Of points that the head was not fitted to; ``found`` is of those of ``data``, that it was.

    ``studentised`` is the prediction's error by its standard deviation, e / (s sqrt(1 + h)), ``error`` is
    s sqrt(1 + h), ``leverage`` what the point would have among the others, h / (1 + h), and
    ``cooks_distance`` that of adding it, e^2 h / (1 + h)^2 over p and the dispersion.
    """
    family = FAMILIES[head.loss.name]
    residual, raw, mean = _Hat(head, data, family).of(unseen)
    variance, more = family.variance(mean), 1.0 + raw
    pearson = residual / np.sqrt(variance)
    known = found.scale**2 if family.dispersion is None else family.dispersion
    with np.errstate(divide="ignore", invalid="ignore"):
        return Statistics(
            residual=residual,
            leverage=raw / more,
            studentised=pearson / (found.scale * np.sqrt(more)),
            cooks_distance=np.square(pearson / more) * raw / (max(found.parameters, 1) * known),
            error=found.scale * np.sqrt(variance * more),
            parameters=found.parameters,
            scale=found.scale,
        )


class _Hat:
    """The weighted second moment of the features that a head was fitted to, inverted."""

    def __init__(self, head: HeadWeights, data: FeatureBatches, family: Family) -> None:
        self._head, self._family = head, family
        self._risk = LinearHeadRisk(head, data, dtype=torch.float64)
        self._basis = self._risk.feature_map()  # in which the moment is well conditioned
        width = self._basis.shape[1]
        moment = torch.zeros(width, width, dtype=torch.float64)
        for chunk in self._risk.chunks():
            features = self._basis.T @ chunk.features
            moment += (features * torch.from_numpy(family.variance(self._mean(chunk)))) @ features.T
        self._inverse = torch.linalg.pinv(moment, hermitian=True)

    def _mean(self, chunk: Chunk) -> np.ndarray:
        fitted = self._head.loss.mean(chunk.logits)[:, 0]
        fitted = torch.sigmoid(fitted) if self._head.loss.classifies else fitted
        return fitted.numpy()

    def of(self, data: FeatureBatches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of points, seen or not: residuals, leverages and means, ``(n,)`` each."""
        residuals, leverages, means = [], [], []
        for chunk in self._risk.chunks(data):
            features, mean = self._basis.T @ chunk.features, self._mean(chunk)
            residuals.append(chunk.targets[:, 0].numpy() - mean)
            leverages.append((features * (self._inverse @ features)).sum(0).numpy())
            means.append(mean)
        mean = np.concatenate(means)
        return np.concatenate(residuals), np.concatenate(leverages) * self._family.variance(mean), mean


def predicted(head: HeadWeights, data: FeatureBatches) -> tuple[np.ndarray, np.ndarray]:
    """Predictions and targets of the points, ``(n,)`` each, in the targets' units; of a head of one output
    and a loss without classes."""
    chunks = list(LinearHeadRisk(head, data).chunks())
    means = [head.loss.mean(chunk.logits)[:, 0].cpu().numpy() for chunk in chunks]
    return np.concatenate(means), np.concatenate([chunk.targets[:, 0].cpu().numpy() for chunk in chunks])


def goodness(prediction: np.ndarray, target: np.ndarray) -> Goodness:
    """R^2 is against the mean of these targets; NaN where they are all the same.

    >>> goodness(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0])).r_squared
    0.5
    """
    square, spread = float(np.square(target - prediction).mean()), float(target.var())
    return Goodness(1.0 - square / spread if spread > 0 else float("nan"), square**0.5)


def constant(loss: Loss, targets: np.ndarray) -> float:
    """The logit of the constant prediction to start a training from: the mean, of Huber's loss the median.

    >>> from swaypoint.scoring.risks.losses import Poisson
    >>> round(constant(Poisson(), np.array([1.0, 3.0])), 4)
    0.6931
    """
    if loss.name == "huber":
        return float(np.median(targets))
    mean = float(targets.mean())
    return float(np.log(max(mean, 1e-6))) if loss.name == "poisson" else mean
