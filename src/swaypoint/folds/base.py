"""A fold: one statistic a shard, in the order of the shards."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from torch import Tensor

Shard = TypeVar("Shard")
Statistic = dict[str, Tensor]
"""What is learned of a shard: named tensors, so that it can be kept and sent."""


class Fold(ABC):
    """Where the shards of a dataset are worked on.

    Whatever the number of workers, statistics arrive in the order of the shards, so that sums of them
    are the same to the last bit.
    """

    @abstractmethod
    def map(
        self, name: str, function: Callable[[Shard], Statistic], shards: Sequence[Shard]
    ) -> Iterator[Statistic]:
        """``function`` of every shard, in order.

        Args:
            name: of the pass, unique in one run.
        """


def total(statistics: Iterable[Statistic]) -> Statistic | None:
    """Their sum by name, added in order; None when all are empty."""
    result: Statistic | None = None
    for statistic in filter(None, statistics):
        result = statistic if result is None else {k: result[k] + value for k, value in statistic.items()}
    return result
