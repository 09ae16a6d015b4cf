"""Adam under one cycle of the learning rate, where torch's own would load its compiler first."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from swaypoint.models.recipes import Recipe

_BETAS, _SMALLEST = (0.95, 0.85, 0.999), 1e-8
_UP, _FROM, _TO = 0.3, 25.0, 1e4


class CycledAdam:
    """Adam (Kingma & Ba, 2015) with the recipe's ridge on every weight matrix, under the cycle of Smith &
    Topin (2018): the rate rises over the first 0.3 of the steps and then falls to nothing, the first beta the
    reverse.

    Equivalent, to the bit on a CPU, to ``torch.optim.Adam`` with ``OneCycleLR``; the first of these in a
    process takes seconds of CPU to make, more than a small table to train.

    Args:
        steps: of the whole training.
    """

    def __init__(self, model: nn.Module, recipe: Recipe, steps: int) -> None:
        self._parameters = list(model.parameters())
        self._peak, self._decay, self._steps, self._done = recipe.rate, recipe.decay, steps, 0
        self._means = [torch.zeros_like(p) for p in self._parameters]
        self._squares = [torch.zeros_like(p) for p in self._parameters]

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        first = self._peak / _FROM
        return self._annealed((first, self._peak), (self._peak, first / _TO))

    def _annealed(self, up: tuple[float, float], down: tuple[float, float]) -> float:
        top = float(_UP * self._steps) - 1
        rising = self._done <= top
        start, end = up if rising else down
        share = self._done / top if rising else (self._done - top) / (self._steps - 1 - top)
        return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)

    def zero_grad(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        high, low, second = _BETAS
        rate, beta = self.rate, self._annealed((high, low), (low, high))
        self._done += 1
        for parameter, mean, square in zip(self._parameters, self._means, self._squares, strict=True):
            gradient = parameter.grad
            assert gradient is not None  # every parameter of these models is in the loss
            if self._decay and parameter.ndim > 1:
                gradient = gradient.add(parameter, alpha=self._decay)
            mean.lerp_(gradient, 1 - beta)
            square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
            size = rate / (1 - beta ** float(self._done))
            scale = (1 - second ** float(self._done)) ** 0.5
            parameter.addcdiv_(mean, (square.sqrt() / scale).add_(_SMALLEST), value=-size)

    def state_dict(self) -> dict[str, Any]:
        return {"done": self._done, "means": self._means, "squares": self._squares}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._done = state_dict["done"]
        for ours, stored in ((self._means, "means"), (self._squares, "squares")):
            for own, kept in zip(ours, state_dict[stored], strict=True):
                own.copy_(kept)
