"""The machine's own rate, measured in the run that quotes it."""

from __future__ import annotations

import platform
import statistics
import threading
import time
from collections.abc import Callable
from typing import Self

import torch

from benchmarks.peers.worker import peak


def memory() -> str:
    """The most that this process has held."""
    return f"peak memory {peak() / 1e9:.2f} GB"


def median_seconds(task: Callable[[], object], repeats: int = 5) -> float:
    """Median wall time after one warm-up."""
    task()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        task()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def product_rate(dtype: torch.dtype = torch.float32, size: int = 4096) -> float:
    """GFLOP/s of a square matrix product."""
    a, b = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
    return 2 * size**3 / median_seconds(lambda: a @ b) / 1e9


def describe() -> str:
    """Processor, threads and product rates, in one line."""
    with open("/proc/cpuinfo") as lines:
        names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    single, double = product_rate(), product_rate(torch.float64)
    return (
        f"{name}, {torch.get_num_threads()} threads, torch {torch.__version__}:"
        f" {single:.0f} GFLOP/s float32, {double:.0f} float64"
    )


class Memory:
    """The most bytes of its own, without mapped files, that this process holds in the block; Linux."""

    def __init__(self, every: float = 0.05) -> None:
        self.most, self._every, self._ended = 0, every, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            with open("/proc/self/status") as lines:
                held = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.most = max(self.most, 1024 * held)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
