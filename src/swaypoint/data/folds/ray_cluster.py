"""A fold on a Ray cluster: its nodes work on the shards, and what is lost is done again."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from swaypoint.data.folds.base import Fold, Shard, Statistic, added, pairwise
from swaypoint.errors import InputError, require

RETRIES = 5
"""How often a shard goes to another worker when the one that had it is lost."""
_AHEAD = 2  # shards asked for, per worker: one at work, one waiting


class RayCluster(Fold):
    """Shards on the workers of a Ray cluster, a few at a time; those of a lost worker on another one.

    The function and the shards travel by pickle, as Ray has it: use clusters that you trust. Statistics
    travel as safetensors. Sums are made by the workers, and only the last one comes here.

    Args:
        address: ``ray://HOST:PORT`` (Ray's client), or HOST:PORT of a cluster that this machine belongs
            to; None takes the one that RAY_ADDRESS names or that this machine runs, and where there is
            none starts one of this machine.
        cpus, gpus: of each worker. With ``gpus`` the tensors of the function are on a GPU, here too.

    Raises:
        MissingExtra: Ray is not installed.
        InputError: no cluster answers, or it has no such worker.
    """

    def __init__(self, address: str | None = None, *, cpus: float = 1, gpus: float = 0) -> None:
        self._ray = require("ray", "ray")
        self._connected = not self._ray.is_initialized()
        if self._connected:
            _connect(self._ray, address)
        self._needs = {"CPU": cpus, **({"GPU": gpus} if gpus else {})}
        self._in_flight()
        options = {"num_cpus": cpus, "max_retries": RETRIES}
        # The second result is empty: it says how the work went without fetching the first.
        self._work = self._ray.remote(num_gpus=gpus, num_returns=2, **options)(_work)
        self._sum = self._ray.remote(**options)(_sum)

    def map(
        self, name: str, function: Callable[[Shard], Statistic], shards: Sequence[Shard]
    ) -> Iterator[Statistic]:
        sent, waiting = self._ray.put(function), deque[Any]()
        with self._cancelling(waiting):
            for shard in shards:
                if len(waiting) >= self._in_flight():
                    yield self._fetched(name, waiting)
                waiting.append(self._work.remote(sent, shard)[0])
            while waiting:
                yield self._fetched(name, waiting)

    def total(
        self,
        name: str,
        function: Callable[[Shard], Statistic],
        shards: Sequence[Shard],
        *,
        on_shard: Callable[[], None] = lambda: None,
    ) -> Statistic | None:
        sent, waiting = self._ray.put(function), deque[Any]()

        def wait(at_most: int) -> None:
            while len(waiting) > at_most:
                (done,), _ = self._ray.wait(list(waiting), fetch_local=False)
                with _lost_workers(self._ray, name):
                    self._ray.get(done)
                waiting.remove(done)
                on_shard()

        def work() -> Iterator[Any]:
            for shard in shards:
                wait(self._in_flight() - 1)
                statistic, done = self._work.remote(sent, shard)
                waiting.append(done)
                yield statistic

        with self._cancelling(waiting):
            result = pairwise(work(), self._sum.remote)
            wait(0)
            if result is None:
                return None
            waiting.append(result)
            return self._fetched(name, waiting) or None

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._connected:
            self._ray.shutdown()

    def _fetched(self, name: str, waiting: deque[Any]) -> Statistic:
        """The statistic of the first of those awaited, which it no longer is."""
        with _lost_workers(self._ray, name):
            content = self._ray.get(waiting[0])
        waiting.popleft()
        return _opened(content)

    def _in_flight(self) -> int:
        """How many shards may be asked for at a time: what the cluster has now decides.

        Raises:
            InputError: it has no worker.
        """
        there = self._ray.cluster_resources()
        workers = min(int(there.get(kind, 0) // count) for kind, count in self._needs.items() if count)
        if workers < 1:
            wanted = ", ".join(f"{count:g} {kind}" for kind, count in self._needs.items())
            has = ", ".join(f"{there.get(kind, 0):g} {kind}" for kind in self._needs)
            raise InputError(
                f"the Ray cluster has {has}; a worker takes {wanted}: add nodes, or ask for less"
            )
        return _AHEAD * workers

    @contextmanager
    def _cancelling(self, waiting: deque[Any]) -> Iterator[None]:
        """Take back what is still awaited when the block is left: interrupted, failed, or not read on."""
        try:
            yield
        finally:
            for task in waiting:
                self._ray.cancel(task)


def _work(function: Callable[[Shard], Statistic], shard: Shard) -> tuple[bytes, None]:
    return _sealed(function(shard)), None


def _sum(one: bytes, other: bytes) -> bytes:
    return _sealed(added(_opened(one), _opened(other)))


def _sealed(statistic: Statistic) -> bytes:
    from safetensors.torch import save

    return save({name: value.detach().cpu().contiguous() for name, value in statistic.items()})


def _opened(content: bytes) -> Statistic:
    from safetensors.torch import load

    return load(content)


@contextmanager
def _lost_workers(ray: Any, name: str) -> Iterator[None]:
    """What a worker raised, as itself; a worker lost too often as one sentence."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause from error
    except ray.exceptions.RayError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the cluster could not finish the pass {name!r}: {type(error).__name__}, {reason}. Look for"
            " workers short of memory; the same command goes on with what is done"
        ) from error


def _connect(ray: Any, address: str | None) -> None:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a user of ours did not agree to them
    try:
        ray.init(address, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        where = "on this machine" if address is None else f"at {address}"
        raise InputError(
            f"no Ray cluster {where} ({reason}); start one with `ray start --head`, check host and port, and"
            " that Python and Ray are of the same version there"
        ) from error
