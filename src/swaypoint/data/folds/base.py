"""A fold: one statistic a shard, and their sum, in an order that no number of workers changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

from swaypoint.data.parallel import one_core

Shard = TypeVar("Shard")
Item = TypeVar("Item")
Statistic = dict[str, Tensor]
"""What is learned of a shard: named tensors, so that it can be kept and sent."""


class Fold(ABC):
    """Where the shards of a dataset are worked on.

    Whatever the number of workers, statistics arrive in the order of the shards and are added in the
    order of :func:`pairwise`, so that results are the same to the last bit.
    """

    @abstractmethod
    def map(
        self, name: str, function: Callable[[Shard], Statistic], shards: Sequence[Shard]
    ) -> Iterator[Statistic]:
        """``function`` of every shard, in order.

        Args:
            name: of the pass, unique in one run.
        """

    @abstractmethod
    def total(
        self,
        name: str,
        function: Callable[[Shard], Statistic],
        shards: Sequence[Shard],
        *,
        on_shard: Callable[[], None] = lambda: None,
    ) -> Statistic | None:
        """The sum by name of ``function`` of every shard, by :func:`pairwise`; None when all are empty.

        Args:
            on_shard: called here, once for every shard that is done.
        """


def added(one: Statistic, other: Statistic) -> Statistic:
    """The sum by name of two; an empty one adds nothing."""
    if not one or not other:
        return one or other
    with one_core():  # others may still be at work
        return {name: value + other[name] for name, value in one.items()}


def pairwise(items: Iterable[Item], add: Callable[[Item, Item], Item]) -> Item | None:
    """The sum of ``items`` by a tree whose shape their number alone decides; None of nothing.

    Neighbours are added, then neighbouring pairs, and so on: the sum can be made by many workers at once,
    rounding grows with the logarithm of the number of items (Higham, 1993), and no more than that
    logarithm of partial sums is held.

    >>> pairwise("abcdefg", lambda one, other: f"({one}{other})")
    '(((ab)(cd))((ef)g))'
    """
    partial: list[Item | None] = []
    for item in items:
        level = 0
        while level < len(partial) and (left := partial[level]) is not None:
            item, partial[level] = add(left, item), None
            level += 1
        partial += [None] * (level + 1 - len(partial))
        partial[level] = item
    result: Item | None = None
    for left in partial:
        if left is not None:
            result = left if result is None else add(left, result)
    return result


def total(statistics: Iterable[Statistic]) -> Statistic | None:
    """Their sum by name, added one after the other; None when all are empty."""
    result: Statistic = {}
    for statistic in statistics:
        result = added(result, statistic)
    return result or None
