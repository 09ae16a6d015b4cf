"""A review in progress: its points, the log of verdicts, and what both say now."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np

from swaypoint.errors import InputError
from swaypoint.review.items import Items, Related
from swaypoint.review.log.dealing import draw
from swaypoint.review.log.verdicts import DRAW, Decision, Event, Review, Store, StoreUnavailable
from swaypoint.review.page.query import QUEUE, Query, select

_VIEWS, _RELATED, _CANDIDATES = 32, 64, 2
_LOOKING, _LOOKING_SECONDS = 1000, 180.0
_EVERY = 10  # a point whose label is known, among so many of the queue


class Evidence(NamedTuple):
    """What is beside a point.

    Attributes:
        neighbours, proponents, opponents: see :class:`~swaypoint.review.items.Items`.
        candidates: of the point's class and the two likeliest others, by name, the nearest points that carry
            it and that the model agrees on; empty without classes, and in a blind review.
    """

    neighbours: Related
    proponents: Related
    opponents: Related
    candidates: Mapping[str, Related]


@dataclass(frozen=True)
class View:
    """The points that a query asked for at one moment: they stay while the reviewer decides on them.

    ``positions`` is ``(m,)`` int64; ``seq`` is the last event that it knew.
    """

    query: Query
    seq: int
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    def place(self, position: int) -> int | None:
        """Where a point stands in the view."""
        found = np.flatnonzero(self.positions == position)
        return int(found[0]) if len(found) else None


@dataclass(frozen=True)
class Action:
    """What a reviewer did, as the page sends it.

    Attributes:
        id: a UUID by the page, so that sending it twice does it once.
        do: ``decide`` on one item, ``decide-all`` of a view, ``undo``, ``redo``, or ``draw`` a random sample.
        decision: of a decide.
        item: of ``decide``.
        resolves: it settles where reviewers differ.
        way: of ``decide``: by which the point came, see :data:`~swaypoint.review.log.verdicts.WAYS`.
        query, seq, ranges: of ``decide-all``: the view, and which of its places, from and to below.
        suggested: of ``decide-all`` with mislabeled: each point's own suggestion becomes its label; one
            whose label it is already is passed over.
    """

    id: str
    do: Literal["decide", "decide-all", "undo", "redo", "draw"]
    decision: Decision | None = None
    item: str = ""
    resolves: bool = False
    way: str = ""
    query: Query = field(default_factory=Query)
    seq: int = 0
    ranges: tuple[tuple[int, int], ...] = ()
    suggested: bool = False

    @classmethod
    def parse(cls, value: Any) -> Action:
        """From JSON.

        Raises:
            InputError: it makes no sense.
        """
        try:
            do = value["do"]
            if do not in ("decide", "decide-all", "undo", "redo", "draw"):
                raise ValueError(f"do is {do!r}")
            action = cls(str(UUID(value["id"])), do)
            if do in ("undo", "redo", "draw"):
                return action
            label, note = value.get("label"), value.get("note", "")
            if not isinstance(note, str) or not isinstance(label, str | None):
                raise TypeError("label and note are text")
            action = replace(action, decision=Decision(value["verdict"], label, note))
            if do == "decide":
                resolves, way = value.get("resolves") is True, str(value.get("way", ""))
                if way == DRAW:
                    raise ValueError("a verdict is no draw")
                return replace(action, item=str(value["item"]), resolves=resolves, way=way)
            return replace(
                action,
                query=Query.parse({str(name): str(part) for name, part in value["query"].items()}),
                seq=_whole(value["seq"]),
                ranges=tuple((_whole(start), _whole(stop)) for start, stop in value["ranges"]),
                suggested=value.get("suggested") is True,
            )
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"an action that makes no sense: {error}") from None


def _whole(value: Any) -> int:
    """A number of 64 bits; 1e999 is an infinite one to the parser of JSON."""
    number = int(value)
    if abs(number) >= 2**63:
        raise ValueError(f"{value} is too large")
    return number


class Desk:
    """Items and their review, which follows the store, so that several servers on one agree.

    Args:
        blind: a reviewer sees nothing of what others said, nor of what the model suggests.
        checks: points whose label is known, see :func:`~swaypoint.review.log.erring.checked`: they come up
            among those of the queue, and look like them.

    Attributes:
        trouble: why the store cannot be read just now; empty if it can.
    """

    def __init__(
        self, items: Items, store: Store, *, blind: bool = False, checks: Mapping[str, bool] | None = None
    ) -> None:
        self.items, self.store, self.blind, self.checks = items, store, blind, checks or {}
        self.trouble = ""
        self._classes = frozenset(items.classes)
        self._review = Review(items.run)
        self._own: dict[str, Review] = {}
        self._actions: dict[str, list[Event]] = {}
        self._views: OrderedDict[tuple[Any, ...], View] = OrderedDict()
        self._related: dict[int, Evidence] = {}
        self._looking: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._lock = threading.RLock()

    @contextmanager
    def reading(self, actor: str = "") -> Iterator[Review]:
        """The review as ``actor`` may see it, while nobody changes it: up to date, or as it was when the
        store could last be read, and then :attr:`trouble` says why."""
        with self._lock:
            try:
                self._follow()
                self.trouble = ""
            except StoreUnavailable as error:
                self.trouble = str(error)
            yield self._seen_by(actor) if self.blind and actor else self._review

    def _follow(self) -> None:
        for event in self.store.since(self.items.run, self._review.seq):
            self._review.apply(event)
            self._actions.setdefault(event.action, []).append(event)
            for actor, own in self._own.items():
                if actor == event.actor or event.way == DRAW:
                    own.apply(event)

    def _seen_by(self, actor: str) -> Review:
        if actor not in self._own:
            events = (one for one in self._review.events if one.actor == actor or one.way == DRAW)
            self._own[actor] = Review(self.items.run, events)
        return self._own[actor]

    def reviewers(self) -> set[str]:
        """Everyone who ever said something, taken back or not."""
        with self.reading() as review:
            return {event.actor for event in review.events}

    def view(self, query: Query, actor: str, seq: int | None = None) -> View:
        """What ``query`` asks for, as of the event ``seq``, or now.

        Raises:
            InputError: the query asks for what is not there.
        """
        with self._lock:
            review = self._review
            now = review.seq if seq is None else min(seq, review.seq)
            key = (query, *((now, actor) if self.blind or query.verdict or query.status != "all" else ()))
            known = self._views.pop(key, None)
            if known is None:
                if now < review.seq:
                    upto = bisect_right(review.events, now, key=lambda event: event.seq)
                    review = Review(self.items.run, review.events[:upto])
                own = self._seen_by(actor) if self.blind else None
                chosen = select(query, self.items, review, actor, blind=self.blind, own=own)
                if self.checks and query == QUEUE:
                    chosen = self._queue[np.isin(self._queue, chosen)]
                known = View(query, now, chosen)
            self._views[key] = known
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
            return replace(known, seq=now)

    def rank(self, view: View, position: int) -> int:
        """As it is shown: in the queue by the order in which its points come up."""
        if self.checks and view.query == QUEUE:
            return int(np.flatnonzero(self._queue == position)[0]) + 1
        return int(self.items.scores["rank"][position])

    @cached_property
    def _queue(self) -> np.ndarray:
        """All points by rank, but that those whose label is known come as every so many'th, in an order that
        does not tell them."""
        order = sorted(self.checks, key=lambda item: uuid5(NAMESPACE_OID, f"{self.items.run}{item}").hex)
        checks = np.array([self.items.position(item) for item in order], dtype=np.int64)
        ranked = self.items.order("rank")
        rest = ranked[~np.isin(ranked, checks)]
        return np.insert(rest, np.minimum(np.arange(1, len(checks) + 1) * (_EVERY - 1), len(rest)), checks)

    def first_waiting(self, view: View, actor: str, start: int = 0) -> int | None:
        """The first point of ``view`` from the place ``start`` on, then from its beginning, that waits for
        ``actor``; None: all done."""
        now = time.monotonic()
        for part in (view.positions[start:], view.positions[:start]):
            for position in part:  # most often the first: no list of all
                if self._waits(view.query, self.items.ids[position], actor, now):
                    return int(position)
        return None

    def _waits(self, query: Query, item: str, actor: str, now: float) -> bool:
        """Nothing was said of ``item``, and nobody else has it before them just now; in a view of what was
        reviewed each one waits, and in one of conflicts those not settled."""
        review = self._review
        if query.status == "conflict":
            return review.conflict(item)
        if query.status == "reviewed" or query.verdict:
            return True
        if review.by(actor, item) is not None:
            return False
        return self.blind or not (review.all_on(item) or self._taken(item, actor, now))

    def related(self, position: int) -> Evidence:
        """Of a point; it costs passes over all features, is kept for a while, and needs no lock."""
        known = self._related.pop(position, None)
        if known is None:
            near, (supports, contradicts) = self.items.neighbours(position), self.items.influences(position)
            known = Evidence(near, supports, contradicts, self._candidates(position))
        self._related[position] = known
        while len(self._related) > _RELATED:
            with suppress(KeyError, RuntimeError):  # another thread was faster
                del self._related[next(iter(self._related))]
        return known

    def _candidates(self, position: int) -> dict[str, Related]:
        if self.blind or not self.items.classes:
            return {}
        given = self.items.label(position)
        likely = [one.label for one in self.items.suggestions(position, 1 + _CANDIDATES)]
        names = [given, *[name for name in likely if name != given][:_CANDIDATES]]
        return dict(zip(names, self.items.examples(position, names), strict=True))

    def look(self, items: Iterable[str | None], actor: str) -> None:
        """``actor`` has ``items`` before them, or will, next: others are offered other ones for a while."""
        with self._lock:
            for item in filter(None, items):
                self._looking.pop(item, None)
                self._looking[item] = (actor, time.monotonic())
            while len(self._looking) > _LOOKING:
                self._looking.popitem(last=False)

    def _taken(self, item: str, actor: str, now: float) -> bool:
        who, at = self._looking.get(item, (actor, 0.0))
        return who != actor and now - at < _LOOKING_SECONDS

    # -- writing ------------------------------------------------------------------------------------

    def perform(self, actor: str, actions: Sequence[Action]) -> list[list[Event] | InputError]:
        """Do ``actions`` in order and return the events of each, durable, or why it was refused.

        Raises:
            StoreUnavailable: what was not kept can be sent again; what was kept is not doubled.
        """
        results: list[list[Event] | InputError] = []
        pending: list[Event] = []

        def keep() -> None:
            if pending:
                results.extend([event] for event in self.store.append(pending))
                pending.clear()

        for action in actions:
            try:
                if action.do == "decide":
                    pending.append(self._decided(actor, action))  # several in one transaction
                    continue
            except InputError as error:
                keep()
                results.append(error)
                continue
            keep()
            try:
                results.append(self._performed(actor, action))
            except InputError as error:
                results.append(error)
        keep()
        return results

    def _performed(self, actor: str, action: Action) -> list[Event]:
        with self._lock:
            self._follow()
            if action.id in self._actions:
                return self._actions[action.id]  # the answer to the first try was lost
            if action.do == "draw":
                drawn = self._review.drawn
                return [drawn] if drawn else self.store.append([draw(self.items, actor, action.id)])
            if action.do != "decide-all":
                events = self._compensated(actor, action)
                return self.store.append(events) if events else []  # before another undo looks
            events = self._decided_all(actor, action)
        return self.store.append(events) if events else []

    def _decided(self, actor: str, action: Action) -> Event:
        position = self.items.position(action.item)
        if position is None:
            raise InputError(f"there is no point {action.item!r} in this audit")
        assert action.decision is not None
        self._check_label(action.decision)
        return Event(
            action.id,
            self.items.run,
            action.item,
            actor,
            action.decision,
            action=action.id,
            resolves=action.resolves and not self.blind,
            way=action.way,
        )

    def _decided_all(self, actor: str, action: Action) -> list[Event]:
        assert action.decision is not None
        self._check_label(action.decision)
        if self.blind and action.suggested:
            raise InputError("a blind review shows no suggestions, and so takes none over")
        view = self.view(action.query, actor, action.seq)
        chosen = np.zeros(len(view), dtype=bool)
        for start, stop in action.ranges:
            chosen[max(0, start) : max(0, stop)] = True
        events = []
        for position in view.positions[chosen].tolist():
            item, decision = self.items.ids[position], action.decision
            if action.suggested and decision.verdict == "mislabeled":
                decision = replace(decision, label=self.items.suggested(position))
                if decision.label == self.items.label(position):
                    continue
            identity = str(uuid5(UUID(action.id), item))
            events.append(Event(identity, self.items.run, item, actor, decision, action.id, way="bulk"))
        return events

    def _compensated(self, actor: str, action: Action) -> list[Event]:
        review = self._review
        last = review.undoable(actor) if action.do == "undo" else review.redoable(actor)
        return [
            Event(
                str(uuid5(UUID(action.id), event.id)),
                self.items.run,
                event.item,
                actor,
                event.before,
                action=action.id,
                undoes=event.action,
                resolves=action.do == "redo" and self._resolved(event),
            )
            for event in last
        ]

    def _resolved(self, undo: Event) -> bool:
        """What ``undo`` took back had settled its point."""
        return any(
            event.resolves for event in self._actions.get(undo.undoes or "", ()) if event.item == undo.item
        )

    def _check_label(self, decision: Decision) -> None:
        if decision.label is None:
            return
        if self.items.classes and decision.label not in self._classes:
            raise InputError(f"there is no class {decision.label!r}")
        if not self.items.classes:
            try:
                number = float(decision.label)
            except ValueError:
                number = np.nan
            if not np.isfinite(number):
                raise InputError(f"the right value is {decision.label!r}; expected a number")
