"""Where the time of ``swaypoint.cooks_distance`` goes on W1 and W4 of :mod:`benchmarks.peers`, by stages.

Each stage is a function of the library, timed by the processor time of its thread without that of the stages
it calls. Work on points takes as many threads as there are: their sum is divided by that number. What no
stage accounts for is waiting: for the interpreter, for the last chunk, for another process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

import swaypoint
from benchmarks.machine import product_rate
from benchmarks.streamed import write
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import closed_form, rank
from swaypoint.scoring.operators import removal
from swaypoint.scoring.operators.logits import DiagonalMinusOuter
from swaypoint.scoring.operators.moments import FeaturePairs, HeadCurvature, HeadForm
from swaypoint.scoring.operators.packed import pair_count
from swaypoint.scoring.risks import head
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.risks.losses import CrossEntropy

C = 10
STAGES: tuple[tuple[Any, str, str], ...] = (
    (rank, "rank", "all else"),
    (head, "conditioning", "coordinates, from a sample"),
    (HeadCurvature, "dense", "inverse: the matrix"),
    (closed_form, "by_cholesky", "inverse: factor, inverse, condition"),
    (HeadCurvature, "quadratic_form", "inverse: packed"),
    (closed_form, "collected", "points: handed out, collected"),
    (ArrayBatches, "_rows", "points: read"),
    (LinearHeadRisk, "_columns", "points: float64 columns, checked"),
    (LinearHeadRisk, "_chunk", "points: logits"),
    (LinearHeadRisk, "features", "points: whitened"),
    (CrossEntropy, "terms", "points: loss, residual, curvature"),
    (LinearHeadRisk, "_moments", "pass one: sums of chunks"),
    (DiagonalMinusOuter, "pairs", "curvature: pairs of classes"),
    (FeaturePairs, "accumulate", "pass one: contraction"),
    (HeadForm, "blocks", "pass two: contraction"),
    (HeadForm, "from_blocks", "pass two: distances of blocks"),
    (LinearHeadRisk, "residuals", "pass two: residuals"),
    (closed_form.Influence, "_score", "pass two: columns"),
    (closed_form, "prediction", "pass two: prediction, margin"),
    (closed_form, "of_few_outputs", "leave-one-out: series"),
    (removal, "solve_removal", "leave-one-out: solved, where it does not converge"),
)
"""Owner, name, and what it is."""


class Clock:
    """Processor seconds of each stage, over all threads."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self._local, self._lock = threading.local(), threading.Lock()

    def around(self, function: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **named: Any) -> Any:
            within = self._local.__dict__.setdefault("within", [])
            start = time.thread_time()
            within.append(0.0)
            try:
                return function(*arguments, **named)
            finally:
                took = time.thread_time() - start
                with self._lock:
                    self.spent[stage] += took - within.pop()
                if within:
                    within[-1] += took

        return timed


def watched(clock: Clock) -> None:
    """Puts the clock around every stage, and around what a pass does of a chunk."""
    for owner, name, stage in STAGES:
        if hasattr(owner, name):
            setattr(owner, name, clock.around(getattr(owner, name), stage))
    mapped = head.ordered_map
    head.ordered_map = lambda function, items, device: mapped(  # type: ignore[assignment]
        clock.around(function, "either pass: all else of a chunk"), items, device
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stages", description=__doc__)
    parser.add_argument("--streamed", action="store_true", help="W4: a million points from a memory map")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        features, labels, weight = arrays(Path(place)) if chosen.streamed else in_memory()
        trained = swaypoint.LinearHead(HeadWeights(weight, torch.zeros(C), CrossEntropy()))

        def once() -> float:
            start = time.perf_counter()
            swaypoint.cooks_distance(trained, (features, labels), progress=False)
            return time.perf_counter() - start

        once()
        plain = [(once(), product_rate(size=2048)) for _ in range(chosen.rounds)]
        clock = Clock()
        watched(clock)
        walls = [once() for _ in range(chosen.rounds)]
    flops = 4 * len(labels) * pair_count(C - 1) * pair_count(features.shape[1] + 1)
    told(clock, plain, walls, flops)


def in_memory() -> tuple[Any, Any, torch.Tensor]:
    features, labels, weight, _ = head_problem(50_000, 64, C)
    return features, labels, weight


def arrays(folder: Path) -> tuple[Any, Any, torch.Tensor]:
    write(folder)
    weight = torch.from_numpy(np.load(folder / "weight.npy"))
    return np.load(folder / "features.npy", mmap_mode="r"), np.load(folder / "labels.npy"), weight


def told(clock: Clock, plain: list[tuple[float, float]], walls: list[float], flops: float) -> None:
    seconds, rate = (statistics.median(column) for column in zip(*plain, strict=True))
    ratio = statistics.median(one * speed * 1e9 / flops for one, speed in plain)
    print(f"{seconds * 1e3:.0f} ms at {rate:.0f} GFLOP/s float32 beside it: {ratio:.2f} times the floor\n")
    parts = {stage: spent / len(walls) / torch.get_num_threads() for stage, spent in clock.spent.items()}
    wall = statistics.mean(walls)
    print("| stage | ms | share |\n| --- | --- | --- |")
    for stage, spent in [*parts.items(), ("waiting", wall - sum(parts.values()))]:
        print(f"| {stage} | {spent * 1e3:.1f} | {spent / wall:.0%} |")
    print(f"| in all, with the clock | {wall * 1e3:.0f} | |")


if __name__ == "__main__":
    main()
