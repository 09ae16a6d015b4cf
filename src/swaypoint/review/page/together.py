"""One label for the first so many points of a view: what it would change, before it is done."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision
from swaypoint.review.page.actions import Action
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.query import Query

SHOWN = 100
USUAL = 40


@dataclass(frozen=True)
class Shown:
    """A point that is set; ``values`` are its first columns, of what is no picture."""

    id: str
    label: str
    picture: bool
    values: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Preview:
    """What setting the first ``count`` to ``label`` would do.

    Attributes:
        set: how many get it; ``given``: their labels now, and how many of each.
        same: how many have it already.
        judged: how many keep a verdict that was given before.
        shown: the first of those that are set.
    """

    label: str
    count: int
    set: int
    given: tuple[tuple[str, int], ...]
    same: int
    judged: int
    shown: tuple[Shown, ...]


def preview(desk: Desk, actor: str, query: Query, seq: int, count: int, label: str) -> Preview:
    """As ``decide-all`` with the same and ``spare`` would do it.

    Raises:
        InputError: it makes no sense.
    """
    decision = Decision("mislabeled", label)
    action = Action(
        str(uuid4()), "decide-all", decision, query=query, seq=seq, ranges=((0, count),), spare=True
    )
    found, items = desk.together(actor, action), desk.items
    positions = [position for position, _ in found.decided]
    return Preview(
        label,
        len(positions) + len(found.same) + len(found.judged),
        len(positions),
        tuple(Counter(map(items.label, positions)).most_common()),
        len(found.same),
        len(found.judged),
        tuple(_shown(items, position) for position in positions[:SHOWN]),
    )


def _shown(items: Items, position: int) -> Shown:
    values = () if items.pictured else tuple((k, v[:80]) for k, v in list(items.row(position).items())[:3])
    return Shown(items.ids[position], items.label(position), items.pictured, values)


def likeliest(desk: Desk, query: Query, actor: str, seq: int) -> str:
    """The class that the filter is about, or that most of the first points of the view look like instead of
    their own; "" where nothing says, as in a blind review."""
    items = desk.items
    if query.like or query.suggested:
        return (query.like or query.suggested)[0]
    if desk.blind or not items.classes:
        return ""
    rows, scores = desk.view(query, actor, seq).positions[:USUAL], items.scores
    found = scores["likely" if "likely" in scores else "suggested_label"][rows].astype(np.int64)
    other = found[(found >= 0) & (found != scores["label"][rows])]
    return items.classes[int(np.bincount(other).argmax())] if len(other) else ""
