"""Peak memory of curvature products over all parameters of ResNet-20, against one training step.

Each in a process of its own: the peak above what the imports and the model take, batch of 512 images.
"""

from __future__ import annotations

import subprocess
import sys

import torch
import torch.nn.functional as F

from benchmarks.machine import describe
from benchmarks.peers.worker import peak

BATCH = 512
TASKS = ("nothing", "training step", "hessian", "ggn")


def measure(task: str) -> None:
    from swaypoint.models.recipes import RECIPES, build
    from swaypoint.scoring.risks.model import ModelRisk

    torch.manual_seed(0)
    x, y = torch.rand(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
    images = (x[:16] * 255).byte().permute(0, 2, 3, 1)
    model = build(RECIPES["resnet20"], images, 10, seed=0)
    risk = ModelRisk(model, (x, y), batch_size=BATCH)
    vector = torch.randn(risk.dimension, 1)
    before = peak()
    if task == "training step":
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        F.cross_entropy(model.train()(x), y).backward()
        optimizer.step()
    elif task in ("hessian", "ggn"):
        solution, residual = torch.zeros_like(vector), vector.clone()  # what CG holds beside the product
        residual = residual - risk.curvature(task) @ vector + solution  # type: ignore[arg-type]
    print(f"{(peak() - before) / 1e6:.0f}")


def main() -> None:
    print(describe())
    used = {}
    for task in TASKS:
        command = [sys.executable, "-m", "benchmarks.memory", task]
        used[task] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    for task, megabytes in used.items():
        ratio = megabytes / used["training step"]
        print(f"{task:14} {megabytes:7.0f} MB   {ratio:.2f} of a training step")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
