"""Groups of records that are copies, exact or near, and which of each leave the dataset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Groups:
    """Records that are copies of each other.

    Attributes:
        of: ``(n,)`` int64, a number each that the records of a group share: of the same content or joined by
            pairs of near copies.
        content: ``(n,)`` int64, the same for exact copies alone.
        pairs: ``(p, 2)`` int64, contents that are near copies.
    """

    of: np.ndarray
    content: np.ndarray
    pairs: np.ndarray

    @classmethod
    def by(cls, contents: np.ndarray, pairs: np.ndarray | None = None) -> Groups:
        """Of ``contents`` (n,), equal where records are exact copies, and ``pairs`` (p, 2) of positions."""
        _, content = np.unique(contents, return_inverse=True)
        near = np.empty((0, 2), dtype=np.int64) if pairs is None else content[pairs]
        return cls(joined(int(content.max(initial=-1)) + 1, near)[content], content, near)

    @property
    def size(self) -> np.ndarray:
        """How many records are in the group of each, ``(n,)``."""
        return np.bincount(self.of)[self.of]

    @property
    def near(self) -> np.ndarray:
        """Which records have a near copy that is no exact one, ``(n,)`` bool."""
        return np.isin(self.content, self.pairs)

    def within(self, parts: np.ndarray) -> Groups:
        """The same of each of the ``parts`` (n,) alone."""
        _, part = np.unique(parts, return_inverse=True)
        contents, count = self.content * (part.max(initial=0) + 1) + part, part.max(initial=0) + 1
        first = {int(content): row for row, content in reversed(list(enumerate(contents.tolist())))}
        pairs = [
            (first[a * count + one], first[b * count + one])
            for a, b in self.pairs.tolist()
            for one in range(count)
            if a * count + one in first and b * count + one in first
        ]
        return Groups.by(contents, np.array(pairs, dtype=np.int64).reshape(-1, 2))

    def mixed(self, values: np.ndarray) -> np.ndarray:
        """Which records are in a group of more than one value, ``(n,)`` bool."""
        _, codes = np.unique(values, return_inverse=True)
        pairs = np.unique(np.stack([self.of, codes]), axis=1)
        return np.asarray(np.bincount(pairs[0], minlength=self.of.max(initial=-1) + 1)[self.of] > 1)

    def having(self, chosen: np.ndarray) -> np.ndarray:
        """Which records are exact copies of one of the ``chosen`` or near to one, ``(n,)`` bool."""
        there = np.zeros(self.content.max(initial=-1) + 1, dtype=bool)
        there[self.content[chosen]] = True
        beside = there.copy()
        for one, other in (self.pairs.T, self.pairs.T[::-1]):
            np.logical_or.at(beside, one, there[other])
        return np.asarray(beside[self.content])

    def count(self, chosen: np.ndarray) -> int:
        """Groups of the ``chosen`` records."""
        return len(np.unique(self.of[chosen]))

    def surplus(self, preferred: Iterable[int]) -> np.ndarray:
        """Records that leave for each to have no copy that stays: all of them but the most preferred that are
        not copies of each other, ``(m,)`` int64.

        Whoever leaves is the copy of one that stays: of a chain of near copies, whose ends are none of each
        other, both ends stay where they are preferred.

        Args:
            preferred: positions in the order in which they should rather stay; others stay anyway.
        """
        beside: dict[int, list[int]] = {}
        for one, other in self.pairs.tolist():
            beside.setdefault(one, []).append(other)
            beside.setdefault(other, []).append(one)
        staying: set[int] = set()
        leaving = []
        for position in preferred:
            content = int(self.content[position])
            if content in staying or not staying.isdisjoint(beside.get(content, ())):
                leaving.append(position)
            else:
                staying.add(content)
        return np.sort(np.array(leaving, dtype=np.int64))


def joined(n: int, pairs: np.ndarray) -> np.ndarray:
    """Connected components of n nodes: of each the smallest node that it is joined with by ``pairs`` (p, 2),
    however indirectly, ``(n,)`` int64."""
    of = np.arange(n)
    while True:
        least = np.minimum(of[pairs[:, 0]], of[pairs[:, 1]])
        new = of.copy()
        np.minimum.at(new, of[pairs[:, 0]], least)
        np.minimum.at(new, of[pairs[:, 1]], least)
        while (new != new[new]).any():
            new = new[new]
        if (new == of).all():
            return of
        of = new
