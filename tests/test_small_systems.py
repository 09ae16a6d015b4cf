"""A softmax head's curvature in its outputs' coordinates, and the small systems of leave-one-out, against
dense float64 algebra that forms no difference."""

from __future__ import annotations

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from swaypoint.scoring.operators.logits import DiagonalMinusOuter
from swaypoint.scoring.operators.packed import pack_index
from swaypoint.scoring.operators.removal import of_few_outputs
from swaypoint.scoring.risks.coordinates import contrasts

CPU = torch.device("cpu")


def softmax_points(seed: int, points: int, classes: int, sharpness: float) -> tuple[torch.Tensor, ...]:
    """Probabilities (b, C), an output basis (C, m), and the curvature in it (b, m, m)."""
    generator = torch.Generator().manual_seed(seed)
    logits = sharpness * torch.randn(points, classes, generator=generator, dtype=torch.float64)
    mixing = torch.randn(classes - 1, classes - 1, generator=generator, dtype=torch.float64)
    p, basis = logits.softmax(1), contrasts(classes) @ mixing
    one, other = torch.triu_indices(classes, classes, 1)
    apart = basis[one] - basis[other]
    return p, basis, torch.einsum("bp,pm,pk->bmk", p[:, one] * p[:, other], apart, apart)


@pytest.mark.parametrize("sharpness", [1.0, 15.0, 60.0])
@pytest.mark.parametrize("classes", [3, 10])
def test_curvature_of_confident_points_keeps_its_digits(classes, sharpness):
    p, basis, dense = softmax_points(0, 300, classes, sharpness)
    packed = DiagonalMinusOuter(p, p).project(basis).T
    expected = dense.flatten(1)[:, pack_index(classes - 1, CPU)]
    largest = dense.flatten(1).abs().amax(1, keepdim=True)
    assert ((packed - expected).abs() <= 1e-13 * largest).all()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    classes=st.integers(3, 9),
    sharpness=st.sampled_from([0.5, 4.0, 15.0]),
    leverage=st.sampled_from([0.02, 0.5, 0.95]),
    added=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@example(seed=200, classes=3, sharpness=15.0, leverage=0.95, added=False, dtype=torch.float32)
def test_left_out_or_added_is_the_dense_solve(seed, classes, sharpness, leverage, added, dtype):
    n, m = 1000, classes - 1
    p, basis, reduced = softmax_points(seed, 40, classes, sharpness)
    root = torch.randn(40, m, m, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    a = root @ root.mT
    a *= (n * leverage / torch.linalg.eigvals(reduced @ a).abs().amax(1))[:, None, None]
    a = a.to(dtype).double()
    residuals = (p - torch.nn.functional.one_hot(p.argmin(1), classes)) @ basis * 1e-25
    sign = -1 if added else 1
    expected = torch.linalg.solve(torch.eye(m).double() - sign * reduced @ a / n, residuals)
    packed = a.flatten(1)[:, pack_index(m, CPU)].T.to(dtype)
    found, shift = of_few_outputs(DiagonalMinusOuter(p, p), basis, packed, residuals.T, sign * n)
    accuracy = 2e-5 if dtype == torch.float32 else 1e-9
    assert ((found.T - expected).abs().amax(1) <= accuracy * expected.abs().amax(1)).all()
    moved = sign * (a @ expected.unsqueeze(2)).squeeze(2) / n
    assert ((shift.T - moved).abs().amax(1) <= accuracy * moved.abs().amax(1)).all()
