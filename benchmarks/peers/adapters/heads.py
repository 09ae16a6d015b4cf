"""Arrays as the torch models that most peers ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

PERCEPTRON_RIDGE = 1e-4
"""Of the perceptron's training; every peer is given it as damping."""


def linear(weight: np.ndarray, bias: np.ndarray) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def mlp(weights: Sequence[np.ndarray], biases: Sequence[np.ndarray]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for weight, bias in zip(weights, biases, strict=True):
        layers += [linear(weight, bias), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).eval()


class Rows(TensorDataset):
    """Hands out a batch at once: torch's own takes a million points one by one, and no peer is to blame."""

    def __getitems__(self, rows: list[int]) -> tuple[Tensor, ...]:
        return self[rows]


def dataset(features: np.ndarray, labels: np.ndarray) -> Rows:
    """Shares memory with the arrays, a memory map too; needs ``collate_fn=list``."""
    return Rows(torch.from_numpy(features), torch.from_numpy(labels))


def batches(features: np.ndarray, labels: np.ndarray, size: int) -> DataLoader:
    """Without shuffling."""
    return DataLoader(dataset(features, labels), batch_size=size, collate_fn=list)


def gradients(model: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Of the cross-entropy of every point, (b, P), for peers that leave them to the user."""
    values = {name: p.detach() for name, p in model.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, parameters, (x.unsqueeze(0),))
        return nn.functional.cross_entropy(logits, y.unsqueeze(0))

    each = torch.func.vmap(torch.func.grad(loss), (None, 0, 0))

    def rows(x: Tensor, y: Tensor) -> Tensor:
        parts = each(values, x, y)
        return torch.cat([parts[name].flatten(1) for name in values], 1)

    return rows
