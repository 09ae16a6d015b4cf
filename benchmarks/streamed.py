"""(b) 1,000,000 points of the same head, streamed from a memory map: peak memory, wall time."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.machine import describe, memory
from benchmarks.peers.worker import peak
from benchmarks.workloads import head_problem

N, D, C = 1_000_000, 64, 10


def write(folder: Path) -> None:
    """Features, labels and head as .npy files, made in pieces of 100,000."""
    features = np.lib.format.open_memmap(folder / "features.npy", "w+", np.float32, (N, D))
    labels = np.zeros(N, dtype=np.int64)
    weight = head_problem(1, D, C)[2].numpy()
    for piece in range(10):
        rows = slice(piece * N // 10, (piece + 1) * N // 10)
        generator = np.random.default_rng(piece)
        features[rows] = np.maximum(generator.standard_normal((N // 10, D), dtype=np.float32), 0)
        logits = features[rows] @ weight.T + 0.7 * generator.gumbel(size=(N // 10, C))
        labels[rows] = logits.argmax(1)
    features.flush()
    np.save(folder / "labels.npy", labels)
    np.save(folder / "weight.npy", weight)


def score(folder: Path) -> None:
    """In a process of its own, so that the peak is that of the scoring."""
    import swaypoint
    from swaypoint.scoring.risks.head import HeadWeights
    from swaypoint.scoring.risks.losses import CrossEntropy

    before = peak()
    features = np.load(folder / "features.npy", mmap_mode="r")
    weight = torch.from_numpy(np.load(folder / "weight.npy"))
    head = swaypoint.LinearHead(HeadWeights(weight, torch.zeros(C), CrossEntropy()))
    start = time.perf_counter()
    ranking = swaypoint.cooks_distance(head, (features, np.load(folder / "labels.npy")), progress=False)
    seconds = time.perf_counter() - start
    print(f"{len(ranking):,} points in {seconds:.1f} s; {memory()}")
    print(f"(of which {before / 1e9:.2f} GB after importing, and {N * D * 4 / 1e9:.2f} GB pages of the map)")


def main() -> None:
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        subprocess.run([sys.executable, "-m", "benchmarks.streamed", folder], check=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        score(Path(sys.argv[1]))
    else:
        main()
