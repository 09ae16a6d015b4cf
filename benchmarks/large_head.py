"""(c) 20,000 points, 512 features, 100 classes: 50,787 parameters in full-rank coordinates.

The exact factor in panels, the sketch, and the sketch with all classes of each point, each in a process of
its own for its peak memory; ``python -m benchmarks.large_head sketch FOLDER`` runs one of them, and ``check
FOLDER`` compares the sketches there with solves, in half a minute, without the exact factor. The exact
values are checked by another route on random points: conjugate gradients to a residual of 1e-4, whose
quadratic forms are then right to about 1e-8. The sketch is compared with the exact values on all points.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.peers.worker import peak
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import sketch_points
from swaypoint.scoring.panels import TiledInfluence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.sketched import DRAWS, SketchedInfluence
from swaypoint.scoring.solvers.conjugate_gradient import block_conjugate_gradient

N, D, C, REFERENCES = 20_000, 512, 100, 200
RANDOM, LARGEST = 60, 40


def sketched(
    head: HeadWeights, data: ArrayBatches, *, few: float, draws: int = DRAWS, seed: int = 0
) -> SketchedInfluence:
    """The sketch with the leading classes where at most a share ``few`` of them leads; 0: with all."""
    with mock.patch.object(sketch_points, "_FEW", few):
        return SketchedInfluence(head, data, draws=draws, seed=seed)


SOLVERS = {"exact": TiledInfluence, "sketch": SketchedInfluence, "every": partial(sketched, few=0.0)}


def problem() -> tuple[HeadWeights, ArrayBatches]:
    features, labels, weight, bias = head_problem(N, D, C)
    return HeadWeights(weight, bias, CrossEntropy()), ArrayBatches(features, labels)


def score(name: str, folder: Path) -> None:
    """One solver on the whole problem: values to ``folder``, time and peak memory to the terminal."""
    head, data = problem()
    start = time.perf_counter()
    influence = SOLVERS[name](head, data)
    factored = time.perf_counter() - start
    scores = influence.scores()
    seconds = time.perf_counter() - start
    error = np.zeros(N) if scores.standard_error is None else scores.standard_error
    np.savez(folder / f"{name}.npz", cook=scores.cook, error=error, loss=scores.loss)
    print(
        f"{name}: {seconds:.0f} s ({factored:.0f} before the first score), peak memory {peak() / 1e9:.1f} GB",
        flush=True,
    )
    print(
        f"  {influence.facts().outcome}; expected error {influence.facts().estimated_error:.0e}", flush=True
    )


def gradients(influence: SketchedInfluence, rows: Tensor) -> Tensor:
    """Of the points ``rows``, in their order, ``(C, rows, k)`` float32."""
    found, offset, first = [], 0, torch.sort(rows)
    for batch in influence._points.batches():
        chosen = (
            first.values[(first.values >= offset) & (first.values < offset + len(batch.features))] - offset
        )
        residual = batch.chunk.terms.residual[chosen].float()
        found.append(torch.einsum("bc,bd->cbd", residual, batch.features[chosen]))
        offset += len(batch.features)
    return torch.cat(found, 1)[:, torch.argsort(first.indices)]


def references(rows: Tensor) -> Tensor:
    """g^T H^-1 g of ``rows`` by preconditioned conjugate gradients."""
    influence = sketched(*problem(), few=0.0, draws=4)
    right = gradients(influence, rows)
    solution = block_conjugate_gradient(
        influence.hessian_product, right, precondition=influence._precondition, tolerance=1e-4, max_steps=60
    )
    return (solution.value.double() * right.double()).sum((0, 2))


def check(folder: Path) -> None:
    """What is in ``folder`` of the sketches against solves, at random and at the largest losses."""
    found = {name: np.load(path) for name in ("sketch", "every") if (path := folder / f"{name}.npz").exists()}
    loss = torch.from_numpy(next(iter(found.values()))["loss"])  # of the head: no sketch changes it
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:RANDOM]
    rows = torch.cat([rows, loss.topk(LARGEST).indices])
    truth = references(rows).numpy()
    for name, arrays in found.items():
        relative = np.abs(arrays["cook"][rows] / truth - 1)
        for what, part in (("at random", relative[:RANDOM]), ("of the largest loss", relative[RANDOM:])):
            print(
                f"{name}, {len(part)} points {what}: error median {np.median(part):.2%},"
                f" 90 % below {np.quantile(part, 0.9):.2%}"
            )


def main() -> None:
    print(describe())
    with tempfile.TemporaryDirectory() as name:
        for solver in SOLVERS:
            subprocess.run([sys.executable, "-m", "benchmarks.large_head", solver, name], check=True)
        found = {solver: dict(np.load(Path(name) / f"{solver}.npz")) for solver in SOLVERS}
    truth = found["exact"]["cook"]
    rows = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:REFERENCES]
    apart = np.abs(truth[rows] / references(rows).numpy() - 1)
    print(f"exact against {REFERENCES} solves: median {np.median(apart):.0e}, largest {apart.max():.0e}")
    first = N // 100
    for solver in ("sketch", "every"):
        estimate, error = found[solver]["cook"], found[solver]["error"]
        relative = np.abs(estimate / truth - 1)
        print(
            f"{solver} against exact, all points: relative error median {np.median(relative):.2%},"
            f" 90 % below {np.quantile(relative, 0.9):.2%}, largest {relative.max():.1%};"
            f" in standard errors: {np.std((estimate - truth) / error):.2f}"
        )
        both = set(np.argsort(-truth)[:first]) & set(np.argsort(-estimate)[:first])
        print(f"overlap of the top 1 %: {len(both) / first:.3f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["check"]:
        check(Path(sys.argv[2]))
    elif len(sys.argv) > 2:
        score(sys.argv[1], Path(sys.argv[2]))
    else:
        main()
