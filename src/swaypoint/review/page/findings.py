"""The page of what holds of the whole set: each finding with its first records."""

from __future__ import annotations

from dataclasses import dataclass, replace

from swaypoint.findings import Finding
from swaypoint.findings.kept import portable
from swaypoint.report.findings import EXAMPLES, OPEN, Told, counted, nothing, told
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.pages import Cell, cell
from swaypoint.review.page.query import Query


@dataclass(frozen=True)
class Card:
    """A finding, and of its records the first.

    Attributes:
        words: what it says.
        query: the address of its records, in the finding's order.
        open: of those that nobody judged.
        reviewed: how many were.
        pair: all have one label and look like one other class, so that they can be set at once.
        examples: the first few.
    """

    words: Told
    query: str
    open: str
    reviewed: int
    pair: bool
    examples: tuple[Cell, ...]


@dataclass(frozen=True)
class FindingsPage:
    """Of an audit.

    Attributes:
        hidden: the review is blind, and what holds of a record would tell what the model holds of it.
        shown: how many of the ``cards`` are not folded; ``more`` counts those that are.
        nothing: what to say where nothing was found.
        notes: what could not be looked for, and why.
    """

    cards: tuple[Card, ...]
    shown: int
    more: str
    hidden: bool
    nothing: str
    notes: tuple[str, ...]


def findings_page(desk: Desk, review: Review, actor: str) -> FindingsPage:
    if desk.blind:
        return FindingsPage((), 0, "", True, "", ())
    everything = desk.items.found
    reviewed = set(review.reviewed())
    cards = tuple(_card(desk, review, actor, finding, reviewed) for finding in everything.findings)
    return FindingsPage(
        cards,
        OPEN,
        counted(everything.findings[OPEN:]),
        False,
        "" if cards else nothing(everything),
        everything.notes,
    )


def _card(desk: Desk, review: Review, actor: str, finding: Finding, reviewed: set[str]) -> Card:
    positions, ids = finding.index.tolist(), desk.items.ids
    words = told(finding)
    return Card(
        # Where the folder lies is no business of who was invited.
        replace(words, remedy=portable(words.remedy, desk.items.folder.path)),
        Query(sort="finding", finding=finding.name).address(),
        Query(sort="finding", status="open", finding=finding.name).address(),
        sum(ids[position] in reviewed for position in positions),
        _is_pair(desk.items, finding),
        tuple(cell(desk, review, position, actor) for position in positions[:EXAMPLES]),
    )


def _is_pair(items: Items, finding: Finding) -> bool:
    if "likely" not in items.scores or not len(finding.index):
        return False
    label, likely = (items.scores[name][finding.index] for name in ("label", "likely"))
    return bool((label == label[0]).all() and (likely == likely[0]).all() and likely[0] != label[0])
