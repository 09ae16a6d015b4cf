"""Is the model fit for influence? The theory's hypotheses, measured, with a verdict and a remedy."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch

from swaypoint.scoring import ACCURACY, Influence

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
    head: str = ""
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


def diagnose(influence: Influence, cook: np.ndarray, *, refit: str = "") -> Diagnostics:
    """Check the hypotheses of influence functions on a factorised head.

    Args:
        influence: the head, its data and its inverse Hessian.
        cook: infinitesimal Cook's distances ``(n,)`` of the same head.
        refit: outcome of the refit, if there was one.
    """
    checks = [_stationarity(influence, cook), _curvature(influence), _concentration(cook)]
    if influence.summary.saturated is not None:
        checks.append(_saturation(influence.summary.saturated))
    return Diagnostics(
        tuple(checks),
        solver=f"closed form, Cholesky of {influence.inverse.matrix.shape[1]:,} parameters",
        outcome=influence.inverse.outcome,
        precision=str(influence.dtype).removeprefix("torch."),
        estimated_error=influence.estimated_error,
        head=repr(influence.head.loss.name),
        refit=refit,
    )


def newton_decrement(influence: Influence) -> float:
    """1/2 grad^T H^-1 grad of the mean loss with its ridge: how far below the loss could still go
    (Boyd & Vandenberghe, 2004, section 9.5.1)."""
    risk = influence.risk
    penalty = influence.head.penalty(0.0).to(risk.matrix)
    gradient = risk.gradient_coordinates(influence.summary.gradient + penalty * risk.matrix)
    product = torch.einsum("gp,gpq,gq->", gradient, influence.inverse.matrix, gradient)
    return 0.5 * float(product)


def _stationarity(influence: Influence, cook: np.ndarray) -> Check:
    # The estimate itself is uncertain by about mean(cook) / n in this norm: that is the yardstick.
    decrement = newton_decrement(influence)
    noise = max(float(cook.mean()) / len(cook), np.finfo(float).tiny)
    ratio = 2.0 * max(decrement, 0.0) / noise
    verdict: Verdict = "fit" if ratio < 1 else "caution" if ratio < 100 else "unfit"
    return Check(
        "Stationarity",
        f"{ratio:.2g} × sampling noise (Newton decrement {decrement:.2g})",
        verdict,
        "How far the head is from its optimum, squared, against the uncertainty that n points leave.",
        "refit the head to its optimum (refit=True, --refit), or train longer with a decaying step",
    )


def _curvature(influence: Influence) -> Check:
    inverse, dropped = influence.inverse, influence.summary.dropped
    value = f"condition {inverse.condition:.2g}"
    if dropped:
        value += f", {dropped} dead or collinear feature directions projected out"
    if inverse.cut:
        value += f", {inverse.cut} directions without curvature"
    verdict: Verdict = "fit"
    if inverse.cut or influence.estimated_error > ACCURACY:
        verdict = "caution"
    if inverse.negative < 0:
        verdict = "unfit"
    return Check(
        "Curvature",
        value,
        verdict,
        "The Hessian must be positive definite where the points' gradients live.",
        "a ridge (l2) or damping; dtype=float64; a convex loss",
    )


def _concentration(cook: np.ndarray) -> Check:
    effective = effective_number(cook)
    share = effective / len(cook)
    verdict: Verdict = "fit" if effective >= 10 else "caution"
    return Check(
        "Concentration",
        f"{effective:,.0f} effective points of {len(cook):,} ({share:.1%})",
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
