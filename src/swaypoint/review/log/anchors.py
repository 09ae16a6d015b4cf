"""Anchors: how far a log was and its digest there, given to others, so that it can be shown what it held.

A chain of digests shows a change in its middle. That its end was cut off, or that all of it was written anew,
shows only to somebody who kept a digest elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from swaypoint.errors import InputError, reading
from swaypoint.folder.writing import write_text
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
    """Add ``last`` to the ``anchors`` that ``file`` has, unless it is the last of them."""
    if anchors and anchors[-1] == last:
        return
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    at = datetime.now(UTC).isoformat(timespec="seconds")
    write_text(file, f"{before}{last.seq} {last.digest} {at}\n")
