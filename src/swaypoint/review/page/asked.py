"""Remarks on points as the page shows them: a thread a point, and all questions for who runs the review."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from swaypoint.errors import InputError
from swaypoint.review.log.sessions import Session
from swaypoint.review.log.threads import KINDS, Remark
from swaypoint.review.page.desk import Desk

_SHOWN = 200


@dataclass(frozen=True)
class Asked:
    """A question, the point that it is on, and what was answered."""

    question: Remark
    label: str
    picture: bool
    answers: tuple[Remark, ...]


@dataclass(frozen=True)
class QuestionsPage:
    """Questions that a reviewer sees, those without an answer first and of these the oldest, else the newest;
    ``more`` are not shown."""

    asked: tuple[Asked, ...]
    waiting: int
    more: int


def questions_page(desk: Desk, session: Session) -> QuestionsPage:
    found = _questions(desk, session)
    waiting = [one for one in found if not desk.threads.answers(one.id)]
    answered = [one for one in found if desk.threads.answers(one.id)][::-1]
    chosen = (waiting + answered)[:_SHOWN]
    return QuestionsPage(tuple(_asked(desk, one) for one in chosen), len(waiting), len(found) - len(chosen))


def waiting(desk: Desk, session: Session) -> int:
    """How many questions that the reviewer sees have no answer."""
    return sum(not desk.threads.answers(one.id) for one in _questions(desk, session))


def _questions(desk: Desk, session: Session) -> list[Remark]:
    """On points that there are; in a blind review one's own, and all for who runs it and is to answer."""
    desk.threads.catch_up()
    return [
        one
        for one in desk.threads.questions()
        if desk.items.position(one.item) is not None
        and (session.owner or not desk.blind or one.actor == session.reviewer)
    ]


def _asked(desk: Desk, question: Remark) -> Asked:
    position = desk.items.position(question.item)
    assert position is not None
    label = desk.items.label(position)
    return Asked(question, label, desk.items.pictured, desk.threads.answers(question.id))


def say(desk: Desk, session: Session, sent: dict[str, Any]) -> None:
    """What the page sends: a remark.

    Raises:
        InputError: it makes no sense, or is too long.
        StoreUnavailable: it was not kept.
    """
    try:
        id, item, kind, text = str(UUID(sent["id"])), sent["item"], sent["kind"], sent["text"]
    except (KeyError, ValueError, TypeError, AttributeError):
        raise InputError("a remark has an id (a UUID), an item, a kind and a text") from None
    if kind not in KINDS or not isinstance(text, str):
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(KINDS)}, with a text")
    if not isinstance(item, str) or desk.items.position(item) is None:
        raise InputError(f"there is no point {item!r} in this audit")
    to = str(sent.get("to", "")) if kind == "answer" else ""
    if to and to not in [one.id for one in _questions(desk, session)]:
        raise InputError("an answer is one to a question on the same point")
    desk.threads.say(Remark(id, item, session.reviewer, kind, text.strip(), to))
