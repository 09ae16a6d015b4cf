"""The review of an audit as it is stored, for those who only read it or add to it once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review, Store


class Stored(NamedTuple):
    """A review, its log where there is one, and why that did not verify."""

    review: Review
    log: Store | None
    doubt: str = ""


@contextmanager
def stored_review(
    items: Items, place: str | Path, *, new: bool = False, unverified: bool = False
) -> Iterator[Stored]:
    """The review of an audit and its log, which is at ``place``; without one that is there, none is made
    unless it is ``new``.

    Raises:
        InputError: the log does not verify, and ``unverified`` does not say to go on.
        StoreUnavailable: it cannot be reached.
    """
    if isinstance(place, Path) and not place.exists() and not new:
        yield Stored(Review(items.run), None)
        return
    from swaypoint.review.log.anchors import check_log  # which need the extra
    from swaypoint.review.log.store import open_store

    log = open_store(place)
    try:
        doubt = ""
        try:
            check_log(log)
        except InputError as error:
            if not unverified:
                raise
            doubt = str(error)
        yield Stored(Review(items.run, log.since(items.run)), log, doubt)
    finally:
        log.close()
