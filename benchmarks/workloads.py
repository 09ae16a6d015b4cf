"""Synthetic heads with the statistics of trained ones: half-sparse features, mostly right labels."""

from __future__ import annotations

import torch
from torch import Tensor


def head_problem(n: int, d: int, c: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """features (n, d) float32 >= 0, labels (n,), weight (c, d), bias (c,): a classifier about 90 % right."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator).relu_()
    weight = torch.randn(c, d, generator=generator) / d**0.5 * 4
    bias = torch.zeros(c)
    logits = features @ weight.T
    noise = -torch.log(-torch.log(torch.rand(n, c, generator=generator)))
    return features, (logits + 0.7 * noise).argmax(1), weight, bias
