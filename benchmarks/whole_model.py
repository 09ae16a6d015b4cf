"""All parameters of a perceptron, every solver: relative error, overlap of the top 1 %, time, in one run.

Two sizes: 2,000 points and 5-16-16-16-16-16-16-5 (1,541 parameters), and 20,000 points
and 5-50-50-50-50-50-50-5 (13,305 parameters) for those that are fast enough there. The self-influence of
every point is compared with an answer by another route: the Gauss-Newton matrix from explicit Jacobians,
factorised in float64. Trained on a synthetic five-class table with 5 % of the labels wrong.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.machine import describe
from swaypoint.scoring.risks.model import ModelRisk
from swaypoint.scoring.solver_choice import invert

RIDGE = 1e-4
SOLVERS: tuple[str, ...] = ("exact", "sketch", "ekfac", "kfac", "nystroem", "lanczos")
FAST: tuple[str, ...] = ("exact", "ekfac", "kfac")
SINGLE: tuple[str, ...] = ("cg", "lissa")
"""One solve a point: measured on the first ``SOME`` points."""
SOME = 50


def workload(
    n: int = 20_000, *, steps: int = 1500, hidden: int = 50, decay: float = RIDGE
) -> tuple[nn.Module, Tensor, Tensor]:
    """A table like ACAS Xu's in shape: 5 features, 5 classes, a trained 6-layer ReLU perceptron."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    x = torch.rand(n, 5, generator=generator) * 2 - 1
    teacher = nn.Sequential(nn.Linear(5, 32), nn.Tanh(), nn.Linear(32, 5))
    with torch.no_grad():
        scores = teacher(3 * x)
        y = ((scores - scores.mean(0)) / scores.std(0)).argmax(1)
    wrong = torch.randperm(n, generator=generator)[: n // 20]
    y[wrong] = (y[wrong] + torch.randint(1, 5, (len(wrong),), generator=generator)) % 5
    sizes = [5] + [hidden] * 6 + [5]
    layers: list[nn.Module] = []
    for width, following in pairwise(sizes):
        layers += [nn.Linear(width, following), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(0, n, (1024,), generator=generator)
        optimizer.zero_grad()
        ridge = 0.5 * decay * sum(p.square().sum() for p in model.parameters())
        loss = F.cross_entropy(model(x[rows]), y[rows]) + ridge
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return model.eval(), x, y


def oracle(model: nn.Module, x: Tensor, y: Tensor, ridge: float = RIDGE) -> np.ndarray:
    """g^T (J^T Lambda J / n + ridge)^-1 g from explicit Jacobians: products in float32, sums and the
    factorisation in float64."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def logits(parameters: dict[str, Tensor], row: Tensor) -> Tensor:
        return torch.func.functional_call(model, parameters, (row.unsqueeze(0),))[0]

    jacobian = torch.func.vmap(torch.func.jacrev(logits), (None, 0))
    size = sum(value.numel() for value in values.values())
    matrix, rows = ridge * torch.eye(size, dtype=torch.float64), []
    for xs, ys in zip(x.split(1000), y.split(1000), strict=True):
        parts = jacobian(values, xs)
        j = torch.cat([parts[name].flatten(2) for name in values], 2).detach()
        p = model(xs).detach().softmax(1)
        half = p.sqrt().unsqueeze(2) * (j - torch.einsum("bc,bcp->bp", p, j).unsqueeze(1))
        matrix += (half.flatten(0, 1).T @ half.flatten(0, 1)).double() / len(x)
        rows.append(torch.einsum("bc,bcp->bp", p - F.one_hot(ys, p.shape[1]), j))
    factor = torch.linalg.cholesky(matrix)
    solved = [torch.linalg.solve_triangular(factor, r.double().T, upper=False) for r in rows]
    return torch.cat([part.square().sum(0) for part in solved]).numpy()


def overlap(one: np.ndarray, other: np.ndarray, share: float = 0.01) -> float:
    count = max(1, round(share * len(one)))
    return len(set(np.argsort(-one)[:count]) & set(np.argsort(-other)[:count])) / count


def table(n: int, hidden: int, ridge: float, solvers: tuple[str, ...]) -> None:
    model, x, y = workload(n, hidden=hidden, decay=ridge)
    with torch.no_grad():
        accuracy = float((model(x).argmax(1) == y).float().mean())
    start = time.perf_counter()
    truth = oracle(model, x, y, ridge)
    size = sum(p.numel() for p in model.parameters())
    print(
        f"{n:,} points, {size:,} parameters, ridge {ridge:g}, accuracy {accuracy:.1%};"
        f" oracle {time.perf_counter() - start:.0f} s"
    )
    for solver in solvers:
        risk = ModelRisk(model, (x, y), l2=ridge, batch_size=1000)
        start = time.perf_counter()
        inverse = invert(risk, solver=solver)
        prepared = time.perf_counter() - start
        if solver in SINGLE:
            solution = inverse.quadratic(next(risk.gradients())[:SOME])
            values = solution.value.numpy()
            shared = f"{len(values)} points"
        else:
            found = [inverse.quadratic(rows) for rows in risk.gradients()]
            values, solution = torch.cat([part.value for part in found]).numpy(), found[-1]
            shared = f"overlap of the top 1 %: {overlap(values, truth):.3f}"
        seconds = time.perf_counter() - start
        error = np.abs(values / truth[: len(values)] - 1)
        print(
            f"{solver:9} {seconds:6.1f} s ({prepared:.1f} to prepare)   relative error: median"
            f" {np.median(error):.1e}, 90 % below {np.quantile(error, 0.9):.1e}   {shared}  "
            f" {solution.outcome.split(';')[0][:90]}",
            flush=True,
        )


def main() -> None:
    print(describe())
    if "large" not in sys.argv[1:]:
        table(2000, 16, 5e-4, (*SOLVERS, *SINGLE))
    if "small" not in sys.argv[1:]:
        table(20_000, 50, RIDGE, FAST)


if __name__ == "__main__":
    main()
