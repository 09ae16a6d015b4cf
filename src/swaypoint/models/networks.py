"""The networks that are trained when the user brings none, and those of the paper's CIFAR-10 study."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_VGG19 = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
_DROPOUT = 0.2

# Expansion, channels, blocks, stride, kernel (Tan & Le, 2019, table 1). The stem and the second stage
# keep the side of a small image, which is a seventh of the original's.
_STAGES = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 1, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_STEM, _TOP = 32, 1280


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


class VGG19(nn.Module):
    """Sixteen 3 x 3 convolutions with batch norms and one linear layer in place of the three of
    ImageNet (Simonyan & Zisserman, 2015, table 1, E): 512 features. Input (b, 3, H, W) in 0..1."""

    def __init__(self, standardize: Standardize, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, depth in _VGG19:
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
        self.standardize = standardize
        self.features = nn.Sequential(*layers)
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(self.standardize(x)).mean((2, 3))))


class Excitation(nn.Module):
    """Channels weighted by what all positions say together (Hu, Shen & Sun, 2018)."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce, self.expand = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.expand(F.silu(self.reduce(x.mean((2, 3), keepdim=True)))))


class InvertedBottleneck(nn.Module):
    """MBConv: expand, convolve each channel alone, excite, project (Sandler et al., 2018; Tan & Le, 2019)."""

    def __init__(self, channels: int, width: int, *, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.SiLU()]
        layers += [
            nn.Conv2d(inner, inner, kernel, stride, kernel // 2, groups=inner, bias=False),
            nn.BatchNorm2d(inner),
            nn.SiLU(),
            Excitation(inner, max(1, channels // 4)),
            nn.Conv2d(inner, width, 1, bias=False),
            nn.BatchNorm2d(width),
        ]
        self.layers = nn.Sequential(*layers)
        self.shortcut = stride == 1 and channels == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x) if self.shortcut else self.layers(x)


class EfficientNetB0(nn.Module):
    """EfficientNet-B0 (Tan & Le, 2019) with the first two strides of ImageNet left out: 1,280 features.
    Input (b, 3, H, W) in 0..1."""

    def __init__(self, standardize: Standardize, outputs: int) -> None:
        super().__init__()
        self.standardize = standardize
        blocks: list[nn.Module] = []
        channels = _STEM
        for expansion, width, depth, stride, kernel in _STAGES:
            for step in (stride, *[1] * (depth - 1)):
                blocks.append(
                    InvertedBottleneck(channels, width, expansion=expansion, stride=step, kernel=kernel)
                )
                channels = width
        self.features = nn.Sequential(
            nn.Conv2d(3, _STEM, 3, 1, 1, bias=False),
            nn.BatchNorm2d(_STEM),
            nn.SiLU(),
            *blocks,
            nn.Conv2d(channels, _TOP, 1, bias=False),
            nn.BatchNorm2d(_TOP),
            nn.SiLU(),
        )
        self.dropout = nn.Dropout(_DROPOUT)
        self.head = nn.Linear(_TOP, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.dropout(self.features(self.standardize(x)).mean((2, 3))))


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
