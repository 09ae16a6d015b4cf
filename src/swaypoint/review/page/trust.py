"""What an audit's fitness means for the order in which its points stand, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from swaypoint.folder.manifest import Fitness, Verdict

_HEADLINES: dict[Verdict, str] = {
    "unfit": "This audit is not fit for influence.",
    "caution": "Use this order with caution.",
}
_ORDER = {
    "Stationarity": "The model had not finished learning: the order is in part of how far it had come.",
    "Curvature": "Influence is not exactly defined for this model: places may be too high or too low.",
    "Concentration": "A few points hold nearly all of the influence: behind them the order says little.",
    "Saturation": "The model is certain of nearly every point, so that little tells them apart: wrong labels"
    " may stand anywhere.",
    "Memorisation": "The model knows its points by heart, the wrong labels too: these may stand far behind.",
    "Baseline": "The model has learnt nothing of the data: the order and its suggestions are little better"
    " than chance.",
    "Damping": "The order hangs on the damping, which is a choice: another would give another order.",
    "Neural collapse": "Over-training has drawn each class together: wrong labels stand among right ones.",
    "Agreement": "Another model of the same kind would give another order.",
}


@dataclass(frozen=True)
class Concern:
    """A check that is not passed: what was measured, what that means for the order, and what to do."""

    name: str
    value: str
    order: str
    remedy: str


@dataclass(frozen=True)
class Trust:
    """How far to trust an audit's order; ``concerns`` are the worst first."""

    verdict: Verdict
    headline: str
    concerns: tuple[Concern, ...]


def trust(fitness: Fitness) -> Trust | None:
    """None: the audit is fit."""
    if fitness.verdict == "fit":
        return None
    failed = [check for check in fitness.checks if check.verdict != "fit"]
    concerns = (
        Concern(check.name, check.value, _ORDER.get(check.name, check.meaning), check.remedy)
        for check in sorted(failed, key=lambda check: check.verdict != "unfit")
    )
    return Trust(fitness.verdict, _HEADLINES[fitness.verdict], tuple(concerns))
