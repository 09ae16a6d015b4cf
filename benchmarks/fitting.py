"""A head's fit to many points, with and without the Hessian of a sample beside.

By turns, from nothing to the optimum, in memory; the number of products with the Hessian of all points, of
each of which the gradient takes some as well.

    python -m benchmarks.fitting [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

from torch import Tensor

from benchmarks.machine import describe
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import refit
from swaypoint.scoring.blank_head import zero_head
from swaypoint.scoring.risks.head import LinearHeadRisk
from swaypoint.scoring.risks.losses import CrossEntropy

SIZES = ((100_000, 64, 10), (800_000, 64, 10), (800_000, 32, 5), (300_000, 64, 30))
WAYS = {"without": 0, "with": refit._MOST}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fitting", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    print(describe())
    print("| points, features, classes | without [s] | products | with [s] | products |\n|" + " --- |" * 5)
    for n, d, c in SIZES:
        features, labels, _, _ = head_problem(n, d, c)
        data, head = ArrayBatches(features, labels), zero_head(c, d, CrossEntropy(), 1.0 / n)
        seconds: dict[str, list[float]] = {way: [] for way in WAYS}
        products: dict[str, int] = {}
        for _ in range(rounds):
            for way, refit._MOST in WAYS.items():
                start = time.perf_counter()
                products[way] = counted(head, data)
                seconds[way].append(time.perf_counter() - start)
        cells = [f"{statistics.median(seconds[way]):.1f} | {products[way]}" for way in WAYS]
        print(f"| {n:,}, {d}, {c} | {' | '.join(cells)} |", flush=True)


def counted(head: Any, data: ArrayBatches) -> int:
    """Products of one fit."""
    plain, count = LinearHeadRisk.hessian_product, 0

    def product(risk: LinearHeadRisk, *given: Tensor) -> Tensor:
        nonlocal count
        count += 1
        return plain(risk, *given)

    LinearHeadRisk.hessian_product = product  # type: ignore[method-assign]
    try:
        assert refit.refit_head(head, data).converged
    finally:
        LinearHeadRisk.hessian_product = plain  # type: ignore[method-assign]
    return count


if __name__ == "__main__":
    main()
