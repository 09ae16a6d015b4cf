"""Muon: steps of weight matrices, made orthogonal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

_QUINTIC = (3.4445, -4.7750, 2.0315)
_STEPS = 5
_MOMENTUM = 0.95
_BETAS, _SMALLEST = (0.9, 0.999), 1e-8


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al., 2024) for the weight matrices between the first and the last, Adam (Kingma & Ba,
    2015) for all else.

    A matrix moves by its gradient's Nesterov momentum, made nearly orthogonal by five Newton-Schulz steps,
    times 0.2 sqrt(max(rows, columns)): as far as by Adam at the same rate (Liu et al., 2025). It is
    ``torch.optim.Muon``, which is for matrices alone and multiplies in bfloat16 on processors where that is
    slow, too.

    Args:
        lr: the learning rate.
        weight_decay: a ridge on the first and the last matrix.
        dtype: of the Newton-Schulz products.
    """

    def __init__(self, model: nn.Module, lr: float, weight_decay: float, dtype: torch.dtype) -> None:
        parameters = [p for p in model.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.ndim == 2]
        ends, inner = [*matrices[:1], *matrices[1:][-1:]], matrices[1:-1]
        groups = [
            {"params": ends, "weight_decay": weight_decay, "orthogonal": False},
            {"params": [p for p in parameters if p.ndim != 2], "weight_decay": 0.0, "orthogonal": False},
            {"params": inner, "weight_decay": 0.0, "orthogonal": True},
        ]
        self._dtype = dtype
        super().__init__(groups, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """One step; ``closure`` is called first, as other optimisers do."""
        value = None
        if closure is not None:
            with torch.enable_grad():
                value = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    step = self._orthogonal if group["orthogonal"] else self._adam
                    step(parameter, parameter.grad + group["weight_decay"] * parameter, group["lr"])
        return value

    def _orthogonal(self, matrix: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[matrix]
        if not state:
            state["mean"] = torch.zeros_like(matrix)
        mean = state["mean"].lerp_(gradient, 1 - _MOMENTUM)
        direction = orthogonal(gradient.lerp(mean, _MOMENTUM).to(self._dtype))
        matrix.add_(direction.to(matrix), alpha=-rate * 0.2 * max(matrix.shape) ** 0.5)

    def _adam(self, parameter: Tensor, gradient: Tensor, rate: float) -> None:
        state = self.state[parameter]
        if not state:
            state.update(mean=torch.zeros_like(parameter), square=torch.zeros_like(parameter), step=0)
        state["step"] += 1
        (first, second), steps = _BETAS, state["step"]
        mean = state["mean"].lerp_(gradient, 1 - first) / (1 - first**steps)
        square = state["square"].lerp_(gradient.square(), 1 - second) / (1 - second**steps)
        parameter.addcdiv_(mean, square.sqrt_().add_(_SMALLEST), value=-rate)


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly U V' of the singular value decomposition U S V' of ``matrix``: most singular values are 0.7 to
    1.2, by the quintic Newton-Schulz iteration of Jordan et al. (2024)."""
    a, b, c = _QUINTIC
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / x.norm().clamp_min(1e-7)
    for _ in range(_STEPS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x
