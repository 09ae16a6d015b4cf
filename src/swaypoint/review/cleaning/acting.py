"""What findings of the whole dataset make of it: which records leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from swaypoint.data.readers.arrays import listed
from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review


@dataclass(frozen=True)
class Acted:
    """Position of each point that leaves -> the finding by which it does; ``spared``: how many would have,
    had no person judged them."""

    leaving: dict[int, str] = field(default_factory=dict)
    spared: int = 0


def act(items: Items, review: Review, names: Sequence[str]) -> Acted:
    """Follow the remedies of the findings with these ``names``: what they drop leaves.

    People take precedence: a point that somebody judged, whatever the verdict, or that is in conflict, is
    left to the policy; one that was only looked at (``skip``) is not.

    Raises:
        InputError: no such finding in the audit, or one whose remedy is not that records leave.
    """
    if not names:
        return Acted()
    every = items.found
    known = {finding.name: finding for finding in every.findings}
    judged = {items.position(item) for item in review.reviewed() if not _undecided(review, item)}
    leaving: dict[int, str] = {}
    spared: set[int] = set()
    for name in names:
        if name not in known:
            notes = f" ({'; '.join(every.notes)})" if every.notes else ""
            acting = [each.name for each in every.findings if len(each.drop)]
            raise InputError(
                f"there is no finding {name!r} in {items.folder.path}; those that records leave by are"
                f" {listed(acting) if acting else 'none'}{notes}"
            )
        if not len(known[name].drop):
            raise InputError(f"no record leaves by the finding {name!r}; what to do: {known[name].remedy}")
        for position in known[name].drop.tolist():
            if position in judged:
                spared.add(position)
            else:
                leaving.setdefault(position, name)
    return Acted(leaving, len(spared))


def _undecided(review: Review, item: str) -> bool:
    decision = review.decision(item)
    return decision is not None and decision.verdict == "skip"
