"""The contraction of ``benchmarks.in_memory`` alone: its share of the matrix-product rate, and the rest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.machine import describe, product_rate
from swaypoint.operators.head import FeaturePairs, _filled
from swaypoint.operators.packed import pair_count
from swaypoint.parallel import ordered_map

CPU = torch.device("cpu")
CHUNK = 4096
N, WIDTH, CONTRASTS = 50_000, 65, 9
"""Points, features with the constant, contrasts of the classes."""
ROUNDS = 5
Chunk = tuple[Tensor, Tensor]


def forming(pairs: FeaturePairs, chunk: Chunk) -> None:
    """The products of features, as both passes make them, and nothing else."""
    products, features = pairs._products(), chunk[0]
    for columns in products.steps(features.shape[1]):
        for _ in products.of(features[:, columns]):
            pass


def multiplying(pairs: FeaturePairs, chunk: Chunk, *, second: bool, packed: Tensor) -> None:
    """The matrix products of a pass, on products of features that are there already."""
    products, (features, coefficients) = pairs._products(), chunk
    blocks = [(start, stop, block) for start, stop, _, block in products._blocks]
    if second:
        packed, result = _filled(packed), torch.zeros(len(_filled(packed)), features.shape[1])
    else:
        coefficients = _filled(coefficients)
        result = torch.zeros(len(coefficients), pairs.pairs)
    for columns in products.steps(features.shape[1]):
        width = columns.stop - columns.start
        for start, stop, block in blocks:
            if second:
                result[:, columns].addmm_(packed[:, start:stop], block[:, :width])
            else:
                result[:, start:stop].addmm_(coefficients[:, columns], block[:, :width].T)


def seconds(function: Callable[[Chunk], object], chunks: list[Chunk]) -> float:
    start = time.perf_counter()
    for _ in ordered_map(function, chunks, CPU):
        pass
    return time.perf_counter() - start


def main() -> None:
    print(describe())
    pairs, rows = FeaturePairs(WIDTH, torch.float32, CPU), pair_count(CONTRASTS)
    sizes = [min(CHUNK, N - start) for start in range(0, N, CHUNK)]
    chunks = [(torch.randn(WIDTH, size), torch.randn(rows, size)) for size in sizes]
    packed = torch.randn(rows, pairs.pairs)
    tasks: dict[str, Callable[[Chunk], object]] = {
        "pass one": lambda chunk: pairs.accumulate(chunk[1], chunk[0]),
        "pass two": lambda chunk: pairs.contract(packed, chunk[0]),
        "forming the products of features": partial(forming, pairs),
        "matrix products of pass one": partial(multiplying, pairs, second=False, packed=packed),
        "matrix products of pass two": partial(multiplying, pairs, second=True, packed=packed),
    }
    flops = 2 * N * rows * pair_count(WIDTH)
    taken: dict[str, list[float]] = {task: [] for task in tasks}
    rates = []
    for function in tasks.values():
        seconds(function, chunks)
    for _ in range(ROUNDS):  # side by side: the speed of shared machines drifts
        rates.append(product_rate(size=2048))
        for task, function in tasks.items():
            taken[task].append(seconds(function, chunks))
    rate = statistics.median(rates)
    print(f"{flops / 1e9:.1f} GFLOP a pass; {rate:.0f} GFLOP/s of a matrix product beside it")
    for task, values in taken.items():
        median = statistics.median(values)
        share = "" if "forming" in task else f", {flops / median / 1e9 / rate:.0%} of the matrix-product rate"
        print(f"{task}: {median:.3f} s{share}")


if __name__ == "__main__":
    main()
