"""Whether reviewers saw what the model holds of a point when they judged it: the log says how each server of
the review was started."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable
from uuid import uuid4

from swaypoint.review.log.beside import Beside
from swaypoint.review.log.verdicts import Event, Store

BLIND, OPEN = "served blind", "served"
_SERVER = "server"


class Servings(Beside):
    """The starts of a review's servers as its log has them, followed."""

    def __init__(self, store: Store, run: str) -> None:
        self._starts: list[tuple[int, str]] = []
        super().__init__(store, run, "servings")

    def _apply(self, event: Event) -> None:
        self._starts.append((event.seq, event.action))

    def begin(self, *, blind: bool) -> None:
        """A server starts now."""
        self._add([Event(str(uuid4()), self.run, _SERVER, _SERVER, None, BLIND if blind else OPEN)])

    def shown(self, events: Iterable[Event], *, played: Collection[str] = ()) -> dict[str, int]:
        """Verdicts among ``events`` by how the server was started that began last before each was kept:
        :data:`BLIND`, :data:`OPEN`, or empty: not given on a page, or the log of that time does not say. Of
        servers that run at once, one blind and one not, the later start counts.

        Args:
            played: reviewers who are no people, and saw no page.
        """
        found = {BLIND: 0, OPEN: 0, "": 0}
        starts = [seq for seq, _ in self._starts]
        for event in events:
            if event.decision is None:
                continue
            before = bisect_right(starts, event.seq)
            # What the page undoes or redoes has no way, but says what it undoes; an import has neither.
            on_page = before and (event.way or event.undoes) and event.actor not in played
            how = self._starts[before - 1][1] if on_page else ""
            found[how if how in found else ""] += 1
        return found
