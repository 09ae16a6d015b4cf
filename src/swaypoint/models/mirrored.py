"""Whether a picture and its mirror image mean the same."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_MOST, _SIDE = 4000, 16
_RIDGE = 0.1
_ALIKE = 0.9


def mirrors_alike(inputs: Tensor, targets: Tensor) -> bool:
    """Whether a linear model of the pixels, fitted to every other picture, does as well on the mirror images
    of the rest as on the rest: so it does on photographs, but not on digits, letters, or signs to the left
    and to the right, whose mirror images a training must not show under the same label.

    Args:
        inputs: ``(n, H, W, 3)`` uint8; at most 4,000 are looked at, at most 16 pixels at the side.
        targets: ``(n,)``, integers of classes, or real values.
    """
    every = slice(None, None, max(1, len(inputs) // _MOST))
    pictures = inputs[every].permute(0, 3, 1, 2).float() / 255
    side = min(_SIDE, *pictures.shape[2:])
    pictures = F.interpolate(pictures, size=(side, side), mode="area")
    values = targets[every].double()[:, None]
    if not targets.is_floating_point():
        values = F.one_hot(targets[every].long()).double()
    fitted, rest = slice(0, None, 2), slice(1, None, 2)
    x, mirrored = pictures.flatten(1).double(), pictures.flip(3).flatten(1).double()
    mean, level = x[fitted].mean(0), values[fitted].mean(0)
    centred = x[fitted] - mean
    gram = centred.T @ centred
    ridge = _RIDGE * gram.diagonal().mean() + 1e-12
    weight = torch.linalg.solve(
        gram + ridge * torch.eye(len(gram), dtype=torch.float64), centred.T @ (values[fitted] - level)
    )

    def right(x: Tensor) -> float:
        found = (x[rest] - mean) @ weight
        if targets.is_floating_point():
            truth = values[rest] - values[rest].mean()
            return float(F.cosine_similarity((found - found.mean()).flatten(), truth.flatten(), dim=0))
        return float(((found + level).argmax(1) == targets[every][rest]).double().mean())

    return right(mirrored) >= _ALIKE * right(x)
