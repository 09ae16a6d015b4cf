"""What the verdicts make of the labels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from swaypoint.data.readers.arrays import listed
from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import WRONG, Event, Review

Policy = Literal["drop", "relabel", "flag"]
POLICIES: tuple[Policy, ...] = get_args(Policy)
SEPARATOR = "; "


@dataclass(frozen=True)
class Ruling:
    """What reviewers said of a point, as a table shows it.

    Attributes:
        verdict: one of :data:`~swaypoint.review.log.verdicts.VERDICTS`, or ``conflict``.
        new_label: the right class, of a mislabeled point where it is known.
        reviewer: whose verdict it is; several who agree, or who are in conflict, with ``; ``.
        note: their notes; in conflict what each said.
        decided_at: the last of them, ISO 8601.
    """

    verdict: str
    new_label: str | None
    reviewer: str
    note: str
    decided_at: str


def rulings(review: Review) -> dict[str, Ruling]:
    """Of every item that somebody said something of, by its id."""
    said: dict[str, dict[str, Event]] = {}
    last: dict[str, Event] = {}
    for event in review.events:
        last[event.item] = event
        own = said.setdefault(event.item, {})
        own.pop(event.actor, None)
        if event.decision is not None:
            own[event.actor] = event
    return {item: _ruling(review, item, said[item], last[item]) for item in review.reviewed()}


def _ruling(review: Review, item: str, said: dict[str, Event], last: Event) -> Ruling:
    decision = review.decision(item)
    if decision is None:
        events = _final(said.values())
        note = SEPARATOR.join(f"{event.actor}: {_in_words(event)}" for event in events)
        return Ruling("conflict", None, _actors(events), note, max(event.at for event in events))
    events = [last] if last.resolves else _final(said.values()) or list(said.values())
    time = max(event.at for event in events)
    return Ruling(decision.verdict, decision.label, _actors(events), decision.note, time)


def _final(events: Iterable[Event]) -> list[Event]:
    return [event for event in events if event.decision is not None and event.decision.final]


def _actors(events: list[Event]) -> str:
    return SEPARATOR.join(sorted(event.actor for event in events))


def _in_words(event: Event) -> str:
    assert event.decision is not None
    label = "" if event.decision.label is None else f" ({event.decision.label})"
    return event.decision.verdict + label


@dataclass(frozen=True, eq=False)
class Cleaned:
    """Ranked points after a policy: which are ``kept``, (n,) bool, and their ``labels`` (n,), class
    indices or real values."""

    kept: np.ndarray
    labels: np.ndarray


def clean(items: Items, review: Review, policy: Policy, leaving: Iterable[int] = ()) -> Cleaned:
    """Apply the decisions that stand; the points ``leaving`` by position are left out besides.

    ``drop`` leaves out what is mislabeled or bad; ``relabel`` gives a mislabeled point its right label
    where that is known, and leaves out the others and what is bad; ``flag`` changes nothing. Points that
    are in conflict, skipped or not reviewed stay as they are, under every policy.

    Raises:
        InputError: an unknown policy, or a right label that is no class of the audit.
    """
    if policy not in POLICIES:
        raise InputError(f"policy is {policy!r}; expected one of {', '.join(POLICIES)}")
    kept, labels = np.ones(len(items), dtype=bool), items.scores["label"].copy()
    kept[np.fromiter(leaving, dtype=np.int64)] = False
    for item in review.reviewed() if policy != "flag" else ():
        decision, position = review.decision(item), items.position(item)
        if decision is None or position is None or decision.verdict not in WRONG:
            continue
        if policy == "relabel" and decision.label is not None:
            labels[position] = label_value(items, decision.label, f"the verdict on {item}")
        else:
            kept[position] = False
    return Cleaned(kept, labels)


def label_value(items: Items, label: str, where: str) -> float:
    """A label given by name as a class's index, or as the number that it is.

    Raises:
        InputError: no such class, or no number; ``where`` says whose label it is.
    """
    if items.classes:
        if label not in items.classes:
            raise InputError(f"{where}: there is no class {label!r}; the audit has {listed(items.classes)}")
        return items.classes.index(label)
    try:
        value = float(label)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise InputError(f"{where}: the label is {label!r}; expected a number")
    return value
