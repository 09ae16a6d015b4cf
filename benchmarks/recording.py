"""What it costs to record Cook's distance after every epoch: ResNet-20, 2,000 images of 32 x 32."""

from __future__ import annotations

import tempfile

import torch
import torch.nn.functional as F

from benchmarks.machine import describe
from swaypoint.models.recipes import RECIPES, build
from swaypoint.models.recording import InfluenceRecorder

EPOCHS = 3


def main() -> None:
    print(describe())
    torch.manual_seed(0)
    pictures, y = torch.randint(0, 256, (2000, 32, 32, 3)).byte(), torch.arange(2000) % 10
    x = pictures.permute(0, 3, 1, 2).float() / 255
    model = build(RECIPES["resnet20"], pictures, 10, seed=0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    with tempfile.TemporaryDirectory() as folder:
        recorder = InfluenceRecorder((x, y), folder, l2=5e-4)
        for epoch in range(EPOCHS):
            for rows in torch.randperm(len(x)).split(128):
                optimizer.zero_grad()
                F.cross_entropy(model(x[rows]), y[rows]).backward()
                optimizer.step()
            recorder(model, epoch, rate=0.05)
        print(f"share of the time spent recording, every epoch: {recorder.overhead:.0%}")


if __name__ == "__main__":
    main()
