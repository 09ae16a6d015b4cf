"""What holds of the whole set, in words: for the terminal, the report and the review."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from swaypoint.findings import SEVERITIES, Finding, Found, found
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.report.examples import Example, reader

EXAMPLES, OPEN = 8, 8
"""Records shown of a finding; findings that are not folded."""
_SHARES = ("share", "accuracy")
_WEIGHED = ("training_records", "held_out_loss_change", "held_out_loss_change_refit")


@dataclass(frozen=True)
class Told:
    """A finding in words.

    Attributes:
        evidence: its numbers by name; "" where there are none.
        cost: what removing its records does to the loss on what was held out; "" where it is not known.
        address: of its records, the gallery's in ``swaypoint review``.
    """

    name: str
    sentence: str
    severity: str
    records: int
    evidence: str
    cost: str
    remedy: str
    address: str


@dataclass(frozen=True)
class Section:
    """The report's part: findings with their first records, the most severe first.

    Attributes:
        shown, folded: the first few, and the rest, which ``more`` counts.
        nothing: what to say where there is none.
        notes: what could not be looked for, and why.
    """

    shown: tuple[tuple[Told, tuple[Example, ...]], ...]
    folded: tuple[tuple[Told, tuple[Example, ...]], ...]
    more: str
    nothing: str
    notes: tuple[str, ...]


def section(folder: AuditFolder) -> Section:
    """Of an audit.

    Raises:
        InputError: not a finished audit, or a damaged one.
    """
    everything = found(folder)
    shown = _with_examples(folder, everything.findings)
    return Section(
        shown[:OPEN],
        shown[OPEN:],
        counted(everything.findings[OPEN:]),
        "" if shown else nothing(everything),
        everything.notes,
    )


def told(finding: Finding) -> Told:
    return Told(
        name=finding.name,
        sentence=finding.sentence.rstrip("."),
        severity=finding.severity,
        records=len(finding.index),
        evidence=evidence(finding),
        cost=cost(finding),
        remedy=finding.remedy.rstrip("."),
        address=f"/gallery?{urlencode({'sort': 'finding', 'finding': finding.name})}",
    )


def counted(findings: Sequence[Finding]) -> str:
    """How many there are of each severity, in words.

    >>> from swaypoint.findings import Finding
    >>> import numpy as np
    >>> one = Finding("a", "a stain", "high", {}, np.array([0]), "wash it")
    >>> counted([one, one])
    '2 high'
    """
    counts = Counter(finding.severity for finding in findings)
    parts = [f"{counts[severity]} {severity}" for severity in SEVERITIES if counts[severity]]
    return ", ".join(parts) if parts else "none"


def nothing(everything: Found) -> str:
    """What to say where nothing was found."""
    names = [name.replace("_", " ") for name in everything.looked]
    if not names:
        return "Nothing was looked for."
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    return (
        f"Nothing was found. Looked for were {listed}: what is of none of these kinds, or below their"
        " thresholds, may be there all the same."
    )


def evidence(finding: Finding) -> str:
    """The numbers behind it, by name."""
    parts = [
        f"{name.replace('_', ' ')} {_number(name, value)}"
        for name, value in finding.evidence.items()
        if name not in _WEIGHED and math.isfinite(value)
    ]
    return ", ".join(parts)


def _number(name: str, value: float) -> str:
    if name.startswith(_SHARES):
        return f"{value:.1%}"
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"


def cost(finding: Finding) -> str:
    """What removing its training records would do, in a sentence; "" where that was not measured."""
    records, change, refit = (finding.evidence.get(name, math.nan) for name in _WEIGHED)
    if not (math.isfinite(records) and math.isfinite(change)):
        return ""
    them = "its training record" if records == 1 else f"its {records:,.0f} training records"
    start = f"Without {them} the loss on what was held out would"
    if not math.isfinite(refit):
        return f"{start} {_change(change)}, by influence."
    return (
        f"{start} {_change(refit)}, with the last layer fitted anew; by influence it would {_change(change)}."
    )


def _change(share: float) -> str:
    if abs(share) < 5e-5:
        return "hardly change"
    return f"{'rise' if share > 0 else 'fall'} by {_two_digits(100 * abs(share))} %"


def _two_digits(value: float) -> str:
    """At least: no whole number is rounded."""
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.2g}"


def _with_examples(
    folder: AuditFolder, findings: Sequence[Finding]
) -> tuple[tuple[Told, tuple[Example, ...]], ...]:
    example = reader(folder) if findings else None
    return tuple(
        (told(finding), tuple(map(example, finding.index[:EXAMPLES].tolist())) if example else ())
        for finding in findings
    )
