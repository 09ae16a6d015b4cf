"""What reviewers say of points: events that are only ever added, and the state that follows from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from swaypoint.errors import InputError

Verdict = Literal["mislabeled", "correct", "under-represented", "boundary", "bad", "skip"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
WRONG: frozenset[Verdict] = frozenset({"mislabeled", "bad"})
"""Of a point that should not stay in the training set as it is."""
DRAW = "draw"
WAYS = ("", "queue", "sample", "gallery", "bulk", DRAW)
"""By which a point came before its reviewer: one after the other, as a random sample, picked from many, or
many at once; empty: not known, as in a log of before or from elsewhere. That of a random draw itself, which
decides nothing, is :data:`DRAW`."""
_NOTE_LENGTH = 2000
TEXT_LENGTH = 4000
"""Most characters of what an event says beside the verdicts."""
_NAME_LENGTH = 200  # three of them fit an index row of PostgreSQL


@dataclass(frozen=True)
class Decision:
    """A verdict on one point.

    Attributes:
        verdict: ``bad``: not fit for training at all (a broken picture); ``skip``: looked at, undecided.
        label: the right class by name (a number as text for regression), only of a mislabeled point;
            None there means: wrong, the right one is not known.
        note: free text.

    Raises:
        InputError: an unknown verdict, a label with another verdict than mislabeled, or a note beyond
            2,000 characters.
    """

    verdict: Verdict
    label: str | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise InputError(f"verdict is {self.verdict!r}; expected one of {', '.join(VERDICTS)}")
        if self.label is not None and self.verdict != "mislabeled":
            raise InputError(f"a label goes with the verdict mislabeled, not with {self.verdict!r}")
        if len(self.note) > _NOTE_LENGTH:
            raise InputError(f"the note has {len(self.note):,} characters; at most {_NOTE_LENGTH:,}")

    @property
    def final(self) -> bool:
        """It decides the point: anything but skip."""
        return self.verdict != "skip"

    def same(self, other: Decision) -> bool:
        """The notes apart."""
        return (self.verdict, self.label) == (other.verdict, other.label)


@dataclass(frozen=True)
class Event:
    """One reviewer's decision on one point of one audit at one moment, or that it is taken back (None).

    Attributes:
        id: a UUID given by who made it, so that sending it twice adds it once.
        run: key of the audit.
        item: id of the point, see :class:`~swaypoint.review.items.Items`; of a draw, what was drawn from, see
            :func:`~swaypoint.review.log.dealing.draw`.
        action: shared by the events of one action of the reviewer (a bulk verdict), which undo takes back
            together.
        undoes: the action that this one compensates.
        resolves: it settles the point where reviewers differ.
        way: one of :data:`WAYS`.
        text: what is said beside the verdicts, in a run of its own: see
            :class:`~swaypoint.review.log.beside.Beside`.
        seq, at, before, digest: given by the store: position in its log from 1, UTC time (ISO 8601), the
            actor's decision before, and the hash that chains it to the event before.
    """

    id: str
    run: str
    item: str
    actor: str
    decision: Decision | None
    action: str
    undoes: str | None = None
    resolves: bool = False
    way: str = ""
    text: str = ""
    seq: int = 0
    at: str = ""
    before: Decision | None = None
    digest: str = ""


def check_event(event: Event) -> None:
    """That every store can keep it.

    Raises:
        InputError: a name (id, run, item, actor, action) is empty or beyond 200 characters; a text has a NUL
            or half a surrogate pair, is beyond 4,000 characters, or comes with a verdict, which has a note;
            there is no such way.
    """
    if event.way not in WAYS:
        raise InputError(f"way is {event.way!r}; expected one of {', '.join(WAYS[1:])}, or nothing")
    if event.way == DRAW and event.decision is not None:
        raise InputError("an event that draws a sample decides nothing; give the verdict in one of its own")
    names = {"id": event.id, "run": event.run, "item": event.item, "actor": event.actor}
    names |= {"action": event.action} | ({} if event.undoes is None else {"undoes": event.undoes})
    for name, value in names.items():
        if not 0 < len(value) <= _NAME_LENGTH:
            raise InputError(f"{name} has {len(value)} characters; expected 1 to {_NAME_LENGTH}")
    if len(event.text) > TEXT_LENGTH:
        raise InputError(f"the text has {len(event.text):,} characters; at most {TEXT_LENGTH:,}")
    decision = event.decision
    if event.text and decision is not None:
        raise InputError("an event with a verdict has a note, and no text of its own")
    texts = names | {"text": event.text}
    texts |= {"label": decision.label or "", "note": decision.note} if decision else {}
    for name, value in texts.items():
        # PostgreSQL takes neither, and what one database takes, both should.
        if "\0" in value or value.encode("utf-8", "ignore").decode() != value:
            raise InputError(f"{name} has a NUL or half a surrogate pair: {value[:60]!r}; leave it out")


@dataclass(frozen=True)
class Anchor:
    """The last event of a log at some moment, 0 of an empty one, and its digest: of all up to there."""

    seq: int
    digest: str


class Store(ABC):
    """An append-only log of events. Safe to use from several threads and processes."""

    @abstractmethod
    def append(self, events: Sequence[Event]) -> list[Event]:
        """Keep ``events`` for good, all or none, and return them as stored: durable when this returns.

        One whose id is there already is not added again; the stored one is returned.

        Raises:
            InputError: an id is there with another content.
            StoreUnavailable: the database cannot be reached, or has no space.
        """

    @abstractmethod
    def since(self, run: str, seq: int = 0) -> list[Event]:
        """The events of ``run`` after ``seq``, in order."""

    @abstractmethod
    def verify(self, anchors: Sequence[Anchor] = ()) -> Anchor:
        """Where the log ends, if it is as it was written.

        Args:
            anchors: of earlier, kept elsewhere.

        Raises:
            InputError: the chain of digests is broken, the first such event is named; or the log does not
                hold what it held at an anchor: it was cut off, or written anew.
        """

    @property
    @abstractmethod
    def address(self) -> str:
        """Where it is, for another process: it may hold a password."""

    @abstractmethod
    def close(self) -> None: ...


class StoreUnavailable(Exception):
    """The database cannot be written or read just now; nothing was kept, and trying again may help."""


class Review:
    """Where a review stands: the events of one run, folded.

    Reading is by item id; ``None`` where nothing was said.

    Attributes:
        drawn: the event by which a random sample was drawn, the first one.
        judged_before: items with a decision that stood at that moment.
    """

    def __init__(self, run: str, events: Iterable[Event] = ()) -> None:
        self.run, self.seq = run, 0
        self._by_item: dict[str, dict[str, Decision]] = {}
        # Once resolved, an item goes from version to version: 0, or the seq of the event that made it.
        self._version: dict[str, int] = {}
        self._resolutions: dict[int, Decision] = {}
        self._moves: dict[tuple[str, str, str], list[tuple[int, int]]] = {}
        self._events: list[Event] = []
        self._actions: dict[str, dict[str, list[Event]]] = {}
        self.drawn: Event | None = None
        self.judged_before: frozenset[str] = frozenset()
        for event in events:
            self.apply(event)

    def apply(self, event: Event) -> None:
        """``event`` is the next of the run; one already applied is passed over."""
        if event.seq <= self.seq:
            return
        self.seq = event.seq
        self._events.append(event)
        if event.way == DRAW and event.decision is None:
            if self.drawn is None:
                self.drawn, self.judged_before = event, frozenset(self.reviewed())
            return
        self._actions.setdefault(event.actor, {}).setdefault(event.action, []).append(event)
        own = self._by_item.setdefault(event.item, {})
        if event.decision is None:
            own.pop(event.actor, None)
        else:
            own[event.actor] = event.decision
        self._move(event)

    def _move(self, event: Event) -> None:
        """A later word reopens a conflict; one that takes back the item's last returns to what was before
        it, a resolution included."""
        resolves = event.resolves and event.decision is not None
        if event.item not in self._version and not resolves:
            return
        now = self._version.get(event.item, 0)
        compensated = self._moves.get((event.actor, event.undoes or "", event.item), [])
        target = next((before for before, after in compensated if after == now), event.seq)
        if target == event.seq and resolves and event.decision is not None:
            self._resolutions[target] = event.decision
        self._moves.setdefault((event.actor, event.action, event.item), []).append((now, target))
        self._version[event.item] = target

    def _resolution(self, item: str) -> Decision | None:
        return self._resolutions.get(self._version.get(item, 0))

    @property
    def events(self) -> Sequence[Event]:
        return self._events

    @property
    def actors(self) -> tuple[str, ...]:
        """Everyone who said something that stands, sorted."""
        return tuple(sorted({actor for own in self._by_item.values() for actor in own}))

    def reviewed(self) -> Iterator[str]:
        """Items with at least one decision that stands, skips included."""
        return (item for item, own in self._by_item.items() if own)

    def by(self, actor: str, item: str) -> Decision | None:
        return self._by_item.get(item, {}).get(actor)

    def all_on(self, item: str) -> dict[str, Decision]:
        """Decision by actor."""
        return dict(self._by_item.get(item, {}))

    def conflict(self, item: str) -> bool:
        """Two reviewers differ, and nobody has resolved it. Skips differ from nothing."""
        if self._resolution(item) is not None:
            return False
        decisions = [d for d in self._by_item.get(item, {}).values() if d.final]
        return any(not d.same(decisions[0]) for d in decisions[1:])

    def decision(self, item: str) -> Decision | None:
        """What counts: the resolution, or what all who decided agree on, with their notes in one (cut at
        2,000 characters); None in conflict."""
        resolution = self._resolution(item)
        if resolution is not None:
            return resolution
        own = list(self._by_item.get(item, {}).values())
        decided = [d for d in own if d.final]
        if self.conflict(item):
            return None
        if decided:
            note = "; ".join(d.note for d in decided if d.note)
            return replace(decided[0], note=note[:_NOTE_LENGTH])
        return own[0] if own else None

    def undoable(self, actor: str) -> list[Event]:
        """The events of the actor's last action that stands, the last first; to undo it, append for each,
        in this order, one with its ``before`` as decision and its ``action`` as ``undoes``. Empty: there
        is none."""
        done, _ = self._standing(actor)
        return self._actions[actor][done[-1]][::-1] if done else []

    def redoable(self, actor: str) -> list[Event]:
        """The actor's last undo, if nothing was decided since; to redo, compensate it as an undo does."""
        _, taken = self._standing(actor)
        return self._actions[actor][taken[-1]][::-1] if taken else []

    def _standing(self, actor: str) -> tuple[list[str], list[str]]:
        """Actions that stand (decisions and redos), and undos that a redo would compensate, in order."""
        done: list[str] = []
        taken: list[str] = []
        for action, events in self._actions.get(actor, {}).items():
            undoes = events[0].undoes
            if undoes is None:
                done.append(action)
                taken.clear()
            elif done and undoes == done[-1]:
                done.pop()
                taken.append(action)
            elif taken and undoes == taken[-1]:
                taken.pop()
                done.append(action)
        return done, taken
