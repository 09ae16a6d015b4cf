"""(a) 50,000 points, 64 features and a bias, 10 classes, features in memory."""

from __future__ import annotations

import statistics

import numpy as np
import torch

from benchmarks.machine import describe, median_seconds, product_rate
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.operators.packed import pair_count
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy

N, D, C = 50_000, 64, 10
ROUNDS = 7


def main() -> None:
    print(describe())
    features, labels, weight, bias = head_problem(N, D, C)
    head, data = HeadWeights(weight, bias, CrossEntropy()), ArrayBatches(features, labels)

    def plain() -> object:
        return Influence(head, data).scores(leave_one_out=False)

    def full() -> object:
        return Influence(head, data).scores()

    flops = 2 * 2 * N * pair_count(C - 1) * pair_count(D + 1)
    rows = []  # side by side: the speed of shared machines drifts within seconds
    for _ in range(ROUNDS):
        rate = product_rate(size=3072)
        seconds, with_loo = median_seconds(plain, 3), median_seconds(full, 3)
        rate = (rate + product_rate(size=3072)) / 2
        rows.append((seconds, with_loo, rate, seconds * rate / (0.30 * 195), flops / seconds / rate / 1e9))
    seconds, with_loo, rate, ratio, share = (statistics.median(column) for column in zip(*rows, strict=True))
    exact = Influence(head, data, dtype=torch.float64).scores(leave_one_out=False).cook
    error = abs(Influence(head, data).scores(leave_one_out=False).cook / exact - 1)
    print(f"all Cook's distances: {seconds:.3f} s; with leave-one-out by-products: {with_loo:.3f} s")
    print(f"against 0.30 s at 195 GFLOP/s, scaled to the {rate:.0f} beside it: {ratio:.2f} of that time")
    print(f"products alone, by symmetric flops: {share:.0%} of the matrix-product rate")
    print(f"relative error against float64: median {np.median(error):.1e}, largest {error.max():.1e}")


if __name__ == "__main__":
    main()
