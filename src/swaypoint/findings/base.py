"""What a finding is, who finds them by name, and all of an audit.

A finder is one file: a function of an :class:`~swaypoint.folder.audit_folder.AuditFolder` that gives a list
of :class:`Finding`, entered in :data:`findings`, or named by another package's entry point of
``swaypoint.findings``. From there it is in ``swaypoint findings``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, Literal, get_args

import numpy as np

from swaypoint.errors import InputError, MissingExtra
from swaypoint.extending import Registry
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.shown import shown

Severity = Literal["high", "medium", "low"]
"""``high``: it alone may change what the model predicts or what a measurement of it says; see to it before
the next training. ``medium``: worth a look at the records. ``low``: to know."""
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True, eq=False)
class Finding:
    """Something that holds of a dataset, not of a single record.

    Attributes:
        name: its own within an audit, such as ``region 3``.
        sentence: what was found, for a reader who knows the data and not the method.
        severity: see :data:`Severity`.
        evidence: numbers by name, those that were measured; a share is in 0..1.
        index: ``(k,)`` int64, the records behind it, the most telling first: positions in
            :meth:`~swaypoint.folder.audit_folder.AuditFolder.scores`.
        remedy: what to do, in words.
        drop: ``(m,)`` int64, positions of the records that leave the dataset if one follows the remedy, as
            ``swaypoint export --act`` does; none: it is not for records to leave.

    Raises:
        InputError: another severity, or positions of another form.
    """

    name: str
    sentence: str
    severity: Severity
    evidence: Mapping[str, float]
    index: np.ndarray
    remedy: str
    drop: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))

    def __post_init__(self) -> None:
        if self.severity not in SEVERITIES:
            raise InputError(f"{self.name}: severity is {self.severity!r}; expected {', '.join(SEVERITIES)}")
        for name, positions in (("index", self.index), ("drop", self.drop)):
            if positions.ndim != 1 or positions.dtype != np.int64:
                raise InputError(
                    f"{self.name}: {name} is {positions.dtype} of shape {positions.shape}; expected int64"
                    " positions of shape (k,)"
                )

    def described(self) -> dict[str, Any]:
        """As JSON has it; NaN and infinity as null."""
        numbers = {name: float(value) for name, value in self.evidence.items()}
        return vars(self) | {
            "evidence": {name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "index": self.index.tolist(),
            "drop": self.drop.tolist(),
        }


Finder = Callable[[AuditFolder], list[Finding]]
findings: Registry[Finder] = Registry(
    "finding",
    "swaypoint.findings",
    FunctionType,  # type: ignore[arg-type]  # functions of any signature are of one class
    home="swaypoint.findings",
)


@dataclass(frozen=True)
class Said:
    """What one finder gave, and, if it could not look, why."""

    findings: tuple[Finding, ...]
    note: str | None = None


@dataclass(frozen=True)
class Found:
    """The findings of an audit, the most severe first, and of each finder that could not look the reason.

    Attributes:
        looked: names of the finders that could.
    """

    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    looked: tuple[str, ...] = ()

    def _repr_html_(self) -> str | None:
        """What a notebook shows: a list."""
        return shown("findings", self)

    @classmethod
    def of(cls, said: Mapping[str, Said], notes: Sequence[str] = ()) -> Found:
        """Of all finders by name; ``notes``: further ones."""
        every = [finding for one in said.values() for finding in one.findings]
        return cls(
            tuple(sorted(every, key=lambda each: SEVERITIES.index(each.severity))),
            (*(one.note for one in said.values() if one.note is not None), *notes),
            tuple(name for name, one in said.items() if one.note is None),
        )


def find(folder: AuditFolder) -> Found:
    """Ask every finder now; :func:`swaypoint.findings.kept.found` gives what the audit kept of that.

    One that cannot be imported, or needs a package that is not there, leaves a note; the others go on.

    Raises:
        InputError: no finished audit, or a damaged one; a finder gave what is no finding of this audit.
    """
    points = ranked(folder)
    return Found.of({name: asked(name, folder, points) for name in findings})


def ranked(folder: AuditFolder) -> int:
    """How many records :meth:`~swaypoint.folder.audit_folder.AuditFolder.scores` has.

    Raises:
        InputError: no finished audit, or a damaged one.
    """
    return len(folder.scores()) if folder.streamed else sum(folder.manifest().data.ranked.values())


def asked(name: str, folder: AuditFolder, points: int) -> Said:
    """What one finder says.

    Args:
        points: see :func:`ranked`.

    Raises:
        InputError: a damaged audit; it gave what is no finding of this audit.
    """
    try:
        finder = findings[name]
    except InputError as broken:
        return Said((), str(broken))
    try:
        given = finder(folder)
    except MissingExtra as missing:
        return Said((), f"{name}: {missing}")
    for finding in given:
        _check(name, finding, points)
    return Said(tuple(given))


def _check(name: str, finding: Finding, points: int) -> None:
    if not isinstance(finding, Finding):
        raise InputError(f"the finding {name!r} gave a {type(finding).__name__}; expected Findings")
    named = np.concatenate([finding.index, finding.drop])
    if len(named) and not 0 <= named.min() <= named.max() < points:
        raise InputError(
            f"the finding {name!r} names records that the audit does not have; expected positions 0 to"
            f" {points - 1:,}"
        )
