"""One thread a core over independent pieces, results in order.

Kernels that each use all cores meet at a barrier every fraction of a millisecond and run at the pace
of the slowest core; pieces of work that each use one core meet once. On the contraction of 1,024-point
pieces that is worth a quarter of the time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    function: Callable[[Item], Result], items: Iterable[Item], device: torch.device
) -> Iterator[Result]:
    """``function`` of each item, in the order of ``items``; a GPU is left to its own parallelism.

    At most one item more than there are threads is held at a time.
    """
    threads = torch.get_num_threads()
    if device.type != "cpu" or threads == 1:
        yield from map(function, items)
        return
    inference = torch.is_inference_mode_enabled()  # of this thread alone

    def called(item: Item) -> Result:
        with torch.inference_mode(inference):
            return function(item)

    pool = ThreadPoolExecutor(threads, initializer=_alone)
    pending: deque[Future[Result]] = deque()
    try:
        for item in items:
            pending.append(pool.submit(called, item))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _alone() -> None:
    """One core for this thread, and no other: it takes the number of the whole program over when it is first
    asked for its own."""
    torch.get_num_threads()
    torch.set_num_threads(1)


@contextmanager
def one_core() -> Iterator[None]:
    """Within, kernels called from this thread take one core. Between pieces of :func:`ordered_map` a kernel
    that took all would keep them from the pieces, and for some milliseconds after, in which its threads wait
    by spinning."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
