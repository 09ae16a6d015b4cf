"""A fold that a run can be killed in: what is done of a shard is on disk before the next begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from swaypoint.folder import write_tensors
from swaypoint.folds.base import Fold, Shard, Statistic
from swaypoint.folds.in_process import InProcess


class Durable(Fold):
    """Each shard's statistic as ``folder/<name>-<number>.safetensors``; one that is there is not made anew.

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
        self._folder, self._key = folder, key
        self._inner = inner or InProcess()
        self._on_shard = on_shard or (lambda name, done, of: None)
        folder.mkdir(parents=True, exist_ok=True)

    def map(
        self, name: str, function: Callable[[Shard], Statistic], shards: Sequence[Shard]
    ) -> Iterator[Statistic]:
        def durable(numbered: tuple[int, Shard]) -> Statistic:
            number, shard = numbered
            path = self._folder / f"{name}-{number:05d}.safetensors"
            statistic = self._read(path)
            if statistic is None:
                statistic = function(shard)
                write_tensors(path, statistic, key=self._key)
            return statistic

        for done, statistic in enumerate(self._inner.map(name, durable, list(enumerate(shards))), 1):
            self._on_shard(name, done, len(shards))
            yield statistic

    def _read(self, path: Path) -> Statistic | None:
        from safetensors import SafetensorError, safe_open

        if not path.is_file():
            return None
        try:
            with safe_open(path, "pt") as file:
                if (file.metadata() or {}).get("key") != self._key:
                    return None
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError:  # not ours: ours are whole or not there
            return None
