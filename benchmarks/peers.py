"""Captum, the fastest exact peer known, on workload (a), in one run with swaypoint.

Run it where captum is installed beside swaypoint. It is given the last layer alone, on the features,
and each of two batch sizes; the fastest counts. All eigenvectors are kept, as an exact inverse needs.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.in_memory import C, D, N
from benchmarks.machine import describe
from benchmarks.workloads import head_problem


def layer() -> tuple[nn.Linear, Tensor, Tensor]:
    features, labels, weight, bias = head_problem(N, D, C)
    linear = nn.Linear(D, C)
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    return linear, features, labels


def swaypoint_() -> Callable[[], Tensor]:
    import swaypoint

    linear, features, labels = layer()
    return lambda: torch.from_numpy(
        swaypoint.cooks_distance(linear, (features, labels), progress=False).values
    )


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


def main() -> None:
    print(describe())
    ours = swaypoint_()
    ours()
    tasks = {"swaypoint": ours, **{f"captum, batch {batch}": captum_(batch) for batch in (1024, 8192)}}
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for _ in range(3):
        for name, task in tasks.items():
            start = time.perf_counter()
            task()
            times[name].append(time.perf_counter() - start)
    medians = {name: sorted(values)[1] for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:20} {seconds:8.2f} s   {seconds / medians['swaypoint']:6.1f} ×")


if __name__ == "__main__":
    main()
