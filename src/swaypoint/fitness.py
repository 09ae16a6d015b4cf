"""Is the model fit for influence? The theory's hypotheses, measured, with a verdict and a remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from swaypoint.scoring import ACCURACY, Facts

Verdict = Literal["fit", "caution", "unfit"]
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

    def to_dict(self) -> dict[str, Any]:
        return {"verdict": self.verdict, **asdict(self), "checks": [asdict(c) for c in self.checks]}

    def __str__(self) -> str:
        lines = [f"{self.verdict}: {self.solver}, {self.precision}, {self.outcome}"]
        for check in self.checks:
            remedy = f" Remedy: {check.remedy}." if check.remedy and check.verdict != "fit" else ""
            lines.append(f"  {check.name}: {check.value} ({check.verdict}). {check.meaning}{remedy}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Spread:
    """Of Cook's distances: how many, their mean, and how many of them share the influence."""

    points: int
    mean: float
    effective: float

    @classmethod
    def of(cls, cook: np.ndarray) -> Spread:
        return cls(len(cook), float(cook.mean()), effective_number(cook))


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
    if facts.cut or (facts.condition is not None and facts.estimated_error > ACCURACY):
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
        "stop training earlier, add weight decay or label smoothing, or refit the head with l2 > 0",
    )
