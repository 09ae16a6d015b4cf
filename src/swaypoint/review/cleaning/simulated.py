"""A reviewer who knows the truth, and may err, for studies: verdicts down the ranking, or on a sample."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from swaypoint.errors import InputError
from swaypoint.review.cleaning.checks import differs, read_labels
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision, Event

ACTOR = "simulated"
_SPACE = uuid.UUID("5f0b7b1e-6a0e-4b53-9f0a-3a2f8f4a7c10")


def read_truth(items: Items, path: Path) -> list[str]:
    """The true label of each point, by name, see :func:`~.checks.read_labels`.

    Raises:
        InputError: the file is of another form, or lacks a point.
    """
    found = read_labels(items, path)
    missing = next((position for position in range(len(items)) if position not in found), None)
    if missing is not None:
        index = int(items.scores["index"][missing])
        raise InputError(f"{path} has no label for the point of index {index}; expected all points")
    return [found[position] for position in range(len(items))]


@dataclass(frozen=True)
class Erring:
    """How a reviewer errs: on each point by chance, the same each time it is asked.

    Attributes:
        misses: share of the wrong labels that they take for right.
        alarms: share of the right labels that they take for wrong.

    Raises:
        InputError: no shares.
    """

    misses: float = 0.0
    alarms: float = 0.0

    def __post_init__(self) -> None:
        for name, share in vars(self).items():
            if not 0.0 <= share <= 1.0:
                raise InputError(f"{name} is {share}; expected a share, 0 <= share <= 1")

    def says(self, wrong: bool, key: str) -> bool:
        """Whether they take a label for wrong; ``key``: of whom and which point."""
        chance = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64
        return wrong if chance >= (self.misses if wrong else self.alarms) else not wrong


def replay(
    items: Items, truth: Sequence[str], count: int, *, actor: str = ACTOR, erring: Erring = Erring()
) -> list[Event]:
    """The events of a reviewer who inspects the first ``count`` points of the ranking and knows the truth:
    mislabeled, with the true label, where the given one is another; else correct.

    Replayed again they are the same events, ids included, which a store keeps once.

    Args:
        truth: the true label of each point by name, ``(n,)``.
        erring: how often they say otherwise; a right label that they take for wrong they change for the
            model's suggestion, or for none where that is the label.

    Raises:
        InputError: not one label a point, or ``count`` is not in 0..n.
    """
    if not 0 <= count <= len(items):
        raise InputError(f"count is {count}; expected 0..{len(items)}")
    first = np.argsort(items.scores["rank"])[:count]
    return judged(items, truth, first, actor=actor, erring=erring)


def judged(
    items: Items,
    truth: Sequence[str],
    positions: np.ndarray,
    *,
    actor: str = ACTOR,
    erring: Erring = Erring(),
    way: str = "",
) -> list[Event]:
    """As :func:`replay`, of the points at ``positions`` ``(m,)``, which came by that ``way``.

    Raises:
        InputError: not one label a point.
    """
    if len(truth) != len(items):
        raise InputError(f"{len(truth)} true labels for {len(items)} points; expected one a point")
    events = []
    for position in positions.tolist():
        item, given, true = items.ids[position], items.label(position), truth[position]
        wrong = differs(items, position, true)
        decision = Decision("correct")
        if erring.says(wrong, f"{actor}\0{item}"):
            right = true if wrong else items.suggested(position)
            decision = Decision("mislabeled", right if right != given else None)
        said = f"{decision.verdict} {decision.label}"
        own = str(uuid.uuid5(_SPACE, "\0".join((items.run, item, actor, given, said, way))))
        events.append(Event(own, items.run, item, actor, decision, action=own, way=way))
    return events
