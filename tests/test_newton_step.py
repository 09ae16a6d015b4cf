"""A Newton step of a head, against dense automatic differentiation in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss


def features() -> torch.Tensor:
    """Six columns: one is the sum of two others, of another unit, and one is dead."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(400, 6, generator=generator, dtype=torch.float64)
    columns[:, 4], columns[:, 5] = 30.0 * (columns[:, 0] + columns[:, 1]), 0.0
    return columns


@pytest.mark.parametrize("penalize_bias", [True, False])
@pytest.mark.parametrize("l2", [1e-1, 1e-4])
@pytest.mark.parametrize(
    ("loss", "outputs"),
    [
        ("cross_entropy", 4),
        ("binary_cross_entropy", 1),
        ("binary_cross_entropy", 3),
        ("squared_error", 2),
        ("poisson", 1),
    ],
)
def test_it_is_that_of_the_dense_hessian(loss: str, outputs: int, l2: float, penalize_bias: bool) -> None:
    rng = np.random.default_rng(1)
    inputs, kind = features(), as_loss(loss)
    weight = 0.3 * torch.from_numpy(rng.normal(size=(outputs, 6)))
    weight[:, 4] *= 0.03
    bias = torch.from_numpy(rng.normal(size=outputs))
    if loss == "cross_entropy":
        targets = torch.from_numpy(rng.integers(0, outputs, 400))
    else:
        size = 400 if outputs == 1 else (400, outputs)
        targets = torch.from_numpy(rng.integers(0, 2, size)).double()
    head = HeadWeights(weight, bias, kind, l2, penalize_bias=penalize_bias)
    data = ArrayBatches(inputs, targets)
    step = Influence(head, data, dtype=torch.float64).newton_step()

    seen = torch.cat([inputs, torch.ones(400, 1, dtype=torch.float64)], 1)
    checked = kind.check(targets, outputs, 0)

    def logits(flat: torch.Tensor) -> torch.Tensor:
        return seen @ flat.view(outputs, 7).T

    def objective(flat: torch.Tensor) -> torch.Tensor:
        ridge = head.penalty(0.0) * flat.view(outputs, 7).square()
        return kind.terms(logits(flat), checked).value.mean() + 0.5 * ridge.sum()

    at = head.matrix.flatten()
    gradient, hessian = torch.func.grad(objective)(at), torch.func.hessian(objective)(at)
    change = -torch.linalg.pinv(hessian, hermitian=True, rtol=1e-12) @ gradient
    # What no point sees: nothing of the logits but, of a softmax, what shifts all of them.
    moved = torch.func.jacrev(logits)(at)
    moved = moved - moved.mean(1, keepdim=True) if loss == "cross_entropy" else moved
    _, singular, vectors = torch.linalg.svd(moved.flatten(0, 1))
    unseen = vectors[int((singular > 1e-9 * singular[0]).sum()) :].T
    free = unseen.T @ gradient
    inner = torch.linalg.pinv(unseen.T @ hessian @ unseen, hermitian=True, rtol=1e-12)
    unseen_decrement = 0.5 * float(free @ inner @ free)
    assert step.objective == pytest.approx(float(objective(at)), rel=1e-12)
    assert step.decrement + unseen_decrement == pytest.approx(-0.5 * float(gradient @ change), rel=1e-7)
    torch.testing.assert_close(step.change.flatten(), change, rtol=1e-6, atol=1e-8)
