"""Baselines against torch's own losses and scikit-learn's neighbours."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import NearestNeighbors
from torch import nn

import swaypoint
from swaypoint.scorers import scores
from swaypoint.scoring.trained_model import TrainedModel

CASES = {"softmax": ("cross_entropy", 3), "one logit": ("binary_cross_entropy", 1)}


@pytest.fixture(params=CASES)
def case(request):
    loss, outputs = CASES[request.param]
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, outputs)).double()
    x, y = torch.randn(60, 4).double(), torch.randint(0, max(2, outputs), (60,))
    with torch.no_grad():
        logits = model(x)
    logits = torch.cat([torch.zeros_like(logits), logits], 1) if outputs == 1 else logits
    return TrainedModel(model, (x, y), loss=loss, batch_size=25), model, x, y, logits


@pytest.mark.parametrize("name", ["loss", "confidence", "logit_margin", "boundary_weights"])
def test_a_logit_beyond_the_range_is_refused_by_all_that_look_at_it(name):
    model = nn.Linear(2, 3, bias=False).double()
    with torch.no_grad():
        model.weight.fill_(1e200)
    x = torch.ones(5, 2).double()
    x[3] = 1e120
    trained = TrainedModel(model, (x, torch.tensor([0, 1, 2, 0, 1])), loss="cross_entropy")
    with pytest.raises(swaypoint.InputError, match="logit of row 3 is NaN or infinite"):
        scores[name].score(trained)


def test_loss_confidence_and_margin(case):
    trained_model, _, _, y, logits = case
    np.testing.assert_allclose(
        scores["loss"].score(trained_model), F.cross_entropy(logits, y, reduction="none"), rtol=1e-10
    )
    p = torch.softmax(logits, 1).numpy()
    np.testing.assert_allclose(scores["confidence"].score(trained_model), 1 - p[np.arange(60), y], rtol=1e-8)
    margins = [
        max(float(z[k]) for k in range(len(z)) if k != label) - float(z[label])
        for z, label in zip(logits, y.tolist(), strict=True)
    ]
    np.testing.assert_allclose(scores["logit_margin"].score(trained_model), margins, rtol=1e-10)


def test_knn_counts_neighbours_with_another_label(case):
    trained_model, model, x, y, _ = case
    features = model[:2](x).detach().numpy()
    features = features / features.std(0, ddof=1)
    index = NearestNeighbors(n_neighbors=11).fit(features).kneighbors(features, return_distance=False)
    labels = y.numpy()
    expected = [np.mean([labels[j] != labels[i] for j in row if j != i]) for i, row in enumerate(index)]
    np.testing.assert_allclose(scores["knn"].score(trained_model), expected, atol=1e-12)


def test_a_confident_point_keeps_its_digits():
    model = nn.Linear(1, 2, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[25.0], [-25.0]]))
    trained_model = TrainedModel(model, (torch.tensor([[1.0], [2.0]]), torch.tensor([0, 0])))
    expected = np.exp([-50.0, -100.0]) / (1 + np.exp([-50.0, -100.0]))
    np.testing.assert_allclose(scores["confidence"].score(trained_model), expected, rtol=1e-12)


def test_the_loss_of_a_regression():
    torch.manual_seed(0)
    model, x, y = nn.Linear(3, 2).double(), torch.randn(20, 3).double(), torch.randn(20, 2).double()
    expected = 0.5 * F.mse_loss(model(x), y, reduction="none").sum(1).detach()
    np.testing.assert_allclose(
        scores["loss"].score(TrainedModel(model, (x, y), loss="squared_error")), expected, rtol=1e-12
    )


@pytest.mark.parametrize("name", ["logit_margin", "confidence", "knn"])
@pytest.mark.parametrize("loss", ["squared_error", "binary_cross_entropy"])
def test_without_one_class_a_point_the_remedy_is_named(name, loss):
    model, x, y = nn.Linear(3, 2).double(), torch.randn(20, 3).double(), torch.randint(0, 2, (20, 2))
    with pytest.raises(swaypoint.InputError, match=rf"{name} needs one class.*{loss}.*use loss='cross_ent"):
        scores[name].score(TrainedModel(model, (x, y), loss=loss))
