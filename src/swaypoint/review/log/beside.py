"""What a review's log holds beside its verdicts, each kind in a run of its own: as durable as a verdict is,
and as hard to change unseen."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

from swaypoint.review.log.verdicts import Event, Store, StoreUnavailable

_RECENT_SECONDS = 1.0


class Beside(ABC):
    """The events of the run ``RUN:NAME``, folded and followed.

    Attributes:
        seq: the last one known.

    Raises:
        StoreUnavailable: the log cannot be read or written just now; of every method that does.
    """

    def __init__(self, store: Store, run: str, name: str) -> None:
        self.run = f"{run}:{name}"
        self._store, self.seq = store, 0
        self._lock = threading.Lock()
        self._followed = 0.0
        self.follow()

    def follow(self) -> None:
        """Take in what happened since, also through other servers and the command line."""
        self._followed = monotonic()
        with self._lock:
            for event in self._store.since(self.run, self.seq):
                self.seq = event.seq
                self._apply(event)

    @property
    def stale(self) -> bool:
        """What happened elsewhere is not known for a second or more."""
        return monotonic() - self._followed >= _RECENT_SECONDS

    def catch_up(self) -> None:
        """:meth:`follow` if :attr:`stale`; where the log cannot be read just now, what is known stays."""
        if self.stale:
            with suppress(StoreUnavailable):
                self.follow()

    @abstractmethod
    def _apply(self, event: Event) -> None:
        """``event`` is the next."""

    def _add(self, events: Sequence[Event]) -> list[Event]:
        """Keep them for good; as stored."""
        stored = self._store.append(events)
        self.follow()
        return stored
