"""The contraction of ``benchmarks.in_memory`` alone: its share of the matrix-product rate, and the rest."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.machine import describe, product_rate
from swaypoint.data.parallel import ordered_map
from swaypoint.scoring.operators.moments import FeaturePairs
from swaypoint.scoring.operators.packed import pair_count

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
    tasks: tuple[Callable[[Chunk], object], ...] = (
        lambda chunk: pairs.accumulate(chunk[1], chunk[0]),
        lambda chunk: pairs.contract(packed, chunk[0]),
        partial(forming, pairs),
    )
    flops = 2 * N * rows * pair_count(WIDTH)
    for task in tasks:
        seconds(task, chunks)
    # Side by side: the speed of shared machines drifts.
    rounds = [(product_rate(size=2048), *(seconds(task, chunks) for task in tasks)) for _ in range(ROUNDS)]
    rate, first, second, made = (statistics.median(column) for column in zip(*rounds, strict=True))
    print(f"{flops / 1e9:.1f} GFLOP a pass; {rate:.0f} GFLOP/s of a matrix product beside it")
    print(f"forming the products of features: {made:.3f} s of each pass")
    for name, whole in (("pass one", first), ("pass two", second)):
        share, alone = (flops / part / 1e9 / rate for part in (whole, whole - made))
        print(
            f"{name}: {whole:.3f} s, {share:.0%} of the matrix-product rate; its products alone {alone:.0%}"
        )


if __name__ == "__main__":
    main()
