"""Exact peers on workload (a), in one run with swaypoint: captum, pyDVL, Laplace.

Run it where the peers are installed beside swaypoint; one that is missing is left out. Each is given the
last layer alone, on the features. Captum and pyDVL try two batch sizes, of which the faster counts; all
keep every eigenvector and the smallest regularisation they solve with, as an exact inverse needs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.in_memory import C, D, N
from benchmarks.machine import describe
from benchmarks.workloads import head_problem
from swaypoint.data.batches import ArrayBatches
from swaypoint.risks.linear_head import HeadWeights
from swaypoint.risks.losses import CrossEntropy
from swaypoint.scoring import Influence

ROUNDS = 3
RIDGE = 1e-6
"""The Hessian is singular along the softmax gauge: peers that solve with it as it is need some."""


def layer() -> tuple[nn.Linear, Tensor, Tensor]:
    features, labels, weight, bias = head_problem(N, D, C)
    linear = nn.Linear(D, C)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear, features, labels


def swaypoint_(dtype: torch.dtype | None) -> Callable[[], Tensor]:
    import swaypoint

    linear, features, labels = layer()
    return lambda: torch.from_numpy(
        swaypoint.cooks_distance(linear, (features, labels), dtype=dtype, progress=False).values
    )


def alone() -> Callable[[], Tensor]:
    """What the peers compute, and no more: no leave-one-out, no diagnostics."""
    linear, features, labels = layer()
    head, data = HeadWeights(linear.weight, linear.bias, CrossEntropy()), ArrayBatches(features, labels)
    return lambda: torch.from_numpy(Influence(head, data).scores(leave_one_out=False).cook)


def captum_(batch: int) -> Callable[[], Tensor]:
    from captum.influence._core.influence_function import NaiveInfluenceFunction

    linear, features, labels = layer()
    data = TensorDataset(features, labels)

    def run() -> Tensor:
        influence = NaiveInfluenceFunction(
            linear,
            DataLoader(data, batch_size=batch),
            checkpoint="",
            checkpoints_load_func=lambda *_: 0,
            loss_fn=nn.CrossEntropyLoss(reduction="none"),
            projection_dim=C * (D + 1),
            hessian_inverse_tol=1e-7,
            hessian_reg=0.0,
            batch_size=batch,
            show_progress=False,
        )
        return influence.self_influence(DataLoader(data, batch_size=batch)) * N

    return run


def pydvl_(batch: int) -> Callable[[], Tensor]:
    from pydvl.influence.torch import DirectInfluence
    from pydvl.influence.torch.base import TorchBatch, TorchGradientProvider

    linear, features, labels = layer()
    data = TensorDataset(features, labels)

    def run() -> Tensor:
        loss = nn.functional.cross_entropy
        influence = DirectInfluence(linear, loss, regularization=RIDGE)
        influence = influence.fit(DataLoader(data, batch_size=batch))
        provider = TorchGradientProvider(linear, loss, restrict_to=dict(linear.named_parameters()))
        values = []
        for x, y in DataLoader(data, batch_size=batch):
            factors = influence.influence_factors(x, y)
            values.append((factors * provider.flat_grads(TorchBatch(x, y))).sum(1))
        return torch.cat(values).detach()

    return run


def laplace_() -> Callable[[], Tensor]:
    from laplace import Laplace

    linear, features, labels = layer()
    data = TensorDataset(features, labels)

    def run() -> Tensor:
        posterior = Laplace(
            linear,
            "classification",
            subset_of_weights="all",
            hessian_structure="full",
            prior_precision=N * RIDGE,
        )
        posterior.fit(DataLoader(data, batch_size=1024))
        values = []
        for x, y in DataLoader(data, batch_size=1024):
            jacobians, logits = posterior.backend.jacobians(x)
            residual = logits.softmax(1) - nn.functional.one_hot(y, C)
            variance = posterior.functional_variance(jacobians)
            values.append(torch.einsum("bc,bcd,bd->b", residual, variance, residual) * N)
        return torch.cat(values).detach()

    return run


TASKS: dict[str, Callable[[], Callable[[], Tensor]]] = {
    "swaypoint": alone,
    "swaypoint, whole call": lambda: swaypoint_(None),
    "captum, batch 1024": lambda: captum_(1024),
    "captum, batch 8192": lambda: captum_(8192),
    "pyDVL, batch 512": lambda: pydvl_(512),
    "pyDVL, batch 1024": lambda: pydvl_(1024),
    "Laplace, full GGN": laplace_,
}


def main() -> None:
    print(describe())
    exact = swaypoint_(torch.float64)()
    tasks = {}
    for name, make in TASKS.items():
        try:
            tasks[name] = make()
        except ImportError as error:
            print(f"{name}: left out ({error})")
    tasks["swaypoint"]()  # lazy imports
    times: dict[str, list[float]] = {name: [] for name in tasks}
    errors = {}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            start = time.perf_counter()
            values = task()
            times[name].append(time.perf_counter() - start)
            errors[name] = (values.double() / exact - 1).abs()
    for name, seconds in times.items():
        median = statistics.median(seconds)
        ratio = statistics.median(a / b for a, b in zip(seconds, times["swaypoint"], strict=True))
        worst = f"median error {errors[name].median():.0e}, largest {errors[name].max():.0e}"
        print(f"{name:22} {median:8.2f} s   {ratio:6.1f} ×   {worst}")
    print("ratios to Cook's distances alone; the whole call has leave-one-out by-products and diagnostics")


if __name__ == "__main__":
    main()
