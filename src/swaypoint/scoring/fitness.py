"""Is the model fit for influence? The theory's hypotheses, measured, with a verdict and a remedy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.scoring.agreement import spearman
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.collapse import Collapse, collapse
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.risks.head import LinearHeadRisk
from swaypoint.scoring.scores import Facts

Verdict = Literal["fit", "caution", "unfit"]
COLLAPSED = 0.05
MEMORISED = 0.1, 0.25
"""Gaps between the accuracies on training and held-out points from which on a model is to be used with
caution, and is unfit; see docs/fitness.md."""
_FEWER = 1 / 3
_SAMPLE = 1000
_ORDER: tuple[Verdict, ...] = ("fit", "caution", "unfit")


@dataclass(frozen=True)
class Check:
    """One hypothesis: what was measured, and what to do if it fails."""

    name: str
    value: str
    verdict: Verdict
    meaning: str
    remedy: str = ""


@dataclass(frozen=True)
class Diagnostics:
    """Whether the numbers can be trusted. ``verdict`` is that of the worst check."""

    checks: tuple[Check, ...]
    solver: str
    outcome: str
    precision: str
    estimated_error: float
    refit: str = ""

    @property
    def verdict(self) -> Verdict:
        return max((check.verdict for check in self.checks), key=_ORDER.index)

    def beside(self, checks: tuple[Check, ...]) -> Diagnostics:
        """The same with further checks."""
        return replace(self, checks=self.checks + checks)

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **asdict(self), "checks": [asdict(c) for c in self.checks]}

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.solver}, {self.precision}, {self.outcome}"]
        if self.refit:
            lines.append(f"  head refitted: {self.refit}")
        for check in self.checks:
            remedy = f" Remedy: {check.remedy}." if check.remedy and check.verdict != "fit" else ""
            lines.append(f"  {check.name}: {check.value} ({check.verdict}). {check.meaning}{remedy}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Spread:
    """Of Cook's distances: how many, the mean of their infinitesimal form (a point of leverage one makes that
    of the finite form whatever rounding leaves), and how many of them share the influence."""

    points: int
    mean: float
    effective: float

    @classmethod
    def of(cls, cook: np.ndarray, first_order: np.ndarray | None = None) -> Spread:
        plain = cook if first_order is None else first_order
        return cls(len(cook), float(plain.mean()), effective_number(cook))


def diagnose(facts: Facts, cook: Spread, *, refit: str = "") -> Diagnostics:
    """Check the hypotheses of influence functions.

    Args:
        facts: of the solver.
        cook: of the points' Cook's distances.
        refit: outcome of the refit, if there was one.
    """
    checks = [_stationarity(facts.decrement, cook), _curvature(facts), _concentration(cook)]
    if facts.saturated is not None:
        checks.append(_saturation(facts.saturated))
    return Diagnostics(
        tuple(checks),
        solver=facts.solver,
        outcome=facts.outcome,
        precision=facts.precision,
        estimated_error=facts.estimated_error,
        refit=refit,
    )


def examine(influence: HeadSolution, data: FeatureBatches | None = None) -> tuple[Check, ...]:
    """Checks that need further passes over the points: the share of damping in the answer, and, of
    classifiers, neural collapse. None of a head too large for the closed form.

    Args:
        data: a sample of the points to look for the latter in, where these are larger than memory.
    """
    if not isinstance(influence, Influence):
        return ()
    checks = []
    sensitivity = damping_sensitivity(influence)
    if sensitivity is not None:
        checks.append(_damping(sensitivity))
    if influence.head.loss.classifies and not influence.head.loss.separable:
        checks.append(_collapse(collapse_of(influence, data)))
    return tuple(checks)


def memorisation(training: float | None, held_out: float | None, points: int) -> tuple[Check, ...]:
    """The check that sees whether wrong labels have been learnt by heart: what a model memorises has no loss
    left to be found by.

    Args:
        training, held_out: accuracies of the head, None where there are no classes or no such points; the
            verdict is for points that the model was not trained on.
        points: how many are held out; of the gap, twice the standard error that they leave is forgiven.
    """
    if training is None or held_out is None or not points:
        return ()
    gap = training - held_out
    sure = gap - 2.0 * (held_out * (1.0 - held_out) / points) ** 0.5
    return (
        Check(
            "Memorisation",
            f"accuracy {training:.1%} on the training points, {held_out:.1%} on {points:,} held out",
            "fit" if sure < MEMORISED[0] else "caution" if sure < MEMORISED[1] else "unfit",
            "What a model knows by heart has no loss left, a wrong label as little as a right one"
            " (Arpit et al., 2017).",
            "rank by the recommended score (--score auto), use an earlier checkpoint, or train with"
            " augmentation, weight decay or fewer epochs; a head alone: with a larger ridge (--l2)",
        ),
    )


def accuracy_of(risk: LinearHeadRisk, data: FeatureBatches | None) -> float | None:
    """Share of ``data`` whose label is the head's first choice; None without classes or points."""
    right = count = 0
    for chunk in () if data is None else risk.chunks(data):
        found = risk.right(chunk)
        if found is None:
            return None
        right += int(found.sum())
        count += len(found)
    return right / count if count else None


def by_heart(training: float | None, held_out: float | None, points: int) -> bool:
    """Whether what the model says of its training points is no longer its opinion of them: it fails the check
    of :func:`memorisation`, or makes less than a third of the errors there that it makes on points held out,
    as where few labels are wrong and all of them are learnt."""
    if training is None or held_out is None or not points:
        return False
    failed = any(check.verdict != "fit" for check in memorisation(training, held_out, points))
    return failed or 1.0 - training < _FEWER * (1.0 - held_out)


def baseline(
    risk: LinearHeadRisk, data: FeatureBatches, labels: np.ndarray, classes: Sequence[str]
) -> tuple[Check, ...]:
    """The check against the best answer that looks at no input: the most frequent class, or the mean.

    The gain is that of the accuracy, or the share of the squared error that goes (R^2), with the 95 %
    interval of the points' paired differences.

    Args:
        data: points to measure on, held out where there are any.
        labels: of the points trained on, class indices or values, (n,).
        classes: names; () of a regression. Without one class or one value a point there is no check.
    """
    chunks, loss = list(risk.chunks(data)), risk.head.loss
    if classes:
        right = [risk.right(chunk) for chunk in chunks]
        if any(found is None for found in right):
            return ()
        given = [loss.labels(chunk.targets) for chunk in chunks]
        first, label = (
            torch.cat([one for one in found if one is not None]).cpu().numpy() for found in (right, given)
        )
        return against_the_most_frequent(first, label, labels, classes)
    if risk.head.outputs != 1:
        return ()
    mean = float(labels.mean())
    target = torch.cat([chunk.targets[:, 0] for chunk in chunks])
    model = (torch.cat([loss.mean(chunk.logits)[:, 0] for chunk in chunks]) - target).square()
    other = (mean - target).square()
    measured = f"RMSE {float(model.mean()) ** 0.5:.4g} against {float(other.mean()) ** 0.5:.4g}"
    gain = (other - model) / max(float(other.mean()), 1e-300)
    return (_against_one_answer(f"{mean:.6g}", measured, gain.cpu().double().numpy()),)


def against_the_most_frequent(
    right: np.ndarray, given: np.ndarray, labels: np.ndarray, classes: Sequence[str]
) -> tuple[Check, ...]:
    """The check of :func:`baseline` from what is known already of each point.

    Args:
        right: whether the model's first choice is the ``given`` label, bool (m,), and class indices (m,).
        labels, classes: see there.
    """
    constant = int(np.bincount(labels.astype(np.int64)).argmax())
    model, other = right.astype(np.float64), (given == constant).astype(np.float64)
    measured = f"accuracy {model.mean():.1%} against {other.mean():.1%}"
    return (_against_one_answer(classes[constant], measured, model - other),)


def _against_one_answer(said: str, measured: str, gain: np.ndarray) -> Check:
    """``gain``: of each point, whose mean is the model's."""
    middle, half = float(gain.mean()), 1.96 * float(gain.std()) / len(gain) ** 0.5
    verdict: Verdict = "fit" if middle - half > 0 else "caution" if middle > 0 else "unfit"
    words = {"fit": "better", "caution": "not surely better", "unfit": "no better"}[verdict]
    return Check(
        "Baseline",
        f"{words} than always saying {said}: {measured} on {len(gain):,} points (gain {middle:.1%}, 95 %"
        f" interval {middle - half:.1%} to {middle + half:.1%})",
        verdict,
        "A model that has learnt nothing of the inputs has no opinion of its points either.",
        "train longer, or another model; are the labels what is to be predicted, and --loss what they are"
        " (numbers: squared_error)?",
    )


def damping_sensitivity(influence: Influence) -> float | None:
    """Least rank correlation of Cook's distances with those of ten times and of a tenth of the damping and
    the ridge, over a sample of the points; None where there are none."""
    if influence.risk.penalty() is None:
        return None
    sample = ArrayBatches(*influence.data.sample(_SAMPLE))
    given = torch.cat([cook for _, cook in influence.cook(sample)]).cpu().numpy()
    less, more = (influence.damped_cook(factor, sample).cpu().numpy() for factor in (0.1, 10.0))
    return min(spearman(given, less), spearman(given, more))


def collapse_of(influence: Influence, data: FeatureBatches | None = None) -> Collapse:
    """Of the features that the head sees, of all points or of other ``data``."""
    head, width = influence.head, influence.head.weight.shape[1]

    def points() -> Iterator[tuple[Tensor, Tensor]]:
        for chunk in influence.risk.chunks(data):
            labels = head.loss.labels(chunk.targets)
            assert labels is not None
            yield chunk.features[:width], labels

    return collapse(points(), head.outputs)


def _damping(correlation: float) -> Check:
    return Check(
        "Damping",
        f"rank correlation {correlation:.3f} with a tenth or ten times the ridge and damping",
        "fit" if correlation > 0.95 else "caution",
        "How much the ranking hangs on the ridge, which is a choice, rather than on the data.",
        "let the ridge be chosen (refit='ridge', --refit-ridge)",
    )


def _collapse(found: Collapse) -> Check:
    return Check(
        "Neural collapse",
        f"NC1 {found.within:.3g}, spread of the angles {found.equiangularity:.2f}",
        "fit" if found.within > COLLAPSED else "caution",
        "Over-training draws each class to a point (Papyan, Han & Donoho, 2020), wrong labels with it.",
        "use an earlier checkpoint; train with augmentation or weight decay",
    )


def _stationarity(decrement: float, cook: Spread) -> Check:
    # The estimate itself is uncertain by about mean(cook) / n in this norm: that is the yardstick.
    noise = max(cook.mean / cook.points, np.finfo(float).tiny)
    ratio = 2.0 * max(decrement, 0.0) / noise
    verdict: Verdict = "fit" if ratio < 1 else "caution" if ratio < 100 else "unfit"
    return Check(
        "Stationarity",
        f"{ratio:.2g} × sampling noise (Newton decrement {decrement:.2g})",
        verdict,
        "How far the head is from its optimum, squared, against the uncertainty that n points leave.",
        "refit the head to its optimum (refit=True, --refit), or train longer with a decaying step",
    )


def _curvature(facts: Facts) -> Check:
    value = "condition not measured" if facts.condition is None else f"condition {facts.condition:.2g}"
    if facts.dropped:
        value += f", {facts.dropped} dead or collinear feature directions projected out"
    if facts.cut:
        value += f", {facts.cut} directions without curvature"
    verdict: Verdict = "fit"
    if facts.error.value > facts.error.held_to:
        value += f"; relative error {facts.error.value:.1g}, held to {facts.error.held_to:g}"
        verdict = "caution"
    if facts.cut:
        verdict = "caution"
    if facts.negative < 0:
        verdict = "unfit"
    return Check(
        "Curvature",
        value,
        verdict,
        "The Hessian must be positive definite where the points' gradients live.",
        "a ridge (l2) or damping; dtype=float64; a convex loss",
    )


def _concentration(cook: Spread) -> Check:
    effective = cook.effective
    share = effective / cook.points
    verdict: Verdict = "fit" if effective >= 10 else "caution"
    return Check(
        "Concentration",
        f"{effective:,.0f} effective points of {cook.points:,} ({share:.1%})",
        verdict,
        "(Σ I)² / Σ I²: how many points share the influence; a handful means that few points decide.",
        "look at the first points of the ranking before anything else",
    )


def effective_number(cook: np.ndarray) -> float:
    """(sum I)^2 / sum I^2, between 1 and n."""
    finite = cook[np.isfinite(cook)]
    square = float(np.square(finite).sum())
    return float(finite.sum()) ** 2 / square if square > 0 else float(len(cook))


def _saturation(share: float) -> Check:
    verdict: Verdict = "fit" if share < 0.5 else "caution" if share < 0.9 else "unfit"
    return Check(
        "Saturation",
        f"{share:.1%} of the points have p(label) > 1 - 1e-6",
        verdict,
        "An over-trained model gives every point the same tiny loss, which then tells none apart.",
        "refit the head with a ridge (refit='ridge', --refit-ridge), or stop the training earlier",
    )
