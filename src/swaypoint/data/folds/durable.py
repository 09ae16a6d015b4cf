"""A fold that a run can be killed in: what is done of a shard is on disk before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic

from swaypoint.data.folds.base import Fold, Shard, Statistic
from swaypoint.data.folds.in_process import InProcess
from swaypoint.data.tensors import read_kept, write_tensors


class Durable(Fold):
    """Each shard's statistic as ``folder/<name>-<number>.safetensors``; one that is there is not made anew.

    Whoever works on a shard writes its file: it is kept although the one who asked for it may be gone by
    then, and it need not travel to be kept. Workers on other machines must therefore see ``folder`` under
    the same name; where they do not, results are right all the same, but a resumed run begins again.

    Args:
        folder: made where it is missing.
        key: of everything the statistics depend on; files of another key are made anew.
        inner: where the work runs.
        on_shard: called with the pass's name, the number of shards done and of all, after each.
    """

    def __init__(
        self,
        folder: Path,
        key: str,
        *,
        inner: Fold | None = None,
        on_shard: Callable[[str, int, int], None] | None = None,
    ) -> None:
        self._folder, self._key = folder.absolute(), key
        self._inner = inner or InProcess()
        self._on_shard = on_shard or (lambda name, done, of: None)
        folder.mkdir(parents=True, exist_ok=True)

    def map(
        self, name: str, function: Callable[[Shard], Statistic], shards: Sequence[Shard]
    ) -> Iterator[Statistic]:
        kept = _Kept(self._folder, self._key, name, function)
        for done, statistic in enumerate(self._inner.map(name, kept, list(enumerate(shards))), 1):
            self._on_shard(name, done, len(shards))
            yield statistic

    def total(
        self,
        name: str,
        function: Callable[[Shard], Statistic],
        shards: Sequence[Shard],
        *,
        on_shard: Callable[[], None] = lambda: None,
    ) -> Statistic | None:
        done = 0

        def told() -> None:
            nonlocal done
            done += 1
            self._on_shard(name, done, len(shards))
            on_shard()

        kept = _Kept(self._folder, self._key, name, function)
        return self._inner.total(name, kept, list(enumerate(shards)), on_shard=told)


@dataclass(frozen=True)
class _Kept(Generic[Shard]):
    """``function`` of a numbered shard, from the disk where it is there; it is sent to workers."""

    folder: Path
    key: str
    name: str
    function: Callable[[Shard], Statistic]

    def __call__(self, numbered: tuple[int, Shard]) -> Statistic:
        number, shard = numbered
        path = self.folder / f"{self.name}-{number:05d}.safetensors"
        statistic = read_kept(path, self.key)
        if statistic is None:
            statistic = self.function(shard)
            path.parent.mkdir(parents=True, exist_ok=True)  # of a machine that does not share the folder
            # As it will be read: those of a GPU and those from the disk are added up, and products round as
            # their factors lie in memory.
            statistic = {name: value.cpu().contiguous() for name, value in statistic.items()}
            write_tensors(path, statistic, key=self.key)
        return statistic
