"""The random sample of a review: drawn once, by an event of the log, from what nobody had judged then."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np

from swaypoint.errors import InputError
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import DRAW, Event, Review


def draw(items: Items, actor: str, id: str) -> Event:
    """The event by which ``actor`` draws; a review has one draw, later ones count for nothing.

    It says of which ranking. The rest follows from the log: the population is what had no verdict before the
    event, the order is by the digest that the store gives it, which nobody can choose or know beforehand. So
    whoever has log and ranking can deal again, and see that nothing was left out.
    """
    return Event(id, items.run, ranking(items), actor, None, action=id, way=DRAW)


def dealt(items: Items, review: Review) -> np.ndarray:
    """Positions in the order in which they are dealt, all that nobody had judged at the draw, ``(m,)`` int64:
    by SHA-256 of the draw's digest and the point's id, so that every first part is a uniform sample.

    Raises:
        InputError: nothing was drawn yet, or the ranking is not the one of then.
    """
    event = review.drawn
    if event is None:
        raise InputError("no random sample was drawn in this review yet; draw it on the page of its progress")
    if event.item != ranking(items):
        raise InputError(
            f"the random sample was drawn from another ranking than that of {items.name} now: its scores or"
            " items were changed since; restore them"
        )
    return _dealt(items, event.digest, review.judged_before)


@lru_cache(maxsize=8)
def _dealt(items: Items, digest: str, judged: frozenset[str]) -> np.ndarray:
    left = np.array([p for p, item in enumerate(items.ids) if item not in judged], dtype=np.int64)
    keys = b"".join(hashlib.sha256(f"{digest}{items.ids[p]}".encode()).digest() for p in left.tolist())
    words = np.frombuffer(keys, dtype=">u8").reshape(-1, 4).astype(np.uint64)
    positions = left[np.lexsort(words.T[::-1])]
    positions.setflags(write=False)
    return positions


@lru_cache(maxsize=8)
def ranking(items: Items) -> str:
    """A digest of the ids in the order of the ranking."""
    order = np.argsort(items.scores["rank"], kind="stable").tolist()
    lines = "".join(f"{items.ids[position]}\n" for position in order)
    return f"ranking:{hashlib.sha256(lines.encode()).hexdigest()}"
