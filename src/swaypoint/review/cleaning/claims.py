"""Verdicts as other tools and files hold them, brought to decisions on an audit's points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from swaypoint.errors import InputError
from swaypoint.review.cleaning.policy import label_value
from swaypoint.review.cleaning.records import label_name
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import VERDICTS, Decision


@dataclass(frozen=True)
class Claim:
    """``actor`` decided so on ``item``; ``stamp`` is what the file says of when, "" where nothing."""

    item: str
    actor: str
    decision: Decision
    stamp: str = ""


def point(items: Items, item: str, where: str) -> int:
    """The position of the point ``item``; ``where`` is the file and its row.

    Raises:
        InputError: there is no such point.
    """
    position = items.position(item)
    if position is None:
        raise InputError(
            f"{where}: {item!r} is no point of {items.folder.path}; import into the audit that the"
            " file was exported from"
        )
    return position


def class_name(items: Items, label: str, where: str) -> str:
    """``label``, being one of the audit's.

    Raises:
        InputError: it is not.
    """
    return label_name(items, label_value(items, label, where))


def decided(
    items: Items, position: int, label: str | None, verdict: str | None, note: str, where: str
) -> Decision | None:
    """What a tool means that has a label and perhaps a verdict: an explicit verdict counts, the label goes
    with ``mislabeled`` only; without one, another label than the given says mislabeled. None: nothing.

    Raises:
        InputError: no such class, no such verdict, or a note too long.
    """
    if label is not None:
        label = class_name(items, label, where)
    given = label_name(items, items.scores["label"][position])
    other = label if label != given else None
    if verdict is None and other is not None:
        verdict = "mislabeled"
    if verdict is None:
        return None
    return decision(verdict, other if verdict == "mislabeled" else None, note, where)


def decision(verdict: str, label: str | None, note: str, where: str) -> Decision:
    """As :class:`Decision`, which says itself what is wrong; ``where`` says where.

    Raises:
        InputError: as :class:`Decision`.
    """
    try:
        return Decision(verdict, label, note)  # type: ignore[arg-type]  # checked there
    except InputError as error:
        raise InputError(f"{where}: {error}") from error


def is_verdict(text: str) -> bool:
    return text in VERDICTS


def actor(*names: str | None, where: str) -> str:
    """The first name that is there.

    Raises:
        InputError: none is.
    """
    for name in names:
        if name is not None and name.strip():
            return name.strip()
    raise InputError(f"{where}: it names no reviewer; say who it was with --reviewer NAME")


def read_text(path: Path) -> str:
    """Of a file in UTF-8.

    Raises:
        InputError: there is none, or it is none.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a file")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text; export it again") from error
