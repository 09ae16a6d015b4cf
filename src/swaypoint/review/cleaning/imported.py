"""Verdicts from files: our own CSV export, Label Studio's annotations, FiftyOne's tags."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swaypoint.errors import InputError
from swaypoint.review.cleaning.claims import Claim, actor, class_name, decision, point
from swaypoint.review.cleaning.fiftyone import read_tags
from swaypoint.review.cleaning.labelstudio import read_annotations
from swaypoint.review.cleaning.policy import SEPARATOR
from swaypoint.review.cleaning.records import PREFIX
from swaypoint.review.cleaning.spreadsheet import read_cells
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Event, Review, check_event

_NAMESPACE = uuid.UUID("3e6d1f0c-52a7-5c0b-9a43-8f1c4b7f2d10")
_UNDECIDED = ("", "unreviewed", "conflict")


@dataclass(frozen=True)
class Imported:
    """The events that a file adds to a review, and how many of its verdicts are there already."""

    events: list[Event]
    known: int


def read_csv(path: Path, items: Items, reviewer: str | None) -> list[Claim]:
    """Verdicts of our own export as CSV, edited or not: ``id``, ``verdict``, and perhaps ``new_label``,
    ``note``, ``reviewer`` and ``decided_at``. Rows that are unreviewed or in conflict say nothing.

    Args:
        reviewer: who it was; default: as the file says.

    Raises:
        InputError: not such a file, or a row that makes no sense; it is named.
    """
    cells = read_cells(path)
    names = ("id", "verdict", "new_label", "note", "reviewer", "decided_at")
    columns = {name: _column(cells, name) for name in names}
    for name in ("id", "verdict"):
        if columns[name] is None:
            raise InputError(f"{path}: no column {name}; expected a CSV file that swaypoint export wrote")
    claims: list[Claim] = []
    filled = (column or [""] * len(columns["id"] or []) for column in columns.values())
    for number, row in enumerate(zip(*filled, strict=True), 1):
        claims += _claims(dict(zip(names, row, strict=True)), items, reviewer, f"{path}, row {number}")
    return claims


def _column(cells: dict[str, list[str]], name: str) -> list[str] | None:
    """Ours has the longest prefix, where the source has a column of that name."""
    found = None
    while name in cells:
        found, name = cells[name], PREFIX + name
    return found


def _claims(row: dict[str, str], items: Items, reviewer: str | None, where: str) -> list[Claim]:
    verdict, label = row["verdict"].strip(), row["new_label"] or None
    if verdict in _UNDECIDED:
        if label is not None:
            raise InputError(f"{where}: new_label is {label!r}, but no verdict; write mislabeled as verdict")
        return []
    point(items, row["id"], where)
    if label is not None:
        label = class_name(items, label, where)
    names = [actor(reviewer, where=where)] if reviewer else row["reviewer"].split(SEPARATOR)
    said = decision(verdict, label, row["note"], where)
    # Who agrees says it without a note: the joined one stands once.
    return [
        Claim(
            row["id"],
            actor(name, where=where),
            said if number == 0 else decision(verdict, label, "", where),
            row["decided_at"],
        )
        for number, name in enumerate(names)
    ]


sources: dict[str, Callable[[Path, Items, str | None], list[Claim]]] = {
    "csv": read_csv,
    "labelstudio": read_annotations,
    "fiftyone": read_tags,
}
"""By format; ``cleanlab`` is a ranking, see :mod:`swaypoint.review.cleaning.cleanlab`."""


def read_verdicts(
    path: Path, kind: str, items: Items, review: Review, reviewer: str | None = None
) -> Imported:
    """What a file adds to ``review``, as events to append: one action, that undo takes back.

    An event's id follows from what it says, so that a file imported again adds nothing. Nor does a
    verdict that its reviewer holds already. Of several on one point by one reviewer the last counts.

    Raises:
        InputError: an unknown format, or the file cannot be used; nothing is to be appended then.
    """
    if kind not in sources:
        raise InputError(f"verdicts cannot be read from {kind!r}; expected one of {', '.join(sources)}")
    claims = sources[kind](path, items, reviewer)
    last = {(claim.item, claim.actor): claim for claim in claims}
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    action = _identity("import", items.run, reviewer or "", content)
    there = {event.id for event in review.events}
    events = []
    for claim in last.values():
        said = claim.decision
        fields = (claim.item, claim.actor, said.verdict, said.label or "", said.note, claim.stamp)
        identity = _identity(items.run, *fields)
        if identity not in there and review.by(claim.actor, claim.item) != said:
            event = Event(identity, items.run, claim.item, claim.actor, said, action)
            try:
                check_event(event)
            except InputError as error:
                raise InputError(f"{path}, the verdict on {claim.item}: {error}") from error
            events.append(event)
    return Imported(events, len(last) - len(events))


def _identity(*parts: str) -> str:
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
