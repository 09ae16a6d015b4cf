"""Estimators share one interface: a trained model in, float64 arrays out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import swaypoint
from swaypoint.scorers import methods
from swaypoint.scoring.solver_choice import solvers
from swaypoint.scoring.trained_model import TrainedModel
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


def test_every_method_says_where_it_comes_from():
    for name, method in methods.items():
        assert name == method.name
        assert method.source
        assert method.summary
        assert method.score is not None or method.on is not None


@pytest.mark.parametrize("params", ["*", ("0.*",)])
def test_the_public_ranking_by_any_parameters(params):
    model, x, y = CONVERGED
    ranking = swaypoint.cooks_distance(model, (x, y), params=params, l2=0.005, progress=False)
    np.testing.assert_allclose(ranking.values, methods["cooks_distance"].score(subject(params)), rtol=1e-9)
    assert ranking.diagnostics.verdict == "fit"
    last = swaypoint.cooks_distance(model, (x, y), l2=0.005, progress=False)
    np.testing.assert_array_equal(ranking.margin, last.margin)
    sketch = swaypoint.cooks_distance(model, (x, y), params=params, l2=0.005, solver="sketch", progress=False)
    off = (sketch.values - ranking.values) / sketch.standard_error
    assert np.sqrt(np.mean(off**2)) < 1.5


def test_what_only_the_last_layer_has_is_refused():
    model, x, y = CONVERGED
    with pytest.raises(swaypoint.InputError, match="leave params out"):
        swaypoint.cooks_distance(model, (x, y), params="*", removal="finite", progress=False)
    with pytest.raises(swaypoint.InputError, match="'cg'; the last layer takes"):
        swaypoint.cooks_distance(model, (x, y), solver="cg", progress=False)


def test_every_method_and_solver_is_documented():
    text = (Path(__file__).parents[1] / "docs" / "methods.md").read_text()
    for name in [*methods, *solvers]:
        assert f"`{name}`" in text
