"""What a reviewer does, as the page sends it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal
from uuid import UUID

from swaypoint.errors import InputError
from swaypoint.review.log.verdicts import DRAW, Decision
from swaypoint.review.page.query import Query


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
        suggested: of ``decide-all`` with mislabeled: each point's own suggestion becomes its label.
        spare: of ``decide-all``: points that have a verdict keep it.
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
    spare: bool = False

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
                spare=value.get("spare") is True,
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
