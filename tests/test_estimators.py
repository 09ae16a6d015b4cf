"""Estimators share one interface: a trained model in, float64 arrays out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import swaypoint
from swaypoint.estimators import TrainedModel, methods
from test_autodiff import trained, two_layers

CONVERGED = trained(two_layers, 0.005)


def subject(params=None, **options):
    model, x, y = CONVERGED
    return TrainedModel(model, (x, y), params=params, l2=0.005, **options)


@pytest.mark.parametrize("params", [None, "2.*", "*"])
def test_cooks_distance_is_the_influence_of_a_point_on_itself(params):
    _, x, y = CONVERGED
    trained_model = subject(params)
    cook = methods["cooks_distance"].score(trained_model)
    on = methods["cooks_distance"].on(trained_model, (x, y))
    assert cook.shape == (120,)
    np.testing.assert_allclose(on.diagonal(), cook, rtol=1e-9)


def test_the_last_layer_is_the_same_by_either_route():
    model, x, y = CONVERGED
    expected = swaypoint.cooks_distance(model, (x, y), l2=0.005, dtype=torch.float64, progress=False).values
    for params in (None, "2.*"):
        np.testing.assert_allclose(methods["cooks_distance"].score(subject(params)), expected, rtol=1e-8)
