"""Anchors: how far a log was and its digest there, given to others, so that it can be shown what it held.

A chain of digests shows a change in its middle. That its end was cut off, or that all of it was written anew,
shows only to somebody who kept a digest elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from swaypoint.errors import InputError, reading
from swaypoint.folder.writing import write_text
from swaypoint.review.log.store import SqlStore
from swaypoint.review.log.verdicts import Anchor

_LINE = re.compile(r"(\d+) ([0-9a-f]{64}) \S+")


def read_anchors(file: Path) -> list[Anchor]:
    """The anchors of ``file``, a line each: number of the event, digest, time.

    Raises:
        InputError: the file cannot be read, or a line is no anchor.
    """
    with reading(file, "a file of anchors", "give the one that swaypoint verify --anchor wrote"):
        lines = file.read_text(encoding="utf-8").splitlines()
    found = [_LINE.fullmatch(line) for line in lines]
    for number, match in enumerate(found, start=1):
        if match is None:
            raise InputError(f"{file}, line {number}: no anchor; give the file as swaypoint verify wrote it")
    return [Anchor(int(match[1]), match[2]) for match in found if match is not None]


def write_anchors(file: Path, anchors: Sequence[Anchor], last: Anchor) -> None:
    """Add ``last`` to the ``anchors`` that ``file`` has, unless it is their last, or of an empty log."""
    if not last.seq or (anchors and anchors[-1] == last):
        return
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(file, f"{before}{last.seq} {last.digest} {at}\n")


def check_log(log: SqlStore, others: Sequence[Anchor] = ()) -> Anchor:
    """Where the log ends, if it is as it was written, and as it was at ``others`` and when this user last
    checked it; how far it is now is kept with the user's keys.

    Raises:
        InputError: it is not; see :meth:`SqlStore.verify`.
        StoreUnavailable: the database cannot be reached.
    """
    if log.keys is None:
        return log.verify(others)
    file = log.keys.anchors(log.name)
    known = read_anchors(file) if file.exists() else []
    try:
        last = log.verify([*others, *known])
    except InputError as error:
        if not known or "anchored" not in str(error):
            raise
        raise InputError(f"{error}; if you began it anew yourself, remove {file}") from error
    with suppress(OSError):  # a disk that is full does not make the log wrong
        write_anchors(file, known, last)
    return last
