"""Points that a head was not fitted to: what adding them would do, against refits and dense float64."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from torch import Tensor, nn

import oracles
from swaypoint.data.batches import ArrayBatches
from swaypoint.scorers import scores
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.panels import TiledInfluence
from swaypoint.scoring.rank import unseen_parameters
from swaypoint.scoring.regression import of_parts
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.sketched import SketchedInfluence
from swaypoint.scoring.trained_model import TrainedModel


def least_squares(seen: int = 40, unseen: int = 12):
    """A head at the optimum, the points that it was fitted to and others: features, values, design."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(seen + unseen, 3))
    y = x @ rng.normal(size=3) + 0.5 + rng.normal(size=seen + unseen)
    design = np.column_stack([x, np.ones(len(x))])
    coefficients = np.linalg.lstsq(design[:seen], y[:seen], rcond=None)[0]
    weight, bias = torch.from_numpy(coefficients[None, :3]), torch.from_numpy(coefficients[3:])
    head = HeadWeights(weight, bias, as_loss("squared_error"))
    return head, x, y, design, coefficients, slice(0, seen), slice(seen, None)


@pytest.mark.parametrize("removal", ["infinitesimal", "finite"])
def test_adding_a_point_to_least_squares_is_the_refit_with_it(removal):
    head, x, y, design, coefficients, seen, unseen = least_squares()
    solved = Influence(head, ArrayBatches(x[seen], y[seen]), dtype=torch.float64)
    found = solved.unseen(ArrayBatches(x[unseen], y[unseen])).scores(removal=removal)
    moment = design[seen].T @ design[seen]
    for row, (point, value) in enumerate(zip(design[unseen], y[unseen], strict=True)):
        error, h = value - point @ coefficients, point @ np.linalg.solve(moment, point)
        more = np.vstack([design[seen], point]), np.append(y[seen], value)
        step = np.linalg.lstsq(*more, rcond=None)[0] - coefficients
        moved = 40 * step @ moment @ step
        assert found.cook[row] == pytest.approx(moved if removal == "finite" else 40 * error**2 * h, rel=1e-8)
        hat = more[0] @ np.linalg.pinv(more[0])
        assert found.leverage[row] == pytest.approx(hat[-1, -1], rel=1e-8)
        assert found.loss[row] == found.loo_loss[row] == pytest.approx(0.5 * error**2)
        assert found.suggested_label[row] == pytest.approx(point @ coefficients)


def test_a_regressions_prediction_errors_are_statsmodels():
    head, x, y, design, _, seen, unseen = least_squares()
    data, others = ArrayBatches(x[seen], y[seen]), ArrayBatches(x[unseen], y[unseen])
    _, found = of_parts(head, data, others)
    predicted = sm.OLS(y[seen], design[seen]).fit().get_prediction(design[unseen])
    errors = y[unseen] - predicted.predicted_mean
    np.testing.assert_allclose(found.residual, errors, rtol=1e-8)
    np.testing.assert_allclose(found.error, predicted.se_obs, rtol=1e-8)
    np.testing.assert_allclose(found.studentised, errors / predicted.se_obs, rtol=1e-8)


# -- classifiers ------------------------------------------------------------------------------------


def classifier(loss: str = "cross_entropy", *, dead: int = 0, seed: int = 0):
    """A head, and (features, labels) of 60 seen and 20 unseen points; the last ``dead`` features are zero
    in the former."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(80, 4 + dead, generator=generator, dtype=torch.float64)
    x[:60, 4:] = 0.0
    outputs = 3 if loss == "cross_entropy" else 1
    y = torch.randint(0, max(outputs, 2), (80,), generator=generator)
    weight = torch.randn(outputs, 4 + dead, generator=generator, dtype=torch.float64)
    weight[:, 4:] = 0.0
    bias = torch.randn(outputs, generator=generator, dtype=torch.float64)
    return weight, bias, (x[:60], y[:60]), (x[60:], y[60:])


def plain_loss(name: str):
    def of(logits: Tensor, y: Tensor) -> Tensor:
        if name == "cross_entropy":
            return torch.logsumexp(logits, 0) - logits.gather(0, y.view(1))[0]
        return nn.functional.softplus(logits[0]) - y * logits[0]

    return of


def dense(loss: str, matrix: Tensor, seen, unseen, ridge: Tensor):
    """Gradients of the unseen points, their own Hessians, and that of the seen ones' mean objective."""
    (x, y), (u, v) = seen, unseen
    ones = [torch.cat([part, torch.ones(len(part), 1, dtype=torch.float64)], 1) for part in (x, u)]
    function = plain_loss(loss)
    _, hessian = oracles.rows_and_hessian(function, matrix, ones[0], y)
    gradients, _ = oracles.rows_and_hessian(function, matrix, ones[1], v)
    own = [
        oracles.rows_and_hessian(function, matrix, p[None], t[None])[1]
        for p, t in zip(ones[1], v, strict=True)
    ]
    return gradients, own, hessian + torch.diag(ridge.repeat(len(matrix)))


@pytest.mark.parametrize("dead", [0, 2])
@pytest.mark.parametrize("free_bias", [False, True])
@pytest.mark.parametrize("loss", ["cross_entropy", "binary_cross_entropy"])
@pytest.mark.parametrize("removal", ["infinitesimal", "finite"])
def test_cooks_distance_of_an_added_point_is_one_newton_step_with_it(loss, removal, free_bias, dead):
    weight, bias, seen, unseen = classifier(loss, dead=dead)
    head = HeadWeights(weight, bias, as_loss(loss), 0.02, penalize_bias=not free_bias)
    solved = Influence(head, ArrayBatches(*seen), damping=0.003, dtype=torch.float64)
    found = solved.unseen(ArrayBatches(*unseen)).scores(removal=removal)
    gradients, own, hessian = dense(loss, head.matrix, seen, unseen, head.penalty(0.003))
    n = len(seen[0])
    for row, (gradient, curvature) in enumerate(zip(gradients, own, strict=True)):
        with_it = n * hessian + (curvature if removal == "finite" else 0.0)
        step = torch.linalg.solve(with_it, gradient)
        expected = n * step @ (n * hessian) @ step
        assert found.cook[row] == pytest.approx(float(expected), rel=1e-7)
    assert (found.leverage == 1.0).all() if dead else (found.leverage < 1.0).all()


def test_without_a_ridge_what_no_point_has_counts_for_nothing():
    weight, bias, seen, unseen = classifier(dead=2)
    wide = Influence(
        HeadWeights(weight, bias, as_loss("cross_entropy")), ArrayBatches(*seen), dtype=torch.float64
    )
    narrow = Influence(
        HeadWeights(weight[:, :4], bias, as_loss("cross_entropy")),
        ArrayBatches(seen[0][:, :4], seen[1]),
        dtype=torch.float64,
    )
    found = wide.unseen(ArrayBatches(*unseen)).scores().cook
    expected = narrow.unseen(ArrayBatches(unseen[0][:, :4], unseen[1])).scores().cook
    np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_what_is_said_of_an_unseen_point_is_what_the_head_says():
    weight, bias, seen, unseen = classifier()
    head = HeadWeights(weight, bias, as_loss("cross_entropy"), 0.02)
    p = torch.softmax(unseen[0] @ weight.T + bias, 1)
    own = p.gather(1, unseen[1][:, None])[:, 0]
    others = p.scatter(1, unseen[1][:, None], -1.0).amax(1)
    for kind in (Influence, TiledInfluence, SketchedInfluence):
        found = kind(head, ArrayBatches(*seen)).unseen(ArrayBatches(*unseen)).scores()
        np.testing.assert_allclose(found.margin, own - others, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(found.loo_loss, -own.log(), rtol=1e-5)
        np.testing.assert_array_equal(found.loo_loss, found.loss)
        np.testing.assert_array_equal(found.suggested_label, p.argmax(1))
        np.testing.assert_array_equal(found.label, unseen[1])


def test_large_heads_agree_with_the_closed_form():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(460, 12, generator=generator)
    y = torch.randint(0, 7, (460,), generator=generator)
    head = HeadWeights(0.3 * torch.randn(7, 12, generator=generator), None, as_loss("cross_entropy"), 0.01)
    seen, unseen = ArrayBatches(x[:400], y[:400]), ArrayBatches(x[400:], y[400:])
    exact = Influence(head, seen, dtype=torch.float64).unseen(unseen).scores()
    panels = TiledInfluence(head, seen).unseen(unseen).scores()
    np.testing.assert_allclose(panels.cook, exact.cook, rtol=1e-4)
    np.testing.assert_allclose(panels.leverage, exact.leverage, rtol=1e-4)
    sketched = SketchedInfluence(head, seen)
    found = sketched.unseen(unseen).scores()
    error = found.cook / exact.cook - 1.0
    assert np.sqrt(np.square(error).mean()) < 3 * sketched.facts().error.value
    assert sketched.scores().cook.shape == (400,)  # those seen are what they were


# -- the model's other parameters, and other scores -------------------------------------------------


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 3)).double()
    _, _, seen, unseen = classifier()
    return model, seen, unseen


def test_by_all_parameters_it_is_the_dense_form():
    model, seen, unseen = network()
    trained = TrainedModel(model, seen, params="*", l2=0.05, damping=0.01)
    others = trained.unseen(unseen)
    plain = Influence(others.head.weights, trained.batches).unseen(others.batches).scores()
    found = unseen_parameters(others, plain)
    gradients = torch.cat(list(TrainedModel(model, unseen, params="*", l2=0.05).gradients()))
    expected = (
        gradients
        * torch.linalg.solve(
            curvature(model, seen) + 0.06 * torch.eye(27, dtype=torch.float64), gradients.T
        ).T
    ).sum(1)
    np.testing.assert_allclose(found.cook, expected.detach(), rtol=1e-8)
    np.testing.assert_array_equal(found.loss, plain.loss)


def curvature(model: nn.Module, data) -> Tensor:
    """The generalised Gauss-Newton matrix of the mean cross-entropy, (P, P)."""
    names, values = zip(*model.named_parameters(), strict=True)
    sizes = [value.numel() for value in values]

    def logits(theta: Tensor, x: Tensor) -> Tensor:
        parts = theta.split(sizes)
        given = {n: p.view_as(v) for n, p, v in zip(names, parts, values, strict=True)}
        return torch.func.functional_call(model, given, (x[None],))[0]

    theta = torch.cat([value.detach().flatten() for value in values])
    jacobians = torch.func.vmap(torch.func.jacrev(logits), (None, 0))(theta, data[0])
    p = torch.softmax(model(data[0]).detach(), 1)
    inner = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("ncp,nck,nkq->pq", jacobians, inner, jacobians) / len(p)


REMOVES = {"finite_removal", "leave_one_out_loss"}


@pytest.mark.parametrize("params", [None, "*"])
@pytest.mark.parametrize("name", [name for name in scores if scores[name].pointwise])
def test_a_pointwise_score_of_unseen_points_is_by_the_model_as_it_is(name, params):
    """Of the same points taken as unseen it is the same but where the point is taken away."""
    model, seen, unseen = network()
    trained = TrainedModel(model, seen, params=params, l2=0.05, damping=0.01)
    of = scores[name].score
    again = of(trained.unseen(seen))
    if name in REMOVES:
        assert (again < of(trained)).all()
    else:
        np.testing.assert_allclose(again, of(trained), rtol=1e-9)
    assert of(trained.unseen(unseen)).shape == (20,)


def test_the_left_out_loss_of_an_unseen_point_is_its_loss():
    model, seen, unseen = network()
    others = TrainedModel(model, seen, l2=0.05).unseen(unseen)
    np.testing.assert_array_equal(scores["leave_one_out_loss"].score(others), scores["loss"].score(others))


def test_a_shard_counts_the_points_of_the_whole():
    """Found on the way: the jackknife of a streamed audit divided by the points of each shard."""
    weight, bias, seen, _ = classifier()
    head = HeadWeights(weight, bias, as_loss("cross_entropy"), 0.02)
    whole = Influence(head, ArrayBatches(*seen), dtype=torch.float64)
    shard = ArrayBatches(seen[0][:10], seen[1][:10])
    trained = TrainedModel(LinearHead(head), shard, features=shard, influence=whole.of(shard))
    everyone = TrainedModel(LinearHead(head), seen)
    of = scores["infinitesimal_jackknife"].score
    np.testing.assert_allclose(of(trained), of(everyone)[:10], rtol=1e-9)
