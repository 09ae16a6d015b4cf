"""The machine's own rate, measured in the run that quotes it."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable

import torch


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
