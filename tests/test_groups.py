"""Removing groups: the three predictions against refits to a gradient of 1e-12 without the group."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import swaypoint
from cases import Problem, head, network, points, solved, with_one, without
from swaypoint.scorers import scores
from swaypoint.scorers.groups import group_influence, group_step
from swaypoint.scorers.jackknife import parameters_under
from swaypoint.scoring.trained_model import TrainedModel


def coherent(problem: Problem, share: float) -> np.ndarray:
    """The ``share`` of class 1 that lies furthest along the first feature."""
    rows = (problem.y == 1).nonzero()[:, 0]
    return rows[problem.x[rows, 0].argsort(descending=True)][: int(share * len(rows))].numpy()


def test_first_order_is_the_sum_of_the_members_influences(problem):
    members, test = [3, 40, 17], (problem.x[:7], problem.y[:7])
    on = scores["cooks_distance"].on(problem.trained, test)
    values = group_influence(problem.trained, members, test)
    np.testing.assert_allclose(values, on[:, members].sum(1) / 90, rtol=1e-9)


def test_second_order_is_the_formula_with_dense_derivatives(problem):
    members = coherent(problem, 0.3)
    U = torch.from_numpy(members)

    def group(theta: Tensor) -> Tensor:
        return problem.losses(theta, problem.x[U], problem.y[U]).sum()

    def whole(theta: Tensor) -> Tensor:
        return problem.objective(theta, torch.ones(90).double())

    H, H_U = (torch.func.hessian(f)(problem.theta) for f in (whole, group))
    third = torch.func.jacrev(torch.func.hessian(whole))(problem.theta)
    first = torch.linalg.solve(H, torch.func.grad(group)(problem.theta)) / 90
    change = torch.einsum("pqr,q,r->p", third, first, first)
    expected = first + torch.linalg.solve(H, H_U @ first / 90 - 0.5 * change)
    np.testing.assert_allclose(group_step(problem.trained, members, order=1), first, rtol=1e-7, atol=1e-11)
    np.testing.assert_allclose(group_step(problem.trained, members, order=2), expected, rtol=1e-7, atol=1e-11)


def test_the_path_of_basu_you_and_feizi_is_as_documented():
    problem = head(1, ridge=0.0)
    members = coherent(problem, 0.3)
    p, U = len(members) / 90, torch.from_numpy(members)
    target = without(members) / (1 - p)

    def group(theta: Tensor) -> Tensor:
        return problem.losses(theta, problem.x[U], problem.y[U]).sum()

    def whole(theta: Tensor) -> Tensor:
        return problem.objective(theta, torch.ones(90).double())

    H, H_U = (torch.func.hessian(f)(problem.theta) for f in (whole, group))
    s, solve = torch.func.grad(group)(problem.theta), torch.linalg.solve
    first = solve(H, s) / 90 / (1 - p)
    third = torch.func.jacrev(torch.func.hessian(whole))(problem.theta)
    change = 0.5 * solve(H, torch.einsum("pqr,q,r->p", third, first, first))
    paper = (1 - 2 * p) / (1 - p) ** 2 / 90 * solve(H, s) + solve(H, H_U @ solve(H, s)) / ((1 - p) * 90) ** 2
    for order, expected in ((1, first), (2, paper - change)):
        step = torch.from_numpy(parameters_under(problem.trained, target, order=order)) - problem.theta
        torch.testing.assert_close(step, expected, rtol=1e-7, atol=1e-10)
    torch.testing.assert_close(problem.refit(target), problem.refit(without(members)), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.3])
def test_second_order_and_newton_come_closer_to_the_refit(problem, share):
    members, test = coherent(problem, share), (problem.x, problem.y)
    refitted = problem.refit(without(members))
    step = (refitted - problem.theta).numpy()
    change = problem.losses(refitted, *test) - problem.losses(problem.theta, *test)
    distance, error = {}, {}
    for order in (1, 2, "newton") if problem.trained.params is None else (1, 2):
        distance[order] = np.linalg.norm(group_step(problem.trained, members, order=order) - step)
        predicted = group_influence(problem.trained, members, test, order=order)
        error[order] = np.linalg.norm(predicted - change.numpy())
    assert distance[2] < 0.6 * distance[1]
    assert error[2] < 0.6 * error[1]
    if problem.trained.params is None:  # a group may hold the curvature of a network's minimum
        assert distance["newton"] < distance[1]
        assert error["newton"] < error[1]
    assert change[torch.from_numpy(members)].mean() > 0
    assert group_influence(problem.trained, members, test, order=2)[members].mean() > 0


@pytest.mark.parametrize("outputs", [1, 3])
def test_newton_is_the_refit_of_a_quadratic_loss(outputs):
    problem = head(outputs, loss="squared_error")
    members = np.arange(20)
    X, y = with_one(problem.x)[20:], problem.y[20:]
    exact = torch.linalg.solve(X.T @ X + 90 * problem.ridge * torch.eye(5).double(), X.T @ y).T
    step = group_step(problem.trained, members, order="newton")
    np.testing.assert_allclose(problem.theta.numpy() + step, exact.flatten(), rtol=1e-9)
    test = (problem.x[:5], problem.y[:5])
    change = problem.losses(exact.flatten(), *test) - problem.losses(problem.theta, *test)
    predicted = group_influence(problem.trained, members, test, order="newton")
    np.testing.assert_allclose(predicted, change, rtol=1e-8)


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_newton_of_a_network_is_the_dense_solve_with_its_curvature(curvature):
    problem = network(curvature)
    members = coherent(problem, 0.1 if curvature == "hessian" else 0.5)
    U = torch.from_numpy(members)
    part = TrainedModel(problem.trained.model, (problem.x[U], problem.y[U]), params="*")
    H, mean = (risk.curvature(curvature).dense() for risk in (problem.trained.risk, part.risk))
    s = sum(rows.sum(0) for rows in part.gradients())
    expected = torch.linalg.solve(90 * H - len(U) * mean, s)
    np.testing.assert_allclose(group_step(problem.trained, members, order="newton"), expected, rtol=1e-8)


def test_batches_and_forms_of_the_group_do_not_matter():
    problem = network()
    small = TrainedModel(
        problem.trained.model, (problem.x, problem.y), params="*", l2=0.02, curvature="hessian", batch_size=16
    )
    members = torch.tensor([60, 2, 31, 2])
    for order in (1, 2, "newton"):
        expected = group_step(problem.trained, [2, 31, 60], order=order)
        np.testing.assert_allclose(group_step(small, members, order=order), expected, rtol=1e-8)
        mask = without([2, 31, 60]) == 0
        np.testing.assert_array_equal(group_step(problem.trained, mask, order=order), expected)


@pytest.mark.parametrize(
    ("members", "order", "message"),
    [
        ([], 1, "float64 of shape"),
        (np.zeros(90, dtype=bool), 1, "0 of 90 points"),
        (range(90), 1, "90 of 90 points"),
        ([90], 1, r"member 90 .* 0\.\.89"),
        ([-1], 1, r"member -1 .* 0\.\.89"),
        (np.ones(3, dtype=bool), 1, r"booleans of shape \(3,\)"),
        ([0], 0, "order is 0"),
        ([0], "second", "order is 'second'"),
    ],
)
def test_what_cannot_be_a_group_is_named(members, order, message):
    with pytest.raises(swaypoint.InputError, match=message):
        group_step(solved("softmax head").trained, members, order=order)


def test_second_order_asks_for_the_hessian():
    with pytest.raises(swaypoint.InputError, match=r"curvature='ggn' only stands in.*'hessian'.*'newton'"):
        group_step(network("ggn").trained, [0], order=2)


def test_a_group_that_alone_determines_a_direction_is_reported():
    x, y = points()
    x[5:, 3] = 0.0
    y = x @ torch.ones(4).double() + torch.randn(90, generator=torch.Generator().manual_seed(2)).double()
    model = nn.Linear(4, 1).double()
    trained = TrainedModel(model, (x, y), loss="squared_error")
    with pytest.raises(swaypoint.InputError, match=r"they alone held.*ridge.*'ggn'.*order=1"):
        group_step(trained, range(5), order="newton")
    with pytest.raises(swaypoint.InputError, match="they alone held"):
        group_step(network().trained, coherent(network(), 0.3), order="newton")
