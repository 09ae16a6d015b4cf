"""Who came in, by whose invitation, and until when: sessions, kept in the log of verdicts.

Each is an item of a run of its own beside the review's, so that what happens to it is as durable, and as hard
to change unseen, as a verdict. An event says by ``action`` what happened, by ``actor`` to whom, and by
``undoes`` who else had a part in it: who invited, or who revoked.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, replace
from uuid import uuid4

from swaypoint.review.log.beside import Beside
from swaypoint.review.log.verdicts import Event, Store

OPENED, OWNED, CLOSED, REVOKED = "opened", "opened as owner", "closed", "revoked"


@dataclass(frozen=True)
class Session:
    """One browser of one reviewer.

    Attributes:
        reviewer: empty until a name was given; it is in the log only then.
        owner: of who runs the review, and may take any name.
        by: who invited; empty: the command line, or the password.
        opened, ended: UTC time (ISO 8601), empty: not yet.
        end: :data:`CLOSED` or :data:`REVOKED`.
    """

    id: str
    reviewer: str = ""
    owner: bool = False
    by: str = ""
    opened: str = ""
    ended: str = ""
    end: str = ""


def same_name(name: str) -> str:
    """What two names share that a reader would take for one.

    >>> same_name("ADA") == same_name("ａｄａ") == same_name("ada")
    True
    """
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


class Sessions(Beside):
    """The sessions of a review as its log has them, followed."""

    def __init__(self, store: Store, run: str) -> None:
        self._known: dict[str, Session] = {}
        self._names: set[str] = set()
        super().__init__(store, run, "sessions")

    def _apply(self, event: Event) -> None:
        before = self._known.get(event.item, Session(event.item))
        if event.action in (CLOSED, REVOKED):
            self._known[event.item] = replace(before, ended=event.at, end=event.action)
        elif not before.ended:
            opened, owner = before.opened or event.at, event.action == OWNED
            self._known[event.item] = Session(event.item, event.actor, owner, event.undoes or "", opened)
            self._names.add(same_name(event.actor))

    def named(self, name: str) -> bool:
        """Somebody came in under it, or one like it."""
        return same_name(name) in self._names

    def find(self, identity: str) -> Session | None:
        """As far as followed; None: never opened."""
        return self._known.get(identity)

    def all(self) -> list[Session]:
        """In the order in which they were opened."""
        return list(self._known.values())

    def open(self, session: Session) -> None:
        """It has a name now, or, of the owner, another."""
        self._happened(session, OWNED if session.owner else OPENED, session.by)

    def end(self, session: Session, how: str, by: str = "") -> None:
        """It was :data:`CLOSED`, or :data:`REVOKED` by somebody."""
        self._happened(session, how, by)

    def _happened(self, session: Session, action: str, by: str) -> None:
        self._add([Event(str(uuid4()), self.run, session.id, session.reviewer, None, action, by or None)])
