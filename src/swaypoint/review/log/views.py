"""Saved views: queries with a name, kept in the log of verdicts, and who is to work through them.

An event's ``item`` is the view's id and ``action`` what happened to it; ``text`` is the view as JSON, or the
reviewer to whom it is assigned.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from swaypoint.errors import InputError
from swaypoint.review.log.beside import Beside
from swaypoint.review.log.sessions import same_name
from swaypoint.review.log.verdicts import Event, Store

_SAVED, _DELETED, _ASSIGNED, _RELEASED = "saved", "deleted", "assigned", "released"
PAGES = ("item", "gallery", "map")
MOST_VIEWS, MOST_REVIEWERS = 200, 50


@dataclass(frozen=True)
class SavedView:
    """A query with a name.

    Attributes:
        id: the same as long as it is there, whatever it is changed to.
        page: of :data:`PAGES`, the one it opens.
        query: its address, see :meth:`swaypoint.review.page.query.Query.address`.
        by: who saved it.
        at: when, UTC time (ISO 8601).
        reviewers: those who are to work through it.
    """

    id: str
    name: str
    page: str
    query: str
    by: str
    at: str = ""
    reviewers: tuple[str, ...] = ()


class Views(Beside):
    """The saved views of a review as its log has them, followed; see :class:`Beside` for what is raised."""

    def __init__(self, store: Store, run: str) -> None:
        self._known: dict[str, SavedView] = {}
        super().__init__(store, run, "views")

    def _apply(self, event: Event) -> None:
        before = self._known.get(event.item)
        if event.action == _SAVED:
            fresh = _read(event)
            if fresh is not None:
                reviewers = () if before is None else before.reviewers
                self._known[event.item] = replace(fresh, reviewers=reviewers)
        elif before is None:
            pass  # deleted by somebody else just before
        elif event.action == _DELETED:
            del self._known[event.item]
        else:
            others = tuple(name for name in before.reviewers if same_name(name) != same_name(event.text))
            reviewers = (*others, event.text) if event.action == _ASSIGNED else others
            self._known[event.item] = replace(before, reviewers=reviewers)

    def all(self) -> list[SavedView]:
        """In the order in which they were first saved."""
        with self._lock:
            return list(self._known.values())

    def find(self, view: str) -> SavedView:
        """Raises:
        InputError: there is none.
        """
        found = next((one for one in self.all() if one.id == view), None)
        if found is None:
            raise InputError("that view is not there any more")
        return found

    def assigned(self, reviewer: str) -> list[SavedView]:
        """Those that ``reviewer`` is to work through."""
        return [one for one in self.all() if same_name(reviewer) in map(same_name, one.reviewers)]

    def save(self, view: SavedView) -> None:
        """Under its name: one that its maker has saved under the same is changed.

        Raises:
            InputError: there are too many, or the query is too long.
        """
        self.follow()
        known = self.all()
        same = [one.id for one in known if one.by == view.by and same_name(one.name) == same_name(view.name)]
        if not same and len(known) >= MOST_VIEWS:
            raise InputError(f"there are {MOST_VIEWS} saved views, which is all there can be; delete some")
        text = json.dumps({"name": view.name, "page": view.page, "query": view.query}, ensure_ascii=False)
        self._happened(view.id, same[0] if same else view.id, view.by, _SAVED, text)

    def delete(self, view: SavedView, actor: str, id: str) -> None:
        self._happened(id, view.id, actor, _DELETED)

    def assign(self, view: SavedView, reviewer: str, actor: str, id: str) -> None:
        """Raises:
        InputError: it has too many reviewers.
        """
        if len(view.reviewers) >= MOST_REVIEWERS:
            raise InputError(f"at most {MOST_REVIEWERS} reviewers work through one view; save another")
        self._happened(id, view.id, actor, _ASSIGNED, reviewer)

    def release(self, view: SavedView, reviewer: str, actor: str, id: str) -> None:
        """``reviewer`` is not to work through it any more."""
        self._happened(id, view.id, actor, _RELEASED, reviewer)

    def _happened(self, id: str, view: str, actor: str, action: str, text: str = "") -> None:
        self._add([Event(id, self.run, view, actor, None, action, text=text)])


def _read(event: Event) -> SavedView | None:
    """None of one that no swaypoint wrote."""
    try:
        said = json.loads(event.text)
        name, page, query = (said[key] for key in ("name", "page", "query"))
    except (ValueError, KeyError, TypeError):
        return None
    if page not in PAGES or not (isinstance(name, str) and isinstance(query, str)):
        return None
    return SavedView(event.item, name, page, query, event.actor, event.at)
