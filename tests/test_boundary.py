"""Distances to the decision boundary where they are known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import swaypoint
from swaypoint.scorers import scores
from swaypoint.scorers.boundary import OVERSHOOT
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.trained_model import TrainedModel

LOSSES = {4: "cross_entropy", 2: "cross_entropy", 1: "binary_cross_entropy"}


def example(outputs, bias=True):
    torch.manual_seed(0)
    model = nn.Linear(3, outputs, bias=bias).double()
    x, y = torch.randn(30, 3).double(), torch.randint(0, max(2, outputs), (30,))
    return model, x, y


def smallest(model, x, wanted):
    """For each point the least |z_p - z_k| / ||d(z_p - z_k) / dv||, v what ``wanted`` picks, by autograd."""
    found = []
    for point in x:
        point = point.clone().requires_grad_()
        z = model(point)
        z = torch.cat([torch.zeros_like(z), z]) if len(z) == 1 else z
        top = int(z.argmax())
        distances = []
        for k in range(len(z)):
            if k == top:
                continue
            gap = z[top] - z[k]
            slopes = torch.autograd.grad(gap, wanted(point), retain_graph=True)
            distances.append(gap.item() / torch.cat([s.flatten() for s in slopes]).norm().item())
        found.append(min(distances))
    return np.array(found)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", LOSSES)
def test_linear_models_have_exact_distances(outputs, bias):
    model, x, y = example(outputs, bias)
    trained_model = TrainedModel(model, (x, y), loss=LOSSES[outputs], batch_size=7)
    in_weights = scores["boundary_weights"].score(trained_model)
    in_inputs = scores["boundary_inputs"].score(trained_model)
    np.testing.assert_allclose(
        in_weights, -smallest(model, x, lambda _: list(model.parameters())), rtol=1e-10
    )
    np.testing.assert_allclose(in_inputs, -smallest(model, x, lambda point: [point]), rtol=1e-10)


class Circle(nn.Module):
    """One class within the unit circle, the other outside."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False).double()
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x):
        return self.head(x.square().sum((1, 2), keepdim=False).unsqueeze(1) - 1)


def test_deepfool_finds_a_curved_boundary():
    torch.manual_seed(0)
    directions = nn.functional.normalize(torch.randn(40, 2).double(), dim=1)
    radii = torch.linspace(0.3, 4, 40).double()
    x = (radii.unsqueeze(1) * directions).unsqueeze(1)
    found = -scores["boundary_inputs"].score(TrainedModel(Circle(), (x, (radii > 1).long())))
    true = (radii - 1).abs().numpy()
    assert (found * (1 + OVERSHOOT) >= true).all()
    # From outside the tangents of ||x||^2 fall short: step by step to the boundary.
    outside = radii.numpy() > 1
    np.testing.assert_allclose(found[outside], true[outside], rtol=OVERSHOOT)


def test_the_edge_of_the_definition():
    model, x, y = example(2)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.copy_(torch.tensor([0.0, 1.0]))
    assert (scores["boundary_inputs"].score(TrainedModel(model, (x, y))) == -np.inf).all()
    with torch.no_grad():
        model.bias.zero_()
    for name in ("boundary_inputs", "boundary_weights"):
        values = scores[name].score(TrainedModel(model, (x, y)))
        assert not np.isnan(values).any()
    assert (scores["boundary_weights"].score(TrainedModel(model, (x, y))) == 0).all()


def test_a_point_without_features_is_on_the_boundary():
    model, x, y = example(2, bias=False)
    x[4] = 0
    values = scores["boundary_weights"].score(TrainedModel(model, (x, y)))
    assert values[4] == 0
    assert (np.delete(values, 4) < 0).all()


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 2)

    def forward(self, tokens):
        return self.head(self.embed(tokens).mean(1))


def headed():
    return LinearHead(HeadWeights(torch.randn(2, 3), None, CrossEntropy()))


@pytest.mark.parametrize(
    ("name", "subject", "message"),
    [
        (
            "boundary_inputs",
            lambda x, y: (Tokens(), (y.unsqueeze(1), y)),
            "torch.int64.*use boundary_weights",
        ),
        ("boundary_inputs", lambda x, y: (headed(), (x, y)), "needs a model.*use boundary_weights"),
    ],
)
def test_faults_are_named_with_the_remedy(name, subject, message):
    _, x, y = example(2)
    model, data = subject(x, y)
    with pytest.raises(swaypoint.InputError, match=message):
        scores[name].score(TrainedModel(model, data))


@pytest.mark.parametrize("name", ["boundary_weights", "boundary_inputs"])
def test_a_regression_has_no_boundary(name):
    model, x, _ = example(1)
    with pytest.raises(swaypoint.InputError, match=r"needs one class a point.*squared_error"):
        scores[name].score(TrainedModel(model, (x, x[:, 0]), loss="squared_error"))
