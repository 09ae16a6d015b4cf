"""The default fold: this process, one thread a core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch

from swaypoint.data.folds.base import Fold, Shard, Statistic, added, pairwise
from swaypoint.data.parallel import ordered_map


class InProcess(Fold):
    """Shards side by side, each on one core; a single shard has all cores to itself."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)

    def map(
        self, name: str, function: Callable[[Shard], Statistic], shards: Sequence[Shard]
    ) -> Iterator[Statistic]:
        if len(shards) == 1:
            yield function(shards[0])
        else:
            yield from ordered_map(function, shards, self._device)

    def total(
        self,
        name: str,
        function: Callable[[Shard], Statistic],
        shards: Sequence[Shard],
        *,
        on_shard: Callable[[], None] = lambda: None,
    ) -> Statistic | None:
        def told() -> Iterator[Statistic]:
            for statistic in self.map(name, function, shards):
                on_shard()
                yield statistic

        return pairwise(told(), added) or None
