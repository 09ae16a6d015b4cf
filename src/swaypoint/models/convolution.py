"""3 x 3 convolutions of few pixels and many channels, trained in bfloat16 on a CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_PIXELS, _WEIGHTS = 64, 2**15
"""Of pictures of at most so many pixels and matrices of at least so many weights products are faster."""


class Convolution(nn.Conv2d):
    """A 3 x 3 convolution that keeps the side, without a bias.

    The gradient of its weights is nine matrix products where that is faster: oneDNN adds, in bfloat16, to
    all of them once for every picture, which takes longer than all else where a picture is a few pixels.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(channels, width, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        many = self.in_channels * self.out_channels >= _WEIGHTS and x.shape[2] * x.shape[3] <= _PIXELS
        if many and x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and self.training:
            half = torch.get_autocast_dtype("cpu")
            return _ByProducts.apply(x.to(half), self.weight.to(half))  # type: ignore[no-any-return, no-untyped-call]
        return super().forward(x)


class _ByProducts(torch.autograd.Function):
    """The convolution of pictures (b, c, H, W) with weights (d, c, 3, 3)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, padding=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        height, width = x.shape[2:]
        outputs = gradient.permute(0, 2, 3, 1).reshape(-1, len(weight)).T
        padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        products = x.new_empty(3, 3, *weight.shape[:2])
        for i in range(3):
            for j in range(3):
                shifted = padded[:, i : i + height, j : j + width].reshape(-1, weight.shape[1])
                torch.mm(outputs, shifted, out=products[i, j])
        return F.conv_transpose2d(gradient, weight, padding=1), products.permute(2, 3, 0, 1)
