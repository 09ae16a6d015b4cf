"""A trained head of a thousand classes: the sketch with all classes of each point and with its leading ones.

100,000 points of 256 features in 1,000 classes (257,000 parameters): time and memory of each way, in
processes of their own, and both against the exact values of 200 points, half of them those of the largest
loss. Exact: x by conjugate gradients on the whole Hessian H, preconditioned by solves with that of the
leading classes, to a residual of 1e-2; then 2 x^T g - x^T H x, which is off by the square of that.

    python -m benchmarks.many_classes [--points 100000] [--threads 2] [--ways leading,every] [--out FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.large_head import gradients, sketched
from benchmarks.machine import describe, product_rate
from benchmarks.peers.worker import peak
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import sketch_points
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.sketch_points import LeadingClasses
from swaypoint.scoring.sketched import SketchedInfluence
from swaypoint.scoring.solvers.conjugate_gradient import block_conjugate_gradient

FEATURES, CLASSES, GROUPS, REFERENCES = 256, 1000, 50, 200
RIDGE, NOISE, WRONG = 1e-4, 2.5, 0.02


def problem(points: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (n, 256) >= 0, labels of which 2 % are wrong, weight and bias of a head trained on them for
    eight epochs: classes in 50 groups that are alike."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(GROUPS, FEATURES, generator=generator)
    centres = groups[torch.arange(CLASSES) % GROUPS] + 0.8 * torch.randn(
        CLASSES, FEATURES, generator=generator
    )
    labels = torch.randint(0, CLASSES, (points,), generator=generator)
    features = (centres[labels] + NOISE * torch.randn(points, FEATURES, generator=generator)).relu_()
    wrong = torch.rand(points, generator=generator) < WRONG
    labels[wrong] = torch.randint(0, CLASSES, (int(wrong.sum()),), generator=generator)
    weight = torch.zeros(CLASSES, FEATURES, requires_grad=True)
    bias = torch.zeros(CLASSES, requires_grad=True)
    epochs, batch = 8, max(1, points // 100)
    optimizer = torch.optim.Adam([weight, bias])
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.02, total_steps=epochs * -(-points // batch))
    for _ in range(epochs):
        for rows in torch.randperm(points, generator=generator).split(batch):
            loss = F.cross_entropy(F.linear(features[rows], weight, bias), labels[rows])
            optimizer.zero_grad()
            (loss + RIDGE / 2 * (weight.square().sum() + bias.square().sum())).backward()
            optimizer.step()
            schedule.step()
    return features, labels, weight.detach(), bias.detach()


def solved(folder: Path, *, leading: bool, draws: int = 160) -> SketchedInfluence:
    """The sketch of the problem in ``folder``; of the leading classes alone, or of all."""
    features, labels, weight, bias = torch.load(folder / "problem.pt", weights_only=True)
    head, data = HeadWeights(weight, bias, CrossEntropy(), RIDGE), ArrayBatches(features, labels)
    # With seed 0 it was chosen how far points that are unlike the others are moved towards the fit.
    return sketched(head, data, few=1.0 if leading else 0.0, draws=draws, seed=1)


def score(way: str, folder: Path, threads: int) -> None:
    """One way on all points, to ``folder``."""
    torch.set_num_threads(threads)
    start = time.perf_counter()
    influence = solved(folder, leading=way == "leading")
    factored = time.perf_counter() - start
    scores = influence.scores()
    seconds = time.perf_counter() - start
    facts, points = influence.facts(), influence._points
    share = sketch_points._leading_share(influence.risk, ArrayBatches(*influence.risk.data.sample(1024)))
    assert isinstance(points, LeadingClasses) == (way == "leading")
    assert scores.standard_error is not None
    np.savez(folder / f"{way}.npz", cook=scores.cook, error=scores.standard_error)
    found = {
        "way": way,
        "threads": threads,
        "seconds": round(seconds, 1),
        "before the first score": round(factored, 1),
        "peak GB": round(peak() / 1e9, 2),
        "share of classes": round(share, 4),
        "told error": facts.estimated_error,
        "of which left out": influence._missing,
        "steps": influence._steps,
    }
    (folder / f"{way}.json").write_text(json.dumps(found))


def exact(rows: Tensor, folder: Path, threads: int) -> None:
    """g^T H^-1 g of ``rows``, to ``folder``."""
    torch.set_num_threads(threads)
    near, whole = solved(folder, leading=True, draws=4), solved(folder, leading=False, draws=4)
    right = gradients(whole, rows)
    start = time.perf_counter()
    solution = block_conjugate_gradient(
        whole.hessian_product,
        right,
        precondition=lambda v: near._solve(v.contiguous()).value,
        tolerance=1e-2,
        max_steps=20,
    )
    # Of second order in the error of x, whichever way x was found.
    x = solution.value.double()
    values = ((2 * right - whole.hessian_product(solution.value)).double() * x).sum((0, 2))
    assert solution.converged
    np.savez(folder / "exact.npz", cook=values.numpy(), seconds=time.perf_counter() - start)
    print(f"exact: {solution.outcome}, {time.perf_counter() - start:.0f} s", flush=True)


def compared(way: str, rows: Tensor, folder: Path) -> dict[str, Any]:
    """What one way says beside the exact values."""
    truth, found = np.load(folder / "exact.npz")["cook"], np.load(folder / f"{way}.npz")
    relative = np.abs(found["cook"][rows] / truth - 1)
    half = len(rows) // 2
    return json.loads((folder / f"{way}.json").read_text()) | {
        "error, median": float(np.median(relative[:half])),
        "error, 90 %": float(np.quantile(relative[:half], 0.9)),
        "error of the largest losses, median": float(np.median(relative[half:])),
        "error of the largest losses, 90 %": float(np.quantile(relative[half:], 0.9)),
        "rms in standard errors": float(
            np.sqrt(np.mean(((found["cook"][rows] - truth) / found["error"][rows]) ** 2))
        ),
    }


def chosen(folder: Path) -> Tensor:
    """Half of the points at random, half those of the largest loss."""
    features, labels, weight, bias = torch.load(folder / "problem.pt", weights_only=True)
    loss = F.cross_entropy(F.linear(features, weight, bias), labels, reduction="none")
    at_random = torch.randperm(len(labels), generator=torch.Generator().manual_seed(1))[: REFERENCES // 2]
    loss[at_random] = 0.0
    return torch.cat([at_random, loss.topk(REFERENCES // 2).indices])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=100_000)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--ways", default="leading,every")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        if given.part == "exact":
            exact(chosen(given.folder), given.folder, given.threads)
        else:
            score(given.part, given.folder, given.threads)
        return
    machine = f"{describe()}; {product_rate():.0f} GFLOP/s"
    print(machine, flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder, ways = Path(name), given.ways.split(",")
        features, labels, weight, bias = problem(given.points)
        right = (F.linear(features, weight, bias).argmax(1) == labels).float().mean()
        print(f"{given.points:,} points, {float(right):.1%} of the labels predicted", flush=True)
        torch.save((features, labels, weight, bias), folder / "problem.pt")
        for part in [*ways, "exact"]:
            command = [sys.executable, "-m", "benchmarks.many_classes", "--part", part, "--folder", name]
            subprocess.run([*command, "--threads", str(given.threads)], check=True)
            if part != "exact":
                print((folder / f"{part}.json").read_text(), flush=True)
        found = [compared(way, chosen(folder), folder) for way in ways]
    for line in found:
        print(json.dumps(line))
    if given.out:
        given.out.write_text(
            json.dumps({"machine": machine, "points": given.points, "ways": found}, indent=1)
        )


if __name__ == "__main__":
    main()
