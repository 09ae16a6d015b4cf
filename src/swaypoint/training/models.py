"""The models that are trained when the user brings none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Standardize(nn.Module):
    """(x - mean) / std by channel or column, kept with the weights; constant columns become 0."""

    mean: Tensor
    scale: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("scale", torch.where(std > 1e-12, 1.0 / std.clamp_min(1e-12), 0.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) * self.scale


class Block(nn.Module):
    """Two 3 x 3 convolutions around a shortcut without parameters (He et al., 2016, option A)."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.stride, self.extra = stride, width - channels

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.extra:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))
        return F.relu(y + shortcut)


class ResNet20(nn.Module):
    """The CIFAR ResNet of depth 20 (He et al., 2016, section 4.2): 64 features, one linear layer.

    Input (b, 3, H, W) in 0..1.
    """

    def __init__(self, standardize: Standardize, outputs: int) -> None:
        super().__init__()
        self.standardize = standardize
        self.conv = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(16)
        blocks: list[nn.Module] = []
        channels = 16
        for width in (16, 32, 64):
            for position in range(3):
                blocks.append(Block(channels, width, 2 if position == 0 and width > 16 else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.conv(self.standardize(x))))
        return self.head(self.blocks(x).mean((2, 3)))


class MLP(nn.Module):
    """Two hidden ReLU layers of 128 and 64 on standardised columns. Input (b, D)."""

    def __init__(self, standardize: Standardize, outputs: int) -> None:
        super().__init__()
        self.standardize = standardize
        self.hidden = nn.Sequential(
            nn.Linear(standardize.mean.numel(), 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU()
        )
        self.head = nn.Linear(64, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.hidden(self.standardize(x)))


@dataclass(frozen=True)
class Recipe:
    """How a default model is built and trained.

    ``optimizer`` and peak ``rate`` (one cycle; Smith & Topin, 2018); ``decay``, the ridge of the
    objective on every weight but not on biases and norms; ``augment`` shifts images by up to an
    eighth of their side.
    """

    name: str
    build: Callable[[Standardize, int], nn.Module]
    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam"]
    rate: float
    decay: float
    augment: bool


RESNET20 = Recipe("ResNet-20", ResNet20, 15, 128, "sgd", 0.1, 5e-4, augment=True)
PERCEPTRON = Recipe("MLP", MLP, 60, 64, "adam", 3e-3, 1e-3, augment=False)
RECIPES = {"resnet20": RESNET20, "mlp": PERCEPTRON}


def build(recipe: Recipe, inputs: Tensor, outputs: int, *, seed: int) -> nn.Module:
    """A fresh model of ``recipe``; its standardisation is taken from ``inputs`` (the training part):
    (n, D) float, or (n, H, W, 3) uint8."""
    if inputs.ndim == 4:
        sample = inputs[:: max(1, len(inputs) // 5000)].float() / 255
        mean, std = sample.mean((0, 1, 2)).view(3, 1, 1), sample.std((0, 1, 2)).view(3, 1, 1)
    else:
        mean, std = inputs.double().mean(0).float(), inputs.double().std(0, correction=0).float()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return recipe.build(Standardize(mean, std), outputs)
