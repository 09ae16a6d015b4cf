"""A Ray cluster of several nodes on this machine, and points that its workers make by themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.data.folds import Fold, Statistic
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy

HERE = Path(__file__).parent


@contextmanager
def cluster(nodes: int = 3, **head: Any) -> Iterator[Any]:
    """A ``ray.cluster_utils.Cluster`` whose head works on nothing, with ``nodes`` nodes of one worker."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'swaypoint[ray]'")
    import ray
    from ray.cluster_utils import Cluster

    kept = dict(os.environ)
    paths = [str(HERE), str(HERE.parent / "src"), os.environ.get("PYTHONPATH", "")]
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
    }
    store = {"object_store_memory": 100 << 20, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store, **head})
    try:
        for _ in range(nodes):
            found.add_node(num_cpus=1, **store)
        yield found
    finally:
        ray.shutdown()
        found.shutdown()
        os.environ.clear()
        os.environ.update(kept)


@dataclass(frozen=True)
class Seeded(FeatureBatches):
    """Points of a few classes, made anew from the shard's number whenever they are asked for."""

    numbers: tuple[int, ...] = tuple(range(12))
    points: int = 200
    width: int = 6
    classes: int = 3

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number in self.numbers:
            generator = torch.Generator().manual_seed(number)
            features = torch.randn(self.points, self.width, generator=generator)
            noise = torch.randn(self.points, self.classes, generator=generator)
            yield features, (features[:, : self.classes] + noise).argmax(1)

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        features, targets = zip(*self, strict=True)
        step = max(1, self.points * len(self.numbers) // size)
        return torch.cat(features)[::step], torch.cat(targets)[::step]

    def shards(self) -> Sequence[Seeded]:
        return [Seeded((number,), self.points, self.width, self.classes) for number in self.numbers]


def scores(fold: Fold, data: Seeded = Seeded()) -> np.ndarray:
    """Cook's distances in float64, both passes on ``fold``."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(data.classes, data.width, generator=generator, dtype=torch.float64)
    head = HeadWeights(weight, torch.zeros(data.classes, dtype=torch.float64), CrossEntropy())
    influence = Influence(head, data, dtype=torch.float64, fold=fold)

    def cook(shard: Seeded) -> Statistic:
        return {"cook": torch.cat([values for _, values in influence.cook(shard)])}

    parts = [part["cook"] for part in fold.map("scores", cook, data.shards())]
    return torch.cat(parts).numpy()
