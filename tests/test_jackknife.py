"""The infinitesimal jackknife: series against re-weighted refits, errors against statsmodels, bootstrap and
simulation."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from torch import nn

import swaypoint
from cases import network, regression, solved, with_one
from swaypoint.scorers import scores
from swaypoint.scorers.jackknife import (
    covariance,
    logits_under,
    parameters_under,
    prediction_intervals,
    standard_errors,
)
from swaypoint.scoring.trained_model import TrainedModel

DIRECTION = torch.randn(90, generator=torch.Generator().manual_seed(3)).double().clamp(-2, 2)


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_halving_the_change_of_the_weights_divides_the_error(problem, order):
    """by 2^(order + 1), against refits to a gradient of 1e-12."""
    errors = []
    for size in (0.2, 0.1):
        weights = 1.0 + size * DIRECTION
        predicted = torch.from_numpy(parameters_under(problem.trained, weights, order=order))
        errors.append(float((predicted - problem.refit(weights)).norm()))
    assert errors[1] > 1e-10, "rounding hides the order"
    assert np.log2(errors[0] / errors[1]) == pytest.approx(order + 1, abs=0.35)


def test_logits_under_weights(problem):
    weights, model = 1.0 + 0.1 * DIRECTION, problem.trained.model
    plain = model(problem.x).detach().numpy()
    np.testing.assert_allclose(
        logits_under(problem.trained, torch.ones(90), problem.x), plain, rtol=1e-10, atol=1e-12
    )
    moved = logits_under(problem.trained, weights, problem.x[:8], order=3)
    losses = problem.losses(problem.refit(weights), problem.x[:8], problem.y[:8])
    terms = problem.trained.head.weights.loss.terms(torch.from_numpy(moved), _targets(problem)[:8])
    torch.testing.assert_close(terms.value, losses, rtol=1e-4, atol=1e-6)


def _targets(problem):
    return problem.y.double().unsqueeze(1) if problem.trained.head.weights.outputs == 1 else problem.y


def test_batches_do_not_matter():
    problem = network()
    small = TrainedModel(
        problem.trained.model, (problem.x, problem.y), params="*", l2=0.02, curvature="hessian", batch_size=16
    )
    weights = 1.0 + 0.1 * DIRECTION
    expected = parameters_under(problem.trained, weights, order=3)
    np.testing.assert_allclose(parameters_under(small, weights, order=3), expected, rtol=1e-9)


def test_the_score_is_the_length_of_the_step_without_the_point(problem):
    score = scores["infinitesimal_jackknife"].score(problem.trained)
    assert score.shape == (90,)
    for i in (0, 40):
        weights = torch.ones(90).double()
        weights[i] = 0.0
        step = parameters_under(problem.trained, weights) - problem.theta.numpy()
        assert score[i] == pytest.approx(np.linalg.norm(step), rel=1e-8)


@pytest.mark.parametrize("params", [None, "*"])
def test_the_covariance_is_hc0(params):
    model, x, y = regression()
    trained = TrainedModel(model, (x, y), loss="squared_error", params=params)
    fit = sm.OLS(y.numpy(), with_one(x).numpy()).fit(cov_type="HC0")
    np.testing.assert_allclose(covariance(trained), fit.cov_params(), rtol=1e-8, atol=1e-14)
    design = with_one(x[:9]).numpy()
    expected = np.sqrt(np.einsum("np,pq,nq->n", design, fit.cov_params(), design))
    np.testing.assert_allclose(standard_errors(trained, x[:9])[:, 0], expected, rtol=1e-8)
    table = fit.get_prediction(design).conf_int(alpha=0.1)  # the normal quantile, as HC0 implies
    np.testing.assert_allclose(prediction_intervals(trained, x[:9], 0.9)[:, 0], table, rtol=1e-8)


def test_standard_errors_are_those_of_the_bootstrap_also_with_a_ridge():
    n, ridge, draws = 400, 0.5, 4000
    model, x, y = regression(n, ridge)
    trained = TrainedModel(model, (x, y), loss="squared_error", l2=ridge)
    counts = torch.from_numpy(np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), draws)).double()
    X = with_one(x)
    moments = torch.einsum("bn,np,nq->bpq", counts, X, X) + n * ridge * torch.eye(4).double()
    fits = torch.linalg.solve(moments, (counts * y) @ X)
    expected = (fits @ with_one(x[:20]).T).std(0)
    np.testing.assert_allclose(standard_errors(trained, x[:20])[:, 0], expected, rtol=0.08)


@pytest.mark.slow
def test_intervals_of_a_logistic_regression_cover():
    rng, draws = np.random.default_rng(0), 150
    truth, X = np.array([0.5, -1.0, 0.3]), with_one(torch.from_numpy(rng.normal(size=(300, 2)))).numpy()
    at = np.array([[0.0, 0.0], [1.0, 1.0], [-1.5, 0.5]])
    y = (rng.random((draws, 300)) < 1 / (1 + np.exp(-X @ truth))).astype(float)
    fits = np.zeros((draws, 3))
    for _ in range(12):  # iteratively reweighted least squares, all samples at once
        p = 1 / (1 + np.exp(-fits @ X.T))
        moments = np.einsum("sn,np,nq->spq", p * (1 - p), X, X)
        fits += np.linalg.solve(moments, ((y - p) @ X)[:, :, None])[:, :, 0]
    inside, model = [], nn.Linear(2, 1).double()
    for theta, labels in zip(torch.from_numpy(fits), y, strict=True):
        with torch.no_grad():
            model.weight.copy_(theta[:2])
            model.bias.copy_(theta[2:])
        trained = TrainedModel(model, (X[:, :2], labels), loss="binary_cross_entropy")
        ends, centre = prediction_intervals(trained, at, 0.9)[:, 0], at @ truth[:2] + truth[2]
        inside.append((ends[:, 0] <= centre) & (centre <= ends[:, 1]))
    np.testing.assert_allclose(np.mean(inside, 0), 0.9, atol=0.073)  # three standard errors of 150 draws


def test_intervals_of_a_network_are_the_delta_method():
    problem = network()
    x = problem.x[:6]
    jacobian = torch.autograd.functional.jacobian(
        lambda t: torch.func.functional_call(
            problem.trained.model,
            dict(zip(problem.trained.risk.names, _split(t, problem.trained.model), strict=True)),
            (x,),
        ),
        problem.theta,
    )
    full = torch.from_numpy(covariance(problem.trained))
    expected = torch.einsum("mcp,pq,mcq->mc", jacobian, full, jacobian).sqrt()
    ends = prediction_intervals(problem.trained, x)
    np.testing.assert_allclose(standard_errors(problem.trained, x), expected, rtol=1e-7)
    np.testing.assert_allclose(ends.mean(2), problem.trained.model(x).detach(), rtol=1e-9)
    np.testing.assert_allclose(ends[..., 1] - ends[..., 0], 2 * 1.959963984540054 * expected, rtol=1e-7)


def _split(theta, model):
    parts = theta.split([p.numel() for p in model.parameters()])
    return [part.view_as(p) for part, p in zip(parts, model.parameters(), strict=True)]


def test_what_cannot_be_weights_or_a_level_is_named():
    trained = solved("softmax head").trained
    with pytest.raises(swaypoint.InputError, match=r"weights have shape \(3,\); expected \(90,\)"):
        parameters_under(trained, np.ones(3))
    with pytest.raises(swaypoint.InputError, match="weight 2 is NaN"):
        parameters_under(trained, np.where(np.arange(90) == 2, np.nan, 1.0))
    with pytest.raises(swaypoint.InputError, match="level is 95"):
        prediction_intervals(trained, torch.zeros(1, 4), 95)
    with pytest.raises(swaypoint.InputError, match="curvature='ggn' only stands in"):
        parameters_under(network("ggn").trained, np.ones(90), order=2)
