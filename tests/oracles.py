"""The slow, obvious versions: dense float64 influence by automatic differentiation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def rows_and_hessian(
    loss: Callable[[Tensor, Tensor], Tensor], matrix: Tensor, features: Tensor, targets: Tensor
) -> tuple[Tensor, Tensor]:
    """Per-point gradients (n, C D) and the mean Hessian (C D, C D) of loss(matrix @ phi, y)."""

    def point(theta: Tensor, phi: Tensor, y: Tensor) -> Tensor:
        return loss(theta.view_as(matrix) @ phi, y)

    theta = matrix.double().flatten()
    features = features.double()
    gradients = torch.func.vmap(torch.func.grad(point), (None, 0, 0))(theta, features, targets)

    def mean(theta: Tensor) -> Tensor:
        return torch.func.vmap(point, (None, 0, 0))(theta, features, targets).mean()

    return gradients, torch.func.hessian(mean)(theta)


def cooks_distance(gradients: Tensor, hessian: Tensor, ridge: Tensor | float = 0.0) -> Tensor:
    """g^T (H + diag(ridge))^+ g by eigen-decomposition."""
    hessian = hessian + torch.diag(torch.as_tensor(ridge, dtype=torch.float64).expand(len(hessian)))
    values, vectors = torch.linalg.eigh(hessian)
    kept = values > 1e-12 * values[-1]
    return ((gradients @ vectors[:, kept]).square() / values[kept]).sum(1)
