"""Any parameters of any model: gradients and curvature products against dense float64 derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import swaypoint
from cases import as_function, perceptron, trained, two_layers
from swaypoint.scoring.risks.model import ModelRisk
from swaypoint.scoring.solvers.conjugate_gradient import IterativeInverse


def losses(name, logits, targets):
    if name == "squared_error":
        return 0.5 * (logits - targets).square().sum(1)
    return F.cross_entropy(logits, targets, reduction="none")


def test_equals_dense_derivatives(case):
    model, x, y, loss, risk = case
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(risk.dimension, 3, generator=generator).double()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        gradients = torch.cat(list(risk.gradients()))
        hessian, ggn = risk.curvature("hessian") @ vectors, risk.curvature("ggn") @ vectors
        model.eval()
        logits, theta = as_function(model, risk, x)
        rows = torch.autograd.functional.jacobian(lambda t: losses(loss, logits(t), y), theta)
        dense = torch.autograd.functional.hessian(lambda t: losses(loss, logits(t), y).mean(), theta)
        jacobian = torch.autograd.functional.jacobian(logits, theta)
    torch.testing.assert_close(gradients, rows)
    torch.testing.assert_close(hessian, dense @ vectors + 0.3 * vectors)
    p = logits(theta).softmax(1)
    inner = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    if loss == "squared_error":
        inner = torch.eye(4).double().expand(23, 4, 4)
    gauss_newton = torch.einsum("bcp,bcd,bdq->pq", jacobian, inner, jacobian) / 23
    torch.testing.assert_close(ggn, gauss_newton @ vectors + 0.3 * vectors)


def test_the_model_is_left_as_it_was_also_on_error(case):
    model, _, _, _, risk = case
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    next(risk.gradients())
    risk.curvature("hessian") @ torch.ones(risk.dimension, 1).double()
    with pytest.raises(swaypoint.InputError, match=f"expected \\({risk.dimension}, k\\)"):
        risk.curvature("hessian") @ torch.ones(3)
    assert [module.training for module in model.modules()] == modes
    assert all(p.grad is None for p in model.parameters())
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_batches_and_blocks_of_vectors_do_not_matter(case):
    model, x, y, loss, risk = case
    names = list(risk.names)
    vectors = torch.eye(risk.dimension).double()[:, :5]
    whole = ModelRisk(model, (x, y), loss=loss, parameters=names, l2=0.1, damping=0.2, vectors=2)
    torch.testing.assert_close(whole.curvature("hessian") @ vectors, risk.curvature("hessian") @ vectors)


def test_keyword_inputs_as_language_models_take_them():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x, mask):
            return type("Output", (), {"logits": self.head(x * mask)})()

    model, x = Model(), torch.randn(6, 4)
    rows = [{"x": x[i], "mask": torch.ones(4), "labels": i % 2} for i in range(6)]
    plain = ModelRisk(model.head, (x, torch.arange(6) % 2))
    torch.testing.assert_close(
        torch.cat(list(ModelRisk(model, rows).gradients())), torch.cat(list(plain.gradients()))
    )


def test_a_pattern_without_a_match_is_named():
    with pytest.raises(swaypoint.InputError, match=r"no parameter matches 'layer9\.\*'.*0\.weight"):
        ModelRisk(perceptron(), (torch.randn(4, 3), torch.arange(4)), parameters="layer9.*")


@pytest.mark.parametrize("curvature", ["hessian", "ggn"])
def test_influence_over_all_parameters_equals_the_dense_solve(curvature):
    model, x, y = trained(two_layers, 0.005)
    values = swaypoint.influence(model, (x, y), (x[:7], y[:7]), params="*", l2=0.005, curvature=curvature)
    risk = ModelRisk(model, (x, y), l2=0.005)
    matrix, rows = risk.curvature(curvature).dense(), torch.cat(list(risk.gradients()))
    expected = rows[:7] @ torch.linalg.solve(matrix, rows.T)
    torch.testing.assert_close(torch.from_numpy(values), expected, rtol=1e-6, atol=1e-9)
    best = swaypoint.influence(
        model, (x, y), (x[:7], y[:7]), params="*", l2=0.005, curvature=curvature, top=3
    )
    assert set(best.index[0]) == set(expected[0].abs().topk(3).indices.tolist())


def test_the_last_layer_by_autodiff_is_the_closed_form():
    model, x, y = trained(two_layers, 0.005)
    closed = swaypoint.influence(model, (x, y), (x[:7], y[:7]), l2=0.005)
    by_autodiff = swaypoint.influence(model, (x, y), (x[:7], y[:7]), l2=0.005, params="2.*")
    torch.testing.assert_close(torch.from_numpy(by_autodiff), torch.from_numpy(closed), rtol=1e-6, atol=1e-9)


def test_an_indefinite_hessian_is_reported_with_the_remedies():
    torch.manual_seed(0)
    model = nn.Sequential(*two_layers()).double()
    x, y = torch.randn(60, 4).double(), torch.arange(60) % 2
    with pytest.raises(swaypoint.InputError, match=r"indefinite.*eigenvalue of -.*damping above.*'ggn'"):
        swaypoint.influence(model, (x, y), (x, y), params="*", curvature="hessian")
    values = swaypoint.influence(model, (x, y), (x, y), params="*", curvature="ggn", damping=0.1)
    assert bool((torch.from_numpy(values).diagonal() > 0).all())


def test_a_solve_that_does_not_converge_is_no_answer():
    model, x, y = trained(two_layers, 0.005)
    risk = ModelRisk(model, (x, y), l2=0.005)
    inverse = IterativeInverse(risk.curvature("hessian"), max_steps=2)
    with pytest.raises(swaypoint.InputError, match=r"not converged: relative residual .* after 2 steps"):
        inverse.solve(next(risk.gradients())[:2].T)
