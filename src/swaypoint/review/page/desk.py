"""A review in progress: its points, the log of verdicts, and what both say now."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, UUID, uuid5

import numpy as np

from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.dealing import draw, ranking
from swaypoint.review.log.threads import Remark, Threads
from swaypoint.review.log.verdicts import DRAW, Decision, Event, Review, Store, StoreUnavailable
from swaypoint.review.log.views import SavedView, Views
from swaypoint.review.page.actions import Action
from swaypoint.review.page.evidence import Evidence, Sought
from swaypoint.review.page.query import QUEUE, Query, by_verdicts, matching
from swaypoint.review.page.standing import Standing

_VIEWS, _FOUND = 32, 16
_LOOKING, _LOOKING_SECONDS = 1000, 180.0
_EVERY = 10  # a point whose label is known, among so many of the queue


class Together(NamedTuple):
    """One verdict for many points.

    Attributes:
        decided: positions, and what is said of each.
        same: positions whose label it is already.
        judged: positions that keep the verdict they have.
    """

    decided: list[tuple[int, Decision]]
    same: list[int]
    judged: list[int]


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


class Desk:
    """Items and their review, which follows the store, so that several servers on one agree.

    Args:
        blind: a reviewer sees nothing of what others said, nor of what the model suggests.
        checks: points whose label is known, see :func:`~swaypoint.review.log.erring.checked`: they come up
            among those of the queue, and look like them.

    Attributes:
        trouble: why the store cannot be read just now; empty if it can.
        views: the saved ones.
        threads: what was said of points beside the verdicts.
    """

    def __init__(
        self, items: Items, store: Store, *, blind: bool = False, checks: Mapping[str, bool] | None = None
    ) -> None:
        self.items, self.store, self.blind, self.checks = items, store, blind, checks or {}
        self.trouble = ""
        self.views, self.threads = Views(store, items.run), Threads(store, items.run)
        self._classes = frozenset(items.classes)
        self._review = Review(items.run)
        self._own: dict[str, Review] = {}
        self._actions: dict[str, list[Event]] = {}
        self._standing = Standing(len(items))
        self._found: OrderedDict[tuple[Any, ...], np.ndarray] = OrderedDict()
        self._views: OrderedDict[tuple[Any, ...], View] = OrderedDict()
        self._evidence = Sought(items, blind=blind)
        self._slices: dict[str, tuple[int, np.ndarray]] = {}
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

    def snapshot(self, actor: str) -> Review:
        """The review as ``actor`` may see it now, to be looked at for long: others go on."""
        with self.reading(actor) as review:
            events = list(review.events)
        return Review(self.items.run, events)

    def _follow(self) -> None:
        for event in self.store.since(self.items.run, self._review.seq):
            self._review.apply(event)
            self._actions.setdefault(event.action, []).append(event)
            position = self.items.position(event.item)
            if position is not None:
                self._standing.set(position, bool(self._review.all_on(event.item)), event.seq)
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
        found = self._matching(query, actor)
        with self._lock:
            now = self._review.seq if seq is None else min(seq, self._review.seq)
            changing = self.blind or query.verdict or query.status != "all"
            key = (query, *((now, actor if self.blind or query.verdict else "") if changing else ()))
            known = self._views.pop(key, None)
            if known is None:
                kept = self._by_verdicts(query, actor, now)
                known = View(query, now, found if kept is None else found[kept[found]])
            self._views[key] = known
            while len(self._views) > _VIEWS:
                self._views.popitem(last=False)
            return replace(known, seq=now)

    def _by_verdicts(self, query: Query, actor: str, now: int) -> np.ndarray | None:
        if query.status in ("open", "reviewed") and not query.verdict and not self.blind:
            standing = self._standing.at(now)
            return standing if query.status == "reviewed" else ~standing
        review = self._review
        if now < review.seq:
            upto = bisect_right(review.events, now, key=lambda event: event.seq)
            review = Review(self.items.run, review.events[:upto])
        return by_verdicts(query, self.items, review, actor, blind=self.blind)

    def _matching(self, query: Query, actor: str) -> np.ndarray:
        """See :func:`matching`; kept for a while, and sought without the lock."""
        if self.checks and query == QUEUE:
            return self._queue
        whole = replace(query, status="all", verdict=())
        with self._lock:
            drawn = self._seen_by(actor) if self.blind else self._review
            event = drawn.drawn if query.sample else None  # of which draw; blind, of whose population
            key = (whole, *((event.digest, self.blind and actor) if event else ()))
            known = self._found.get(key)
        if known is None:
            known = matching(whole, self.items, drawn, blind=self.blind)
        with self._lock:
            self._found.pop(key, None)
            self._found[key] = known
            while len(self._found) > _FOUND:
                self._found.popitem(last=False)
        return known

    def prepare(self, query: Query, actor: str) -> None:
        """Do what takes long for a view before the lock is taken.

        Raises:
            InputError: as :meth:`view`.
        """
        if query.sample:
            with self.reading():  # it may have been drawn just now
                pass
        self._matching(query, actor)
        if query == QUEUE and not self.blind:
            self._reserved(actor)

    def deal(self, query: Query, actor: str, seq: int | None = None) -> int | None:
        """The first point of the view that waits; it is ``actor``'s for a while."""
        with self.reading(actor):  # until it is theirs, or two would be dealt the same
            position = self.first_waiting(self.view(query, actor, seq), actor)
            if position is not None:
                self.look((self.items.ids[position],), actor)
        return position

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
        others = self._reserved(actor) if view.query == QUEUE and not self.blind else None
        for part in (view.positions[start:], view.positions[:start]):
            for position in part:  # most often the first: no list of all
                if others is not None and others[position]:
                    continue
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

    def slice(self, view: SavedView, actor: str) -> Query | None:
        """What ``actor`` is dealt of ``view`` if it is assigned to them: its points that wait; None of one by
        verdicts, or that is not shown in this review."""
        try:
            query = Query.read(view.query)
            if query.verdict or query.status not in ("all", "open"):
                return None
            query = replace(query, status="open")
            self.view(query, actor)
        except InputError:
            return None
        return query

    def _reserved(self, actor: str) -> np.ndarray:
        """Which points are in views assigned to others and not to ``actor``, ``(n,)`` bool: nobody else is
        dealt them in the queue."""
        version, known = self._slices.get(actor, (-1, None))
        if known is None or version != self.views.seq:
            version, known = self.views.seq, np.zeros(len(self.items), dtype=bool)
            mine = self.views.assigned(actor)
            for one in (*self.views.all(), *mine):
                query = self.slice(one, actor) if one.reviewers else None
                if query is not None:
                    known[self.view(replace(query, status="all"), actor).positions] = one not in mine
            self._slices[actor] = version, known
        return known

    def others(self, view: View, actor: str) -> int:
        """How many points of the queue are not dealt to ``actor``, as they are assigned to others."""
        dealt_to_all = self.blind or view.query != QUEUE
        return 0 if dealt_to_all else int(self._reserved(actor)[view.positions].sum())

    def remarks(self, item: str, actor: str) -> tuple[Remark, ...]:
        """What was said of ``item`` beside verdicts, as ``actor`` may see it: in a blind review what they
        said themselves, and what was answered to them."""
        said = self.threads.on(item)
        if not self.blind:
            return said
        own = {one.id for one in said if one.actor == actor}
        return tuple(one for one in said if one.id in own or one.to in own)

    def related(self, position: int) -> Evidence:
        """What is beside a point; it takes long, and no lock."""
        return self._evidence.of(position)

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

        if any(action.do == "draw" for action in actions):
            ranking(self.items)  # it takes long the first time, and the lock is not taken yet
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
        events = []
        for position, decision in self.together(actor, action).decided:
            item = self.items.ids[position]
            identity = str(uuid5(UUID(action.id), item))
            events.append(Event(identity, self.items.run, item, actor, decision, action.id, way="bulk"))
        return events

    def together(self, actor: str, action: Action) -> Together:
        """What a ``decide-all`` would do now.

        Raises:
            InputError: it makes no sense.
        """
        assert action.decision is not None
        self._check_label(action.decision)
        if self.blind and action.suggested:
            raise InputError("a blind review shows no suggestions, and so takes none over")
        view = self.view(action.query, actor, action.seq)
        review = self._seen_by(actor) if self.blind else self._review
        chosen = np.zeros(len(view), dtype=bool)
        for start, stop in action.ranges:
            chosen[max(0, start) : max(0, stop)] = True
        found = Together([], [], [])
        for position in view.positions[chosen].tolist():
            decision = action.decision
            if action.suggested and decision.verdict == "mislabeled":
                decision = replace(decision, label=self.items.suggested(position))
            if decision.label == self.items.label(position):
                found.same.append(position)
            elif action.spare and review.all_on(self.items.ids[position]):
                found.judged.append(position)
            else:
                found.decided.append((position, decision))
        return found

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
