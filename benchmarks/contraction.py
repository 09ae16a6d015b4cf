"""The contraction of ``benchmarks.in_memory`` alone: its share of the matrix-product rate, and the rest.

``--few``: of fewer outputs and several widths, with products of features formed and without.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.machine import describe, product_rate
from swaypoint.data.parallel import ordered_map
from swaypoint.scoring.operators import moments
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


def both(pairs: FeaturePairs, form: Callable[[Tensor], Tensor], chunk: Chunk) -> None:
    pairs.accumulate(chunk[1], chunk[0])
    form(chunk[0])


def few(points: int = 8 * CHUNK) -> None:
    """Both passes, of softmax of few classes: (classes choose 2) rows of coefficients."""
    print("| classes | features | formed, ms | weighed, ms | times |\n| --- | --- | --- | --- | --- |")
    for width in (17, 65, 257, 513):
        for classes in (2, 3, 4, 5, 6, 10):
            rows = pair_count(classes - 1)
            chunks = [(torch.randn(width, CHUNK), torch.randn(rows, CHUNK)) for _ in range(points // CHUNK)]
            spent: dict[int, list[float]] = {0: [], rows: []}
            for limit in [0, rows] * ROUNDS:
                moments._FEW, moments._PART = limit, 1 << 30
                pairs = FeaturePairs(width, torch.float32, CPU)
                form = pairs.form(torch.randn(rows, width, width))
                spent[limit].append(seconds(partial(both, pairs, form), chunks))
            formed, weighed = (1e3 * statistics.median(times) for times in spent.values())
            print(
                f"| {classes} | {width} | {formed:.1f} | {weighed:.1f} | {formed / weighed:.1f} |", flush=True
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.contraction", description=__doc__)
    parser.add_argument("--few", action="store_true")
    print(describe())
    if parser.parse_args().few:
        few()
        return
    pairs, rows = FeaturePairs(WIDTH, torch.float32, CPU), pair_count(CONTRASTS)
    sizes = [min(CHUNK, N - start) for start in range(0, N, CHUNK)]
    chunks = [(torch.randn(WIDTH, size), torch.randn(rows, size)) for size in sizes]
    form = pairs.form(torch.randn(rows, WIDTH, WIDTH))
    tasks: tuple[Callable[[Chunk], object], ...] = (
        lambda chunk: pairs.accumulate(chunk[1], chunk[0]),
        lambda chunk: form(chunk[0]),
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
