"""Representer points against an optimum and a Newton step computed densely in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torch import nn

import swaypoint
from swaypoint.models.estimators import fitted_estimator
from swaypoint.scorers import scores
from swaypoint.scoring.trained_model import TrainedModel

N, L2 = 40, 0.02
CASES = {
    "softmax": ("cross_entropy", 3),
    "two classes": ("cross_entropy", 2),
    "one logit": ("binary_cross_entropy", 1),
    "regression": ("squared_error", 1),
}
LOSSES = {
    "cross_entropy": lambda z, y: F.cross_entropy(z, y, reduction="none"),
    "binary_cross_entropy": lambda z, y: F.binary_cross_entropy_with_logits(
        z[:, 0], y.double(), reduction="none"
    ),
    "squared_error": lambda z, y: 0.5 * (z[:, 0] - y).square(),
}


class Case:
    def __init__(self, name):
        self.loss, self.outputs = CASES[name]
        torch.manual_seed(1)
        self.model = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, self.outputs)).double()
        self.x, self.x_test = torch.randn(N, 4).double(), torch.randn(9, 4).double()
        if self.loss == "squared_error":
            self.y, self.y_test = torch.randn(N).double(), torch.randn(9).double()
        else:
            classes = max(2, self.outputs)
            self.y, self.y_test = torch.randint(0, classes, (N,)), torch.randint(0, classes, (9,))
        self.phi, self.phi_test = self.features(self.x), self.features(self.x_test)
        self.theta = torch.cat([self.model[2].weight, self.model[2].bias.unsqueeze(1)], 1).detach()

    def features(self, x):
        return torch.cat([self.model[:2](x), torch.ones(len(x), 1)], 1).detach()

    def trained(self, l2=L2, **options):
        return TrainedModel(self.model, (self.x, self.y), loss=self.loss, l2=l2, **options)

    def objective(self, l2, points=slice(None)):
        def value(theta):
            logits = self.phi[points] @ theta.view_as(self.theta).T
            return LOSSES[self.loss](logits, self.y[points]).mean() + 0.5 * l2 * theta.square().sum()

        return value

    def derivatives(self, theta, l2):
        value = self.objective(l2)
        return torch.func.grad(value)(theta), torch.func.hessian(value)(theta)

    def optimum(self):
        theta = torch.zeros(self.theta.numel()).double()
        for _ in range(30):
            gradient, hessian = self.derivatives(theta, L2)
            theta = theta - torch.linalg.solve(hessian, gradient)
        assert gradient.norm() < 1e-13
        return theta.view_as(self.theta)

    def read(self, values, logits):
        """``values`` (..., C) at the predicted class of ``logits`` (n_test, C), as the module reads them."""
        if self.outputs == 1:
            signs = torch.sign(logits) if self.loss == "binary_cross_entropy" else torch.ones_like(logits)
            return values[..., 0] * signs
        return values[torch.arange(len(logits)), ..., logits.argmax(1)]

    def at_label(self, values):
        """|values| (n, C) at the label of each training point."""
        return values[torch.arange(N), self.y].abs() if self.outputs > 1 else values[:, 0].abs()


@pytest.fixture(params=CASES)
def case(request):
    return Case(request.param)


# -- L2 ------------------------------------------------------------------------------------------


def test_the_decomposition_is_the_logit_of_the_optimum(case):
    logits = case.phi_test @ case.optimum().T
    values = scores["representer_l2"].on(case.trained(), (case.x_test, case.y_test))
    assert values.shape == (9, N)
    expected = case.read(logits, logits) if case.outputs > 1 else case.read(logits, logits).diagonal()
    np.testing.assert_allclose(values.sum(1), expected, rtol=1e-6, atol=1e-8)


def test_each_weight_is_the_residual_at_the_optimum(case):
    theta = case.optimum()
    logits = (case.phi @ theta.T).requires_grad_()
    (residuals,) = torch.autograd.grad(LOSSES[case.loss](logits, case.y).sum(), logits)
    alphas = -residuals / (L2 * N)
    np.testing.assert_allclose(
        scores["representer_l2"].score(case.trained()), case.at_label(alphas), rtol=1e-6, atol=1e-8
    )
    # (t, i, C): alpha_i phi_i . phi_t
    full = (case.phi_test @ case.phi.T).unsqueeze(2) * alphas
    values = scores["representer_l2"].on(case.trained(), (case.x_test, case.y_test))
    np.testing.assert_allclose(values, case.read(full, case.phi_test @ theta.T), rtol=1e-5, atol=1e-8)


def test_a_bias_without_a_ridge_is_no_part_of_the_sum():
    case = Case("softmax")
    x, y, x_test = case.x.numpy(), case.y.numpy(), case.x_test.numpy()
    estimator = LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000).fit(x, y)
    trained_model = TrainedModel(fitted_estimator(estimator, x, y).head, (x, y))
    values = scores["representer_l2"].on(trained_model, (x_test, case.y_test.numpy()))
    logits = estimator.decision_function(x_test)
    expected = logits.max(1) - estimator.intercept_[logits.argmax(1)]
    np.testing.assert_allclose(values.sum(1), expected, rtol=1e-4, atol=1e-6)
    residuals = estimator.predict_proba(x) - np.eye(3)[y]
    alphas = -residuals * estimator.C  # scikit-learn's C is 1 / (l2 n)
    shares = alphas[:, logits.argmax(1)].T * (x_test @ x.T)
    np.testing.assert_allclose(values, shares, rtol=1e-4, atol=1e-6)


def test_without_a_ridge_the_remedy_is_named():
    with pytest.raises(
        swaypoint.InputError, match=r"l2 is 0; .*weight decay, l2 > 0, or use representer_lje"
    ):
        scores["representer_l2"].score(Case("softmax").trained(l2=0.0))


@pytest.mark.parametrize("name", ["representer_l2", "representer_lje"])
def test_several_outputs_without_classes_have_none_to_explain(name):
    x, y = torch.randn(20, 4).double(), torch.randn(20, 2).double()
    trained_model = TrainedModel(nn.Linear(4, 2).double(), (x, y), loss="squared_error", l2=0.1)
    assert (scores[name].score(trained_model) > 0).all()
    with pytest.raises(swaypoint.InputError, match=r"no class among 2 outputs.*one output at a time"):
        scores[name].on(trained_model, (x, y))


# -- local Jacobian expansion --------------------------------------------------------------------


def shares(case, l2, damping, phi):
    """-(1/n) H^-1 (g_i + l2 theta) phi, ``(n_phi, n, C)``, and the Newton step of theta, dense."""
    theta = case.theta.flatten()
    gradient, hessian = case.derivatives(theta, l2)
    inverse = torch.linalg.pinv(
        hessian + damping * torch.eye(len(theta)).double(), hermitian=True, rtol=1e-10
    )
    if case.loss == "cross_entropy":  # the common part of all logits changes nothing
        centred = torch.eye(case.outputs).double() - 1 / case.outputs
        gauge = torch.kron(centred, torch.eye(case.phi.shape[1]).double())
        inverse = gauge @ inverse @ gauge
    rows = [torch.func.grad(case.objective(l2, slice(i, i + 1)))(theta) for i in range(N)]
    steps = (-(inverse @ torch.stack(rows).T).T / N).unflatten(1, case.theta.shape)
    newton = -(inverse @ gradient).view_as(case.theta)
    return torch.einsum("icd,td->tic", steps, phi), newton


@pytest.mark.parametrize(("l2", "damping"), [(L2, 0.0), (0.0, 0.0), (L2, 0.1)])
def test_the_shares_sum_to_the_newton_step(case, l2, damping):
    trained_model = case.trained(l2, damping=damping)
    values = scores["representer_lje"].on(trained_model, (case.x_test, case.y_test))
    full, newton = shares(case, l2, damping, case.phi_test)
    logits = case.phi_test @ case.theta.T
    np.testing.assert_allclose(values, case.read(full, logits), rtol=1e-6, atol=1e-9)
    change = case.phi_test @ newton.T
    expected = case.read(change, logits) if case.outputs > 1 else case.read(change, logits).diagonal()
    np.testing.assert_allclose(values.sum(1), expected, rtol=1e-6, atol=1e-9)


def test_the_score_is_the_share_of_a_points_own_logit(case):
    full, _ = shares(case, L2, 0.0, case.phi)
    own = full[torch.arange(N), torch.arange(N)]
    np.testing.assert_allclose(
        scores["representer_lje"].score(case.trained()), case.at_label(own), rtol=1e-6, atol=1e-9
    )
