"""The saved views of a review: what a reviewer sees of them, and who may change which."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from swaypoint.errors import InputError
from swaypoint.review.log.sessions import Session, same_name
from swaypoint.review.log.views import PAGES, SavedView
from swaypoint.review.page.desk import Desk
from swaypoint.review.page.query import QUEUE, Query, check_blind
from swaypoint.review.page.security import reviewer_name

_LONGEST = 3000


@dataclass(frozen=True)
class Row:
    """A saved view, and its ``address``.

    Attributes:
        mine: the reviewer may delete it.
        reviewers: to whom it is assigned.
        points, left: of one that is assigned how many there are, and how many wait; None where that is not
            known, as of others' work in a blind review.
    """

    id: str
    name: str
    address: str
    by: str
    mine: bool
    reviewers: tuple[str, ...]
    points: int | None = None
    left: int | None = None


@dataclass(frozen=True)
class ViewsPage:
    """All saved views that a reviewer sees; who runs the review may assign them, to ``known`` reviewers or to
    others."""

    rows: tuple[Row, ...]
    known: tuple[str, ...]


class Forbidden(Exception):
    """Only somebody else may do that."""


def seen(desk: Desk, session: Session) -> tuple[Row, ...]:
    """Those that there are for the reviewer of ``session``. In a blind review what others looked for would
    tell what they found: there it is their own, and those that they were given to work through."""
    desk.views.catch_up()
    given, me = desk.views.assigned(session.reviewer), same_name(session.reviewer)
    rows = []
    for one in desk.views.all():
        own, query = one.by == session.reviewer, _query(desk, one)
        if query is None or (desk.blind and not (own or one in given or session.owner)):
            continue
        address = f"/{one.page}?{query.address()}"
        hidden = desk.blind and not session.owner
        names = tuple(name for name in one.reviewers if not hidden or same_name(name) == me)
        rows.append(Row(one.id, one.name, address, one.by, own or session.owner, names))
    return tuple(rows)


def _query(desk: Desk, view: SavedView) -> Query | None:
    """None of one that this version, or a blind review, does not show."""
    try:
        query = Query.read(view.query)
        if desk.blind:
            check_blind(query, desk.items)
    except InputError:
        return None
    return query


def views_page(desk: Desk, session: Session) -> ViewsPage:
    """With how far those are that are assigned."""
    rows = seen(desk, session)
    given = {one.id for one in desk.views.assigned(session.reviewer)}
    rows = tuple(
        _counted(desk, row, session) if row.reviewers and (row.id in given or not desk.blind) else row
        for row in rows
    )
    return ViewsPage(rows, tuple(sorted(desk.reviewers())) if session.owner else ())


def _counted(desk: Desk, row: Row, session: Session) -> Row:
    query = desk.slice(desk.views.find(row.id), session.reviewer)
    if query is None:
        return row
    with desk.reading(session.reviewer):
        left = desk.view(query, session.reviewer)
        points = desk.view(replace(query, status="all"), session.reviewer)
    return replace(row, points=len(points), left=len(left))


def start(desk: Desk, session: Session) -> str:
    """Where the reviewer goes on: in the first of the views assigned to them in which a point waits, else in
    the queue."""
    desk.views.catch_up()
    for one in desk.views.assigned(session.reviewer):
        query = desk.slice(one, session.reviewer)
        if query is None:
            continue
        with desk.reading(session.reviewer):
            view = desk.view(query, session.reviewer)
            if desk.first_waiting(view, session.reviewer) is not None:
                return f"/item?{query.address()}"
    return f"/item?{QUEUE.address()}"


def perform(desk: Desk, session: Session, sent: dict[str, Any]) -> None:
    """What the page sends: ``do`` is save, delete, assign or release.

    Raises:
        InputError: it makes no sense.
        Forbidden: it is somebody else's.
        StoreUnavailable: it was not kept.
    """
    try:
        id, do = str(UUID(sent["id"])), sent["do"]
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError("what was sent makes no sense: it needs an id, a UUID, and what to do") from None
    if do == "save":
        desk.views.save(_new(desk, session, sent, id))
        return
    if do not in ("delete", "assign", "release"):
        raise InputError(f"do is {do!r}; expected save, delete, assign or release")
    if do != "delete" and not session.owner:
        raise Forbidden("Only who runs the review assigns views.")
    view = desk.views.find(str(sent.get("view", "")))
    if do == "delete":
        if view.by != session.reviewer and not session.owner:
            raise Forbidden(f"{view.name} is {view.by}'s view: they can delete it, or who runs the review.")
        desk.views.delete(view, session.reviewer, id)
        return
    reviewer = reviewer_name(str(sent.get("reviewer", "")))
    if not reviewer:
        raise InputError("a reviewer's name has at least one letter")
    if do == "release":
        desk.views.release(view, reviewer, session.reviewer, id)
        return
    if desk.slice(view, session.reviewer) is None:
        raise InputError(
            f"{view.name} cannot be worked through: assign a view of points that are to be judged, not one"
            " of verdicts"
        )
    desk.views.assign(view, reviewer, session.reviewer, id)


def _new(desk: Desk, session: Session, sent: dict[str, Any], id: str) -> SavedView:
    name, page, query = reviewer_name(str(sent.get("name", ""))), sent.get("page"), sent.get("query")
    if not name:
        raise InputError("a view has a name of at least one letter")
    if page not in PAGES or not isinstance(query, str):
        raise InputError("a view is a page and its filters")
    parsed = Query.read(query)
    if len(parsed.address()) > _LONGEST:
        raise InputError("the filters of this view are too long to be saved; draw a lasso of fewer corners")
    desk.view(parsed, session.reviewer)  # it says what is not there
    return SavedView(id, name, page, parsed.address(), session.reviewer)
