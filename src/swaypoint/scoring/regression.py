"""What statistics books say of a regression's points: residual, leverage, studentised residual, Cook's D.

Of heads with one output whose loss is that of a linear or generalised linear model (McCullagh & Nelder, 1989,
ch. 12; Cook & Weisberg, 1982): squared error, Poisson, one logit; and of Huber's, by a robust scale.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.data.folds import Statistic
from swaypoint.folder.manifest import Goodness
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.coordinates import inverse_form
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.risks.weighted import Weighted

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


@dataclass(frozen=True)
class Among:
    """What the statistics of a single point need to know of all n.

    Attributes:
        points: n; ``parameters``: p, the rank of the features.
        total: sum of the squared Pearson residuals.
        dispersion: estimated.
    """

    points: int
    parameters: int
    total: float
    dispersion: float

    @classmethod
    def of(cls, points: int, parameters: int, total: float, family: Family, pearson: np.ndarray) -> Among:
        """``pearson``: the residuals, or a sample of them, of which a robust scale is taken."""
        dispersion = total / max(points - parameters, 1)
        if family.robust:
            dispersion = float((_NORMAL * np.median(np.abs(pearson - np.median(pearson)))) ** 2)
        return cls(points, parameters, total, dispersion)


def statistics(
    residual: np.ndarray,
    leverage: np.ndarray,
    mean: np.ndarray,
    family: Family,
    weights: np.ndarray | None = None,
    *,
    among: Among | None = None,
) -> Statistics:
    """From the residuals ``(n,)``, the hat matrix's diagonal ``(n,)`` and the fitted means ``(n,)``.

    Args:
        weights: ``(n,)``, by which a target's variance is divided (statsmodels' ``var_weights``, and its
            WLS); points of weight zero do not count.
        among: of all points, where these are some of them.

    >>> x, y = np.c_[np.ones(4), [0.0, 1, 2, 3]], np.array([0.0, 1, 2, 4])
    >>> hat = x @ np.linalg.inv(x.T @ x) @ x.T
    >>> found = statistics(y - hat @ y, hat.diagonal(), hat @ y, FAMILIES["squared_error"])
    >>> found.cooks_distance.round(3).tolist()
    [1.037, 0.02, 0.327, 2.333]
    """
    variance, count = family.variance(mean), len(residual)
    with np.errstate(divide="ignore", invalid="ignore"):
        if weights is not None:
            variance, count = variance / weights, int((weights > 0).sum())  # inf of what does not count
        pearson = residual / np.sqrt(variance)
        if among is None:
            total, parameters = float(np.square(pearson).sum()), round(float(leverage.sum()))
            among = Among.of(count, parameters, total, family, pearson)
        free = max(among.points - among.parameters, 1)
        rest = np.where(leverage < 1.0 - _UNIT, 1.0 - leverage, np.nan)
        without = np.full(len(residual), among.dispersion)
        if not family.robust:
            without = np.maximum(among.total - np.square(pearson) / rest, 0.0) / max(free - 1, 1)
        known = among.dispersion if family.dispersion is None else family.dispersion
        return Statistics(
            residual=residual,
            leverage=leverage,
            studentised=pearson / np.sqrt(without * rest),
            cooks_distance=np.square(pearson / rest) * leverage / (max(among.parameters, 1) * known),
            error=np.sqrt(without * variance / rest),
            parameters=among.parameters,
            scale=among.dispersion**0.5,
        )


def family_of(head: HeadWeights) -> Family | None:
    """None where the head has several outputs or another loss."""
    return FAMILIES.get(head.loss.name) if head.outputs == 1 else None


@dataclass(frozen=True, eq=False)
class Sums:
    """What the points of a shard add to :class:`Fit`, and to R^2 and RMSE; sent to workers.

    Attributes:
        risk: of the head, in whose range of features ``basis`` ``(D, k)`` are well-conditioned coordinates.
        around: near the targets' mean, from which their squares are taken.
    """

    risk: LinearHeadRisk
    basis: Tensor
    around: float = 0.0

    def __call__(self, shard: FeatureBatches) -> Statistic:
        family, width = family_of(self.risk.head), self.basis.shape[1]
        assert family is not None
        moment, scalars = torch.zeros(width, width, dtype=torch.float64), np.zeros(5)
        for chunk in self.risk.of(shard).chunks():
            residual, mean, weight = _residuals(self.risk.head, chunk)
            variance = family.variance(mean)
            features = self.basis.T @ chunk.features.double()
            moment += (features * torch.from_numpy(weight * variance)) @ features.T
            squares = np.square(residual)
            apart = residual + mean - self.around
            pearson = (weight * squares / variance).sum()
            sums = squares.sum(), apart.sum(), np.square(apart).sum()
            scalars += ((weight > 0).sum(), pearson, *sums)
        names = ("points", "pearson", "squares", "target", "targets")
        found = {name: torch.tensor(v, dtype=torch.float64) for name, v in zip(names, scalars, strict=True)}
        return {"moment": moment, **found}


@dataclass(frozen=True, eq=False)
class Fit:
    """All points as a single one is judged among them: from :class:`Sums`, added over the shards.

    The hat matrix is that of the features: exact at the optimum of the mean loss without a ridge.
    """

    basis: Tensor
    inverse: Tensor
    among: Among

    @classmethod
    def of_sums(cls, asked: Sums, sums: Statistic, sample: FeatureBatches) -> Fit:
        """``sample``: points of which the robust scale of Huber's loss is taken."""
        family = family_of(asked.risk.head)
        assert family is not None
        inverse = inverse_form(sums["moment"])
        parameters = round(float((inverse * sums["moment"]).sum()))
        pearson = np.zeros(0)
        if family.robust:  # whose variance is one
            chunks = asked.risk.of(sample).chunks()
            pearson = np.concatenate([_residuals(asked.risk.head, chunk)[0] for chunk in chunks])
        among = Among.of(int(sums["points"]), parameters, float(sums["pearson"]), family, pearson)
        return cls(asked.basis, inverse, among)

    def statistics(self, risk: LinearHeadRisk) -> Statistics:
        """Of the points of ``risk``, some of those that were summed."""
        family = family_of(risk.head)
        assert family is not None
        residual, leverage, mean, weight = self._hat(risk, family)
        counted = weight if isinstance(risk.head.loss, Weighted) else None
        return statistics(residual, np.clip(leverage, 0.0, 1.0), mean, family, counted, among=self.among)

    def unseen(self, risk: LinearHeadRisk) -> Statistics:
        """Of points that the head was not fitted to, those of ``risk``.

        ``studentised`` is the prediction's error by its standard deviation, e / (s sqrt(1 + h)), ``error`` is
        s sqrt(1 + h), ``leverage`` what the point would have among the others, h / (1 + h), and
        ``cooks_distance`` that of adding it, e^2 h / (1 + h)^2 over p and the dispersion.
        """
        family = family_of(risk.head)
        assert family is not None
        residual, raw, mean, _ = self._hat(risk, family)
        variance, more, scale = family.variance(mean), 1.0 + raw, self.among.dispersion**0.5
        pearson = residual / np.sqrt(variance)
        known = self.among.dispersion if family.dispersion is None else family.dispersion
        with np.errstate(divide="ignore", invalid="ignore"):
            return Statistics(
                residual=residual,
                leverage=raw / more,
                studentised=pearson / (scale * np.sqrt(more)),
                cooks_distance=np.square(pearson / more) * raw / (max(self.among.parameters, 1) * known),
                error=scale * np.sqrt(variance * more),
                parameters=self.among.parameters,
                scale=scale,
            )

    def _hat(self, risk: LinearHeadRisk, family: Family) -> list[np.ndarray]:
        """Of points, fitted or not: residuals, leverages, means and weights, ``(n,)`` each."""
        parts = []
        for chunk in risk.chunks():
            residual, mean, weight = _residuals(risk.head, chunk)
            features = self.basis.T @ chunk.features.double()
            squares = (features * (self.inverse @ features)).sum(0).numpy()
            parts.append((residual, weight * family.variance(mean) * squares, mean, weight))
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def _residuals(head: HeadWeights, chunk: Chunk) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Target minus fitted mean, the fitted mean, and the point's own weight, ``(b,)`` float64."""
    fitted = head.loss.mean(chunk.logits)[:, 0].double()
    if head.loss.classifies:
        fitted = torch.sigmoid(fitted)
    weight = chunk.terms.weighed(torch.ones_like(fitted))
    return (chunk.targets[:, 0] - fitted).cpu().numpy(), fitted.cpu().numpy(), weight.cpu().numpy()


def of_head(head: HeadWeights, data: FeatureBatches) -> Statistics | None:
    """Of the points that a head was fitted to, see :class:`Fit`; None where :func:`family_of` is."""
    return next(iter(of_parts(head, data)), None)


def of_parts(
    head: HeadWeights, data: FeatureBatches, unseen: FeatureBatches | None = None
) -> list[Statistics]:
    """:func:`of_head`, and where there are ``unseen`` points, :meth:`Fit.unseen` of these, by the same sums;
    empty where :func:`family_of` is None."""
    if family_of(head) is None:
        return []
    risk = LinearHeadRisk(head, data, dtype=torch.float64)
    asked = Sums(risk, risk.feature_map())
    fit = Fit.of_sums(asked, asked(data), data)
    return [fit.statistics(risk), *([] if unseen is None else [fit.unseen(risk.of(unseen))])]


def suspicion(found: Statistics) -> np.ndarray:
    """How far each value stands off, ``(n,)``: the size of its studentised residual; 0 where the fit goes
    through the point, of which nothing can be said."""
    return np.nan_to_num(np.abs(found.studentised), nan=0.0)


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


def goodness_of(sums: Statistic) -> Goodness:
    """:func:`goodness` of the points that :class:`Sums` were taken of."""
    points, squares = float(sums["points"]), float(sums["squares"])
    spread = float(sums["targets"]) - float(sums["target"]) ** 2 / points
    return Goodness(1.0 - squares / spread if spread > 0 else float("nan"), (squares / points) ** 0.5)


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
