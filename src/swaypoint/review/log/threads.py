"""What reviewers say to each other of a point, beside their verdicts: comments, questions and answers, in the
log of verdicts, a thread a point.

An event's ``item`` is the point, ``action`` one of :data:`KINDS`, and ``undoes`` of an answer the question.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from swaypoint.errors import InputError
from swaypoint.review.log.beside import Beside
from swaypoint.review.log.verdicts import Event, Store

Kind = Literal["comment", "question", "answer"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LONGEST, MOST, MOST_OF_ALL = 2000, 100, 50_000
"""Characters of a remark; remarks on a point, and in all."""
_SAYS = {"comment": "says", "question": "asks", "answer": "answers"}


@dataclass(frozen=True)
class Remark:
    """One of a thread.

    Attributes:
        item: id of the point.
        to: of an answer the id of its question.
        at: UTC time (ISO 8601).
    """

    id: str
    item: str
    actor: str
    kind: Kind
    text: str
    to: str = ""
    at: str = ""

    def __str__(self) -> str:
        return f"{self.actor} {_SAYS[self.kind]}: {self.text}"


class Threads(Beside):
    """The remarks of a review as its log has them, followed; see :class:`Beside` for what is raised."""

    def __init__(self, store: Store, run: str) -> None:
        self._on: dict[str, list[Remark]] = {}
        self._questions: dict[str, Remark] = {}
        self._answers: dict[str, list[Remark]] = {}
        self._count = 0
        super().__init__(store, run, "threads")

    def _apply(self, event: Event) -> None:
        kind = next((one for one in KINDS if one == event.action), None)
        if kind is None or not event.text:
            return  # no swaypoint wrote it
        remark = Remark(event.id, event.item, event.actor, kind, event.text, event.undoes or "", event.at)
        self._on.setdefault(event.item, []).append(remark)
        self._count += 1
        if kind == "question":
            self._questions[remark.id] = remark
        if kind == "answer":
            self._answers.setdefault(remark.to, []).append(remark)

    def on(self, item: str) -> tuple[Remark, ...]:
        """In the order in which they were said."""
        with self._lock:
            return tuple(self._on.get(item, ()))

    def questions(self) -> list[Remark]:
        """All, in their order."""
        with self._lock:
            return list(self._questions.values())

    def question(self, id: str) -> Remark | None:
        return self._questions.get(id)

    def answers(self, question: str) -> tuple[Remark, ...]:
        with self._lock:
            return tuple(self._answers.get(question, ()))

    def in_words(self) -> dict[str, str]:
        """By item, a line a remark."""
        with self._lock:
            return {item: "\n".join(map(str, said)) for item, said in self._on.items()}

    def say(self, remark: Remark) -> None:
        """Raises:
        InputError: it says nothing, or too much; too many were made; it answers no question of the point.
        """
        if not remark.text.strip() or len(remark.text) > LONGEST:
            raise InputError(f"the text has {len(remark.text):,} characters; expected 1 to {LONGEST:,}")
        if len(self.on(remark.item)) >= MOST or self._count >= MOST_OF_ALL:
            raise InputError(f"there are {MOST} remarks on the point, or {MOST_OF_ALL:,} in all: no more fit")
        asked = self.question(remark.to)
        if remark.kind == "answer" and (asked is None or asked.item != remark.item):
            raise InputError("an answer is one to a question on the same point")
        told = (remark.id, self.run, remark.item, remark.actor, None, remark.kind, remark.to or None)
        self._add([Event(*told, text=remark.text)])
