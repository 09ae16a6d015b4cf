"""Intervals: equal to the jackknife+ of actual refits where those are known, and coverage elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import swaypoint
from cases import PROBLEMS, network, newton, regression, solved, with_one, without
from swaypoint.scorers.discriminative_jackknife import discriminative_jackknife
from swaypoint.scorers.reweighting import leave_one_out
from swaypoint.scoring.trained_model import TrainedModel


def jackknife_plus(X, y, at, alpha, ridge=0.0):
    """Barber et al. (2021), Eq. 1.2, by n refits and sorting; numpy only."""
    n, lows, highs = len(y), [], []
    for i in range(n):
        keep = np.arange(n) != i
        moment = X[keep].T @ X[keep] + n * ridge * np.eye(X.shape[1])
        fit = np.linalg.solve(moment, X[keep].T @ y[keep])
        residual = abs(y[i] - X[i] @ fit)
        lows.append(at @ fit - residual)
        highs.append(at @ fit + residual)
    lows, highs = np.sort(lows, 0), np.sort(highs, 0)
    return np.stack([lows[int(alpha * (n + 1)) - 1], highs[int(np.ceil((1 - alpha) * (n + 1))) - 1]], 1)


@pytest.mark.parametrize("params", [None, "*"])
@pytest.mark.parametrize("ridge", [0.0, 0.3])
@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_a_linear_model_has_the_jackknife_plus_of_actual_refits(params, ridge, alpha):
    model, x, y = regression(50, ridge)
    trained = TrainedModel(model, (x, y), loss="squared_error", l2=ridge, params=params, batch_size=16)
    at = torch.randn(12, 3, generator=torch.Generator().manual_seed(5)).double()
    expected = jackknife_plus(with_one(x).numpy(), y.numpy(), with_one(at).numpy(), alpha, ridge)
    np.testing.assert_allclose(discriminative_jackknife(trained, at, alpha), expected, rtol=1e-8)


def test_higher_orders_come_closer_to_the_refits():
    model, x, y = regression(30)
    trained = TrainedModel(model, (x, y), loss="squared_error")
    at = torch.randn(12, 3, generator=torch.Generator().manual_seed(5)).double()
    exact = discriminative_jackknife(trained, at)
    errors = [np.abs(discriminative_jackknife(trained, at, order=k) - exact).max() for k in (1, 2, 4)]
    assert errors[1] < 0.7 * errors[0]
    assert errors[2] < 0.5 * errors[1]


@pytest.mark.parametrize("name", PROBLEMS)
def test_leave_one_out_parameters_against_refits(name):
    problem = solved(name)
    some, errors = (0, 33, 71), {}
    exact = torch.stack([problem.refit(without(i)) - problem.theta for i in some])
    for order in (1, 2, 3, "newton"):
        steps = torch.cat([steps for _, _, steps in leave_one_out(problem.trained, order)])
        assert steps.shape == (90, len(problem.theta))
        errors[order] = float((steps[list(some)] - exact).norm() / exact.norm())
    assert errors[1] < 0.4
    assert errors[2] < 0.6 * errors[1]
    assert errors[3] < 0.8 * errors[2]
    if problem.trained.params is None:  # of a network it leaves the curvature's change out, as order 1 does
        assert errors["newton"] < errors[1]


def test_coverage_on_held_out_data():
    """alpha = 0.1: at least 0.8 is guaranteed in the mean over samples, about 0.9 expected."""
    covered = []
    for seed in range(30):
        model, x, y = regression(60, seed=seed)
        trained = TrainedModel(model, (x, y), loss="squared_error")
        _, at, observed = regression(500, seed=100 + seed)
        ends = discriminative_jackknife(trained, at)
        covered.append(((ends[:, 0] <= observed.numpy()) & (observed.numpy() <= ends[:, 1])).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)


def test_coverage_of_a_network():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(600, 2, generator=generator).double() * 4 - 2
    y = torch.sin(2 * x[:, 0]) + 0.5 * x[:, 1] + 0.3 * torch.randn(600, generator=generator).double()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    train, held = slice(0, 100), slice(100, None)

    def objective(theta):
        hidden = (x[train] @ theta[:10].view(5, 2).T + theta[10:15]).tanh()
        error = hidden @ theta[15:20] + theta[20] - y[train]
        return 0.5 * error.square().mean() + 0.005 * theta.square().sum()

    theta = newton(objective, nn.utils.parameters_to_vector(model.parameters()).detach())
    nn.utils.vector_to_parameters(theta, model.parameters())
    for order, curvature in ((1, "hessian"), ("newton", "ggn")):
        trained = TrainedModel(
            model, (x[train], y[train]), loss="squared_error", params="*", l2=0.01, curvature=curvature
        )
        ends = discriminative_jackknife(trained, x[held], order=order)
        inside = (ends[:, 0] <= y[held].numpy()) & (y[held].numpy() <= ends[:, 1])
        assert 0.85 < inside.mean() < 0.95, order


def test_an_alpha_that_n_points_cannot_give_is_infinite():
    model, x, y = regression(20)
    trained = TrainedModel(model, (x, y), loss="squared_error")
    np.testing.assert_array_equal(discriminative_jackknife(trained, x[:3], 0.04), [[-np.inf, np.inf]] * 3)
    assert np.isfinite(discriminative_jackknife(trained, x[:3], 1 / 21)).all()


def test_what_has_no_intervals_is_named():
    model, x, y = regression(20)
    trained = TrainedModel(model, (x, y), loss="squared_error")
    with pytest.raises(swaypoint.InputError, match=r"need a regression.*cross_entropy"):
        discriminative_jackknife(network().trained, x)
    with pytest.raises(swaypoint.InputError, match="alpha is 10"):
        discriminative_jackknife(trained, x, 10)
    two = TrainedModel(nn.Linear(3, 2).double(), (x, torch.stack([y, y], 1)), loss="squared_error")
    with pytest.raises(swaypoint.InputError, match="2 outputs; expected one"):
        discriminative_jackknife(two, x)
    x[0], x[1:, 2] = torch.tensor([0.0, 0.0, 1.0]).double(), 0.0
    with pytest.raises(swaypoint.InputError, match="they alone held"):
        discriminative_jackknife(TrainedModel(model, (x, y), loss="squared_error"), x)
