"""The network that images are met with where nothing else is asked for: few, wide convolutions, few epochs.

After Jordan (2024), "94 % on CIFAR-10 in 3.29 seconds on a single GPU" (arXiv 2404.00498, section 3), which
goes back to Page's ResNet-9 (2019). What differs: narrower blocks (a CPU trains it), no label smoothing (the
loss is that of which influence is taken), pictures that grow with the epochs in place of the average over
weights, random mirroring in place of alternating, a bias on the head. Where training mirrors pictures,
features are the mean over a picture and its mirror image, as there where it is tested.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from swaypoint.models.convolution import Convolution
from swaypoint.models.networks import Standardize

WIDTHS = (48, 128, 256)
LARGEST = 64
"""Pixels a side; larger pictures are brought to it."""
PATCH = 2
_SHRUNK = 1e-3
"""A variance of patches, in units of a pixel's, that counts for little: compression makes such."""
_ABSENT = 1e-5
"""A variance that is none."""
_LEVEL = 1e-3
"""Added to a norm's variances: the gradients of a channel that is nearly constant are held within bounds."""
_PATCHES = 500_000
_DECAY = 1.3e-3
_HEAD, _BIAS = 1 / 81, 64.0
"""Rates of the head and of the biases, in units of the convolutions'. Jordan divides the logits by 9; here
the head is that much smaller instead, and its gradient then 9 times as large."""


class Pair(nn.Module):
    """Two 3 x 3 convolutions, each with a batch norm (whose scale stays one) and a GELU; after the first the
    side is halved. They begin as the identity (Zagoruyko & Komodakis, 2017), as far as there are channels."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1 = Convolution(channels, width)
        self.norm1 = nn.BatchNorm2d(width, eps=_LEVEL)
        self.conv2 = Convolution(width, width)
        self.norm2 = nn.BatchNorm2d(width, eps=_LEVEL)
        for convolution in (self.conv1, self.conv2):
            nn.init.dirac_(convolution.weight.data[: convolution.in_channels])
        for norm in (self.norm1, self.norm2):
            norm.weight.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        # Of small pictures no border is lost.
        x = F.max_pool2d(self.conv1(x), 2, ceil_mode=min(x.shape[2:]) < 8)
        return F.gelu(self.norm2(self.conv2(F.gelu(self.norm1(x)))))


class Airbench(nn.Module):
    """Whitened patches of 2 x 2, three :class:`Pair`, the maximum over the picture, one linear layer: 256
    features. Input (b, 3, H, W) in 0..1, of any side from 2 pixels on.

    Attributes:
        mirrored: (), bool: once trained, features are the mean over a picture and its mirror image.
    """

    mirrored: Tensor

    def __init__(self, standardize: Standardize, outputs: int) -> None:
        super().__init__()
        filters = 2 * 3 * PATCH**2
        self.standardize = standardize
        self.whiten = nn.Conv2d(3, filters, PATCH)
        self.whiten.weight.requires_grad_(False)
        nn.init.zeros_(self.whiten.bias)  # type: ignore[arg-type]
        widths = (filters, *WIDTHS)
        self.blocks = nn.Sequential(*(Pair(*pair) for pair in zip(widths, WIDTHS, strict=False)))
        self.register_buffer("mirrored", torch.tensor(False))
        self.head = nn.Linear(WIDTHS[-1], outputs)
        nn.init.zeros_(self.head.bias)
        with torch.no_grad():
            self.head.weight.mul_(_HEAD**0.5)

    def forward(self, x: Tensor) -> Tensor:
        if max(x.shape[2:]) > LARGEST:
            x = F.interpolate(x, size=(LARGEST, LARGEST), mode="bilinear", antialias=True)
        features = self._features(x)
        if not self.training and self.mirrored:
            features = (features + self._features(x.flip(3))) / 2
        return self.head(features)

    def _features(self, x: Tensor) -> Tensor:
        x = self.blocks(F.gelu(self.whiten(self.standardize(x))))
        return x.amax((2, 3))


def start(model: nn.Module, inputs: Tensor) -> None:
    """Set the first convolution of an :class:`Airbench` by the pictures (n, H, W, 3) uint8 it is to learn."""
    assert isinstance(model, Airbench)
    positions = max(1, (inputs.shape[1] - 1) * (inputs.shape[2] - 1))
    sample = inputs[:: max(1, len(inputs) * positions // _PATCHES)]
    if min(inputs.shape[1:3]) >= PATCH:
        pictures = model.standardize(sample.permute(0, 3, 1, 2).float() / 255)
        model.whiten.weight.data.copy_(whitening(pictures))


def whitening(pictures: Tensor) -> Tensor:
    """Filters (24, 3, 2, 2) float32 whose outputs over the patches of ``pictures`` (n, 3, H, W) have the
    identity as their second moment, each once with either sign (Jordan, 2024, section 3.2): the eigenvectors
    of the patches' second moment over the root of their eigenvalues, each with 0.001 added.

    Directions that no patch has, as of grey pictures, are left out, and others stand twice for them: a
    channel that is the same everywhere would be blown up by the norm that follows.
    """
    patches = F.unfold(pictures, PATCH).transpose(1, 2).reshape(-1, 3 * PATCH**2).double()
    values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors * (values.clamp_min(0) + _SHRUNK).rsqrt()).T.reshape(-1, 3, PATCH, PATCH).float()
    there = filters[values > _ABSENT]
    if 0 < len(there) < len(filters):
        filters = there.repeat(-(-len(filters) // len(there)), 1, 1, 1)[: len(filters)]
    return torch.cat([filters, -filters])


def groups(model: nn.Module, rate: float, decay: float) -> list[dict[str, Any]]:
    """Parameters with their rates and decays, for an optimiser of torch; the head's come first, whose ridge
    is ``decay``. Decay and rate of the other weights keep their product, which is all that a norm leaves
    of them (van Laarhoven, 2017)."""
    assert isinstance(model, Airbench)
    head = {"lr": rate * _HEAD}
    weights = [p for p in model.blocks.parameters() if p.ndim > 1]
    biases = [p for p in model.parameters() if p.ndim == 1 and p.requires_grad and p is not model.head.bias]
    return [
        {"params": [model.head.weight], "weight_decay": decay, **head},
        {"params": [model.head.bias], "weight_decay": 0.0, **head},
        {"params": weights, "weight_decay": _DECAY, "lr": rate},
        {"params": biases, "weight_decay": _DECAY / _BIAS, "lr": rate * _BIAS},
    ]
