"""Scoring n x 64 features that exist nowhere: each shard makes its points anew from its number.

python -m benchmarks.scale 0.25e6 0.5e6 1e6        # memory and time against n, in this process
python -m benchmarks.scale 100e6                   # the full size: hours on two cores
python -m benchmarks.scale --engine ray --workers 1,2 1e6
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.peers.worker import peak
from swaypoint.data.batches import FeatureBatches
from swaypoint.data.folds import Durable, Fold, InProcess, Statistic
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy

D, C = 64, 10
SHARD, BATCH = 131_072, 8192
TOP = 1000


@dataclass(frozen=True)
class Generated(FeatureBatches):
    """Points ``first`` to ``last`` of a dataset without end, D features each, C classes."""

    first: int
    last: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        weight = self.weight()
        for start in range(self.first, self.last, BATCH):
            generator = torch.Generator().manual_seed(start)
            features = torch.randn(BATCH, D, generator=generator).relu_()
            noise = -torch.rand(BATCH, C, generator=generator).log_().neg_().log_()
            rows = slice(0, min(BATCH, self.last - start))
            yield features[rows], (features @ weight.T + 0.7 * noise)[rows].argmax(1)

    def __len__(self) -> int:
        return self.last - self.first

    @staticmethod
    def weight() -> Tensor:
        return torch.randn(C, D, generator=torch.Generator().manual_seed(2**40)) / 4

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        features, targets = next(iter(replace(self, last=min(self.last, self.first + BATCH))))
        return features[:size], targets[:size]

    def shards(self) -> Sequence[Generated]:
        return [
            Generated(start, min(start + SHARD, self.last)) for start in range(self.first, self.last, SHARD)
        ]


def top(influence: Influence, shard: Generated) -> Statistic:
    """The largest Cook's distances of a shard, where they are, and the sum of all."""
    cook = torch.cat([values for _, values in influence.cook(shard)])
    best = cook.topk(min(TOP, len(cook)))
    return {"cook": best.values, "index": shard.first + best.indices, "sum": cook.sum()}


def score(points: int, fold: Fold) -> tuple[float, Tensor]:
    """Both passes: the sum of Cook's distances, and the positions of the largest."""
    data = Generated(0, points)
    head = HeadWeights(data.weight().double(), torch.zeros(C, dtype=torch.float64), CrossEntropy())
    influence = Influence(head, data, dtype=torch.float32, fold=fold)
    best, index, total = torch.empty(0, dtype=torch.float64), torch.empty(0, dtype=torch.long), 0.0
    for part in fold.map("scores", partial(top, influence), data.shards()):
        total += float(part["sum"])
        values, positions = torch.cat([best, part["cook"]]), torch.cat([index, part["index"]])
        order = values.argsort(descending=True, stable=True)[:TOP]
        best, index = values[order], positions[order]
    return total, index


def _resident() -> float:
    """MB of this process now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _watched(samples: list[float], stop: threading.Event) -> None:
    while not stop.wait(0.5):
        samples.append(_resident())


def measure(points: int, engine: str, workers: int) -> None:
    """In a process of its own, so that its peak is its own."""
    torch.set_num_threads(workers)
    samples: list[float] = []
    stop = threading.Event()
    fold: Fold = InProcess()
    if engine == "ray":
        import ray

        from swaypoint.data.folds.ray_cluster import RayCluster

        ray.init(
            num_cpus=workers, object_store_memory=200 << 20, include_dashboard=False, log_to_driver=False
        )
        fold = RayCluster()
        list(fold.map("warm", lambda _: {"n": torch.tensor(0)}, range(2 * workers)))  # workers are started
    threading.Thread(target=_watched, args=(samples, stop), daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        total, index = score(points, Durable(Path(folder), "benchmark", inner=fold))
        seconds = time.perf_counter() - start
    stop.set()
    most = peak() / 1e6
    half = samples[len(samples) // 2 :] or [most]
    print(
        f"{points:>11,} points, {engine}, {workers} workers: {seconds:8.1f} s, {points / seconds:9,.0f} a"
        f" second; peak {most:,.0f} MB, {min(half):,.0f} to {max(half):,.0f} MB in the second half;"
        f" sum {total:.15g}, first {index[:3].tolist()}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("points", type=float, nargs="*", default=[0.25e6, 0.5e6, 1e6])
    parser.add_argument("--engine", choices=("in-process", "ray"), default="in-process")
    parser.add_argument("--workers", default="1", help="numbers with commas")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    workers = [int(count) for count in given.workers.split(",")]
    if given.here:
        measure(int(given.points[0]), given.engine, workers[0])
        return
    from benchmarks.machine import describe

    print(describe(), flush=True)
    for points in given.points:
        for count in workers:
            command = [sys.executable, "-m", "benchmarks.scale", "--here", str(points)]
            subprocess.run([*command, "--engine", given.engine, "--workers", str(count)], check=True)


if __name__ == "__main__":
    main()
