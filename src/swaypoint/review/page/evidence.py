"""What is beside a point: its neighbours, what taught the model its label, why it stands where it does."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from swaypoint.review.items import Items, Related
from swaypoint.review.page.reasons import Reason, reasons

_KEPT, _CANDIDATES = 64, 2


class Evidence(NamedTuple):
    """What is beside a point.

    Attributes:
        neighbours, proponents, opponents: see :class:`~swaypoint.review.items.Items`.
        candidates: of the point's class and the two likeliest others, by name, the nearest points that carry
            it and that the model agrees on; empty without classes, and in a blind review.
        reasons: why it stands where it does.
    """

    neighbours: Related
    proponents: Related
    opponents: Related
    candidates: Mapping[str, Related]
    reasons: tuple[Reason, ...]


class Sought:
    """Evidence of points: it costs passes over all features and scores, and is kept for a while.

    Args:
        blind: without what would tell the model's opinion.
    """

    def __init__(self, items: Items, *, blind: bool) -> None:
        self._items, self._blind = items, blind
        self._kept: dict[int, Evidence] = {}
        self._first = threading.Lock()

    def of(self, position: int) -> Evidence:
        known = self._kept.pop(position, None)
        if known is None and not self._kept:
            with self._first:  # what all of them need is made by the first, once
                known = self._kept.get(position) or self._seek(position)
        self._kept[position] = known = known or self._seek(position)
        while len(self._kept) > _KEPT:
            with suppress(KeyError, RuntimeError):  # another thread was faster
                del self._kept[next(iter(self._kept))]
        return known

    def _seek(self, position: int) -> Evidence:
        items, away = self._items, self._items.distances(position)  # one pass for neighbours and candidates
        near, candidates = items.neighbours(position, away=away), self._candidates(position, away)
        supports, contradicts = items.influences(position)
        why = reasons(items, position, near, hidden=self._blind)
        return Evidence(near, supports, contradicts, candidates, why)

    def _candidates(self, position: int, away: np.ndarray) -> dict[str, Related]:
        if self._blind or not self._items.classes:
            return {}
        given = self._items.label(position)
        likely = [one.label for one in self._items.suggestions(position, 1 + _CANDIDATES)]
        names = [given, *[name for name in likely if name != given][:_CANDIDATES]]
        return dict(zip(names, self._items.examples(position, names, away=away), strict=True))
