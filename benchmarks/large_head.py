"""(c) 20,000 points, 512 features, 100 classes: 51,300 parameters, too many for a dense factor.

The sketch, against references by conjugate gradients to a residual of 1e-3,
whose quadratic forms are then right to about 1e-6: 1,000 random points for the
relative error, and the 1,000 highest estimates for the overlap of the top 1 %.
"""

from __future__ import annotations

import resource
import time

import torch
from torch import Tensor

from benchmarks.machine import describe
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.risks.linear_head import HeadWeights
from swaypoint.risks.losses import CrossEntropy
from swaypoint.sketching import SketchedInfluence, conjugate_gradients

N, D, C, REFERENCES = 20_000, 512, 100, 1000


def references(influence: SketchedInfluence, rows: Tensor) -> Tensor:
    """g^T H^-1 g of ``rows`` by preconditioned conjugate gradients."""
    gradients, offset = [], 0
    wanted = torch.zeros(N, dtype=torch.bool)
    wanted[rows] = True
    for chunk, features in influence._chunks():
        keep = wanted[offset : offset + len(features)]
        residual = chunk.terms.residual[keep].float()
        gradients.append(torch.einsum("bc,bd->cbd", residual, features[keep]))
        offset += len(features)
    right = torch.cat(gradients, 1)
    solution, _, _ = conjugate_gradients(
        influence.hessian_product, right, influence._precondition, tolerance=1e-3, max_steps=40
    )
    values = (solution.double() * right.double()).sum((0, 2))
    return values[torch.argsort(torch.argsort(rows))]


def main() -> None:
    print(describe())
    features, labels, weight, bias = head_problem(N, D, C)
    head = HeadWeights(weight, bias, CrossEntropy())
    start = time.perf_counter()
    influence = SketchedInfluence(head, ArrayBatches(features, labels))
    scores = influence.scores()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    estimate, error = torch.from_numpy(scores.cook), torch.from_numpy(scores.standard_error)
    print(f"sketch: {seconds:.0f} s, peak memory {peak:.1f} GB; {influence.facts().outcome}", flush=True)
    random = torch.randperm(N, generator=torch.Generator().manual_seed(1))[:REFERENCES]
    exact = references(influence, random)
    relative = (estimate[random] / exact - 1).abs()
    print(
        f"relative error on {REFERENCES} random points: median {relative.median():.2%},"
        f" 90 % below {relative.quantile(0.9):.2%}, largest {relative.max():.2%};"
        f" in standard errors: {((estimate[random] - exact) / error[random]).std():.2f}",
        flush=True,
    )
    candidates = estimate.topk(REFERENCES).indices
    exact = references(influence, candidates)
    first = N // 100
    true = set(candidates[exact.topk(first).indices].tolist())
    found = set(estimate.topk(first).indices.tolist())
    print(f"overlap of the top 1 %: {len(true & found) / first:.3f}")


if __name__ == "__main__":
    main()
