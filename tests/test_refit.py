"""The head's optimum: scikit-learn's, and as fast where features are collinear or dead."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import swaypoint
from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import refit
from swaypoint.scoring.diagonal_blocks import invert
from swaypoint.scoring.refit import refit_head, refit_ridge
from swaypoint.scoring.risks.head import HeadWeights, LinearHeadRisk
from swaypoint.scoring.risks.losses import CrossEntropy


def blank(width: int, l2: float, outputs: int = 10) -> HeadWeights:
    weight = torch.zeros(outputs, width, dtype=torch.float64)
    return HeadWeights(weight, weight[:, 0].clone(), CrossEntropy(), l2, penalize_bias=False)


def grey_pixels(copies: int) -> tuple[np.ndarray, np.ndarray]:
    """Digits whose every pixel stands there ``copies`` times, some of them always 0."""
    pixels, labels = (array[:600] for array in load_digits(return_X_y=True))
    return np.repeat(pixels, copies, axis=1), labels


@pytest.fixture
def products(monkeypatch):
    """Counts products with the Hessian, which the time of a refit goes into."""
    count = [0]
    product = LinearHeadRisk.hessian_product

    def counted(*arguments):
        count[0] += 1
        return product(*arguments)

    monkeypatch.setattr(LinearHeadRisk, "hessian_product", counted)
    return count


def test_collinear_and_dead_features_take_as_many_steps(products):
    taken = []
    for copies in (1, 3):
        features, labels = grey_pixels(copies)
        fitted = refit_head(blank(64 * copies, copies / len(labels)), ArrayBatches(features, labels))
        assert fitted.converged, fitted.outcome
        taken.append(products[0] - sum(taken))
    assert taken[1] <= 1.2 * taken[0]


def test_a_repeated_column_is_one_with_a_smaller_ridge():
    """w = 3 u at the optimum, and l2 (u^2 + u^2 + u^2) = l2 / 3 w^2."""
    (once, labels), (thrice, _) = grey_pixels(1), grey_pixels(3)
    l2 = 1.0 / len(labels)
    single = refit_head(blank(64, l2 / 3), ArrayBatches(once, labels)).head
    tripled = refit_head(blank(192, l2), ArrayBatches(thrice, labels)).head
    summed = tripled.weight.view(10, 64, 3).sum(2)
    torch.testing.assert_close(summed, single.weight, rtol=0, atol=1e-6)
    torch.testing.assert_close(tripled.bias, single.bias, rtol=0, atol=1e-6)


def test_collinear_and_dead_features_have_scikit_learns_optimum():
    features, labels = grey_pixels(3)
    features, labels = features[labels < 4], labels[labels < 4]
    fitted = refit_head(blank(192, 1.0 / len(labels), 4), ArrayBatches(features, labels)).head
    expected = LogisticRegression(C=1.0, tol=1e-10, max_iter=200, solver="newton-cholesky")
    expected.fit(features, labels)
    np.testing.assert_allclose(fitted.weight, expected.coef_, atol=1e-6)
    np.testing.assert_allclose(fitted.bias - fitted.bias.mean(), expected.intercept_, atol=1e-6)


def test_of_many_points_a_sample_saves_most_products(products, monkeypatch):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(6000, 8)) @ generator.normal(size=(8, 8))
    features[:, 6], features[:, 7] = features[:, 0] + features[:, 1], 0.0  # collinear, dead
    labels = (features @ generator.normal(size=(8, 4)) + 6 * generator.normal(size=(6000, 4))).argmax(1)
    data, start = ArrayBatches(features, labels), blank(8, 1e-3, 4)
    fitted, few = refit_head(start, data).head, products[0]
    monkeypatch.setattr(refit, "_MOST", 0)
    again, many = refit_head(start, data).head, products[0] - few
    assert few <= 0.5 * many
    expected = LogisticRegression(C=1e3 / 6000, tol=1e-10, max_iter=200, solver="newton-cholesky")
    expected.fit(features, labels)
    for head in (fitted, again):
        np.testing.assert_allclose(head.weight, expected.coef_, atol=1e-6)
        np.testing.assert_allclose(head.bias - head.bias.mean(), expected.intercept_, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_units_of_a_feature_do_not_matter_without_a_ridge_on_it(scale, products):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(300, 5))
    labels = (features[:, 0] + generator.normal(size=300) > 0).astype(np.int64)
    plain = refit_head(blank(5, 0.0, 2), ArrayBatches(features, labels))
    before = products[0]
    scaled = refit_head(blank(5, 0.0, 2), ArrayBatches(features * [1, 1, scale, 1, 1], labels))
    assert scaled.converged
    assert products[0] - before <= 1.5 * before
    torch.testing.assert_close(
        scaled.head.weight[:, 2] * scale, plain.head.weight[:, 2], rtol=1e-6, atol=1e-9
    )


# -- the ridge --------------------------------------------------------------------------------------


def test_the_chosen_ridge_predicts_left_out_points_best():
    """Against refits without each point."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(40, 6)), rng.integers(0, 2, 40)
    features[labels == 1, 0] += 1.0
    ridges, means = (1.0, 0.1, 0.01), []
    for ridge in ridges:
        losses = []
        for out in range(40):
            kept = np.arange(40) != out
            head = refit_head(blank(6, ridge * 39 / 40, 2), ArrayBatches(features[kept], labels[kept])).head
            logits = torch.from_numpy(features[out]) @ head.weight.T + head.bias
            losses.append(float(torch.logsumexp(logits, 0) - logits[labels[out]]))
        means.append(np.mean(losses))
    chosen = refit_ridge(blank(6, 0.0, 2), ArrayBatches(features, labels), ridges=ridges)
    assert chosen.head.l2 == ridges[int(np.argmin(means))]
    assert sorted(means)[1] - min(means) > 1e-3  # not by a hair
    assert chosen.converged


def test_cooks_distance_with_a_chosen_ridge():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    head = swaypoint.LinearHead(blank(4, 0.0, 3))
    ranking = swaypoint.cooks_distance(head, (features, labels), refit="ridge", progress=False)
    chosen = refit_ridge(blank(4, 0.0, 3), ArrayBatches(features, labels)).head
    expected = swaypoint.cooks_distance(swaypoint.LinearHead(chosen), (features, labels), progress=False)
    np.testing.assert_allclose(ranking.values, expected.values, rtol=1e-6)
    assert "chosen by the loss of left-out points" in ranking.diagnostics.refit


def left_out_losses(features, labels, ridge, outputs):
    """Of each point under the head that was fitted without it, from scratch."""
    losses = []
    for out in range(len(labels)):
        kept, rest = np.arange(len(labels)) != out, (len(labels) - 1) / len(labels)
        start = blank(features.shape[1], ridge / rest, outputs)
        head = refit_head(start, ArrayBatches(features[kept], labels[kept])).head
        logits = torch.from_numpy(features[out]) @ head.weight.T + head.bias
        losses.append(float(torch.logsumexp(logits, 0) - logits[labels[out]]))
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True])
def test_the_loss_of_left_out_points_is_that_of_refits(large, monkeypatch):
    rng = np.random.default_rng(2)
    features, labels = rng.normal(size=(120, 5)), rng.integers(0, 3, 120)
    features[np.arange(120), labels] += 1.5
    if large:
        monkeypatch.setattr(refit, "_EXACT_WORK", 0)
    for ridge in (0.3, 0.01):
        data = ArrayBatches(features, labels)
        head = refit_head(blank(5, ridge, 3), data).head
        expected = np.mean(left_out_losses(features, labels, ridge, 3))
        logits = torch.from_numpy(features) @ head.weight.T + head.bias
        plain = float(torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels)))
        found = refit.left_out_loss(head, data)
        assert abs(found - expected) < (0.5 if large else 0.1) * abs(plain - expected)
        np.testing.assert_allclose(found, expected, rtol=0.03 if large else 0.01)


def test_blocks_are_inverted_where_rounding_leaves_them_no_curvature():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.normal(size=(40, 40)))
    curvature = np.concatenate([[1.0, 0.5, 0.01], np.full(37, -3e-8)])  # none, as float32 sums it up
    block = torch.from_numpy((basis * curvature) @ basis.T).float()
    found = invert(block.unsqueeze(0).clone())[0].double().numpy()
    np.testing.assert_allclose(found, (basis[:, :3] / curvature[:3]) @ basis[:, :3].T, rtol=0, atol=1e-2)


def test_the_ridges_that_are_tried_follow_the_unit_of_the_features():
    rng = np.random.default_rng(3)
    features, labels = rng.normal(size=(50, 4)), rng.integers(0, 2, 50)
    small, large = (refit.ridges_of(ArrayBatches(unit * features, labels)) for unit in (1.0, 1000.0))
    np.testing.assert_allclose(large, 1e6 * np.array(small))
    np.testing.assert_allclose(small[0], features.var(0).mean())
    chosen = [
        refit_ridge(blank(4, 0.0, 2), ArrayBatches(unit * features, labels), ridges=ridges).head
        for unit, ridges in ((1.0, small), (1000.0, large))
    ]
    torch.testing.assert_close(chosen[1].weight * 1000.0, chosen[0].weight, rtol=1e-5, atol=1e-9)


def test_a_large_head_has_its_ridge_chosen_too():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(60, 4)), rng.integers(0, 3, 60)
    head = swaypoint.LinearHead(blank(4, 0.0, 3))
    ranking = swaypoint.cooks_distance(
        head, (features, labels), refit="ridge", solver="sketch", progress=False
    )
    assert "chosen by the loss of left-out points" in ranking.diagnostics.refit
