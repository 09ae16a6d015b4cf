"""Leave-one-out scores against least squares, where the step without the point is exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from swaypoint.scorers import scores
from swaypoint.scoring.trained_model import TrainedModel


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3))
    y = x @ rng.normal(size=3) + 0.5 + rng.normal(size=40)
    design = np.column_stack([x, np.ones(40)])
    coefficients = np.linalg.lstsq(design, y, rcond=None)[0]
    layer = nn.Linear(3, 1).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(coefficients[None, :3]))
        layer.bias.copy_(torch.from_numpy(coefficients[3:]))
    hat = np.diag(design @ np.linalg.pinv(design))
    return TrainedModel(layer, (x, y), loss="squared_error"), y - design @ coefficients, hat


def test_finite_removal_is_the_statisticians_numerator(regression):
    trained, errors, hat = regression
    expected = 40 * errors**2 * hat / (1 - hat) ** 2
    np.testing.assert_allclose(scores["finite_removal"].score(trained), expected, rtol=1e-8)


def test_leave_one_out_loss_is_half_the_squared_press_residual(regression):
    trained, errors, hat = regression
    expected = 0.5 * (errors / (1 - hat)) ** 2
    np.testing.assert_allclose(scores["leave_one_out_loss"].score(trained), expected, rtol=1e-8)
