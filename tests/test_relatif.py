"""Relative influence against dense float64 derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import swaypoint
from cases import trained, two_layers
from swaypoint.scorers import scores
from swaypoint.scoring.solvers.base import Inverse, Solution
from swaypoint.scoring.trained_model import TrainedModel

MODEL, X, Y = trained(two_layers, 0.005)
TEST = (X[:7] + 0.1, 1 - Y[:7])


def subject(params):
    return TrainedModel(MODEL, (X, Y), params=params, l2=0.005, curvature="hessian")


def dense(params):
    """Rows of the test and of the training gradients, and the inverse Hessian with its ridge."""
    named = {
        name: p.detach() for name, p in MODEL.named_parameters() if params == "*" or name.startswith("2.")
    }
    theta = torch.cat([p.flatten() for p in named.values()])

    def losses(theta, x, y):
        parts = theta.split([p.numel() for p in named.values()])
        values = {name: part.view_as(p) for (name, p), part in zip(named.items(), parts, strict=True)}
        return F.cross_entropy(torch.func.functional_call(MODEL, values, (x,)), y, reduction="none")

    queries = torch.autograd.functional.jacobian(lambda t: losses(t, *TEST), theta)
    rows = torch.autograd.functional.jacobian(lambda t: losses(t, X, Y), theta)
    hessian = torch.autograd.functional.hessian(lambda t: losses(t, X, Y).mean(), theta)
    return queries, rows, torch.linalg.inv(hessian + 0.005 * torch.eye(len(theta)).double())


@pytest.mark.parametrize("params", [None, "2.*", "*"])
@pytest.mark.parametrize("name", ["relatif_theta", "relatif_loss"])
def test_equals_the_dense_quotient(name, params):
    queries, rows, inverse = dense(params)
    solved = inverse @ rows.T
    sizes = solved.norm(dim=0) if name == "relatif_theta" else (rows * solved.T).sum(1).sqrt()
    values = scores[name].on(subject(params), TEST)
    assert values.dtype == np.float64
    np.testing.assert_allclose(values, queries @ solved / sizes, rtol=1e-6, atol=1e-10)


def test_on_itself_the_l_relative_influence_is_the_root_of_cooks_distance():
    values = scores["relatif_loss"].on(subject(None), (X, Y))
    cook = swaypoint.cooks_distance(MODEL, (X, Y), l2=0.005, dtype=torch.float64, progress=False).values
    np.testing.assert_allclose(values.diagonal(), np.sqrt(cook), rtol=1e-8)


@pytest.mark.parametrize("name", ["relatif_theta", "relatif_loss"])
def test_a_point_without_a_gradient_has_no_influence(name):
    y = torch.randn(30, 1).double()
    model = torch.nn.Linear(4, 1).double()
    y[3] = model(X[3:4]).item()
    trained_model = TrainedModel(model, (X[:30], y), loss="squared_error", l2=0.1)
    values = scores[name].on(trained_model, (X[30:35], y[:5]))
    assert (values[:, 3] == 0).all()
    assert np.isfinite(values).all()


def test_a_negative_self_influence_is_an_error_with_the_remedies():
    class Indefinite(Inverse):
        def solve(self, vectors):
            return Solution(-vectors, "wrong")

    trained_model = subject(None)
    trained_model.inverse = Indefinite()
    with pytest.raises(swaypoint.InputError, match=r"row 0 is negative.*'ggn'.*damping"):
        scores["relatif_loss"].on(trained_model, TEST)
