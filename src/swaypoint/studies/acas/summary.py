"""The study in words and tables, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from swaypoint.studies.acas.gathering import Gain
from swaypoint.studies.acas.study import AcasStudy


def claims(result: AcasStudy) -> str:
    """How the surrogate did, how the solve went, and each finding beside its base rate."""
    scores, facts = result.scores, result.scores.facts
    validation = result.learned.curve[-1]
    solve = f"{facts.solver}, {facts.precision}: {facts.outcome}."
    head = "as it was trained" if not scores.ridge else f"at its optimum with the ridge {scores.ridge:g}"
    damped = f", the Hessian damped by {scores.damping:g}" if scores.damping else ""
    rows = [
        f"| {finding.claim} | {finding.measure} | {finding.influential:.1%} | {finding.base:.1%}"
        f" | {finding.ratio:.2f} × |"
        for finding in result.findings
    ]
    return "\n".join(
        [
            f"{result.table.name}: {result.table.size:,} points, {scores.points:,} of them scored. Surrogate:"
            f" {validation:.2%} right on held-out points after its training; the last layer {head}{damped},"
            f" {scores.accuracy:.2%} on those scored. {solve} As if {scores.effective:,.0f} points had all"
            " the influence.",
            "",
            "| influence lies | measured on | influential | all | ratio |",
            "| --- | --- | ---: | ---: | ---: |",
            *rows,
        ]
    )


def gains(found: Iterable[Gain]) -> str:
    """What the data gathered in the regions brought, beside as much random data."""
    rows = [
        f"| {gain.where} | {gain.nothing:.2%} | {gain.random:.2%} | {gain.regions:.2%}"
        f" | {100 * gain.gain:+.2f} ({100 * gain.low:+.2f} to {100 * gain.high:+.2f}) |"
        for gain in found
    ]
    return "\n".join(
        [
            "| held-out accuracy | as it was | random data | from the regions | gain, 95 % interval |",
            "| --- | ---: | ---: | ---: | ---: |",
            *rows,
        ]
    )
