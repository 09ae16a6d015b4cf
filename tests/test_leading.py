"""Leading classes: the algebra against dense products in float64, the scores against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swaypoint.data.batches import ArrayBatches
from swaypoint.scoring import sketch_points
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.operators.leading import LEFT, Leading, fits, leads
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import BinaryCrossEntropy, CrossEntropy
from swaypoint.scoring.risks.weighted import weighted
from swaypoint.scoring.sketched import SketchedInfluence

CLASSES, WIDTH = 30, 12


def problem(n=3000, scale=2.0, seed=0):
    """A classifier that is sure enough to rule most classes out."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, WIDTH, generator=generator)
    weight = scale * torch.randn(CLASSES, WIDTH, generator=generator)
    noise = -torch.log(-torch.log(torch.rand(n, CLASSES, generator=generator)))
    return features, (features @ weight.T + noise).argmax(1), weight, torch.zeros(CLASSES)


@pytest.fixture
def sure(monkeypatch):
    """The head and data of :func:`problem`, taken by their leading classes."""
    monkeypatch.setattr(sketch_points, "_MANY", CLASSES)
    features, labels, weight, bias = problem()
    return HeadWeights(weight, bias, CrossEntropy(), 1e-3), ArrayBatches(features, labels)


def points(head, data):
    found = sketch_points.points_of(head, data, damping=0.0, device="cpu", draws=8)
    assert isinstance(found, sketch_points.LeadingClasses)
    return found


def taken(found):
    """The probabilities that the points are taken to have, ``(n, C)``, and their features, float64."""
    p, features = [], []
    for batch in found.batches():
        rest = torch.outer(batch.leading.rest, found._tau)
        p.append(batch.leading.spread(batch.leading.p, rest))
        features.append(batch.features)
    return torch.cat(p).double(), torch.cat(features).double()


def blocks_of(p, features):
    """sum_i Lambda_i (x) phi phi^T, ``(C, k, C, k)``."""
    curvature = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    return torch.einsum("nab,nk,nl->akbl", curvature, features, features)


def test_what_is_left_out_is_a_small_part_of_what_is_not_the_first():
    p = torch.randn(500, CLASSES, generator=torch.Generator().manual_seed(0)).mul_(4).double().softmax(1)
    kept = leads(p)
    left = torch.where(kept, 0.0, p).sum(1)
    beside = 1 - p.amax(1)
    assert bool((left <= LEFT * beside).all())
    smallest = torch.where(kept, p, 1.0).amin(1)
    assert bool((left + smallest > LEFT * beside).all())  # one class less would be too few
    assert bool(kept.gather(1, p.argmax(1, keepdim=True)).all())


def test_probabilities_are_spread_and_sum_to_one(sure):
    p, _ = taken(points(*sure))
    torch.testing.assert_close(p.sum(1), torch.ones(len(p), dtype=torch.float64), atol=1e-6, rtol=0)
    exact = torch.softmax(problem()[0].double() @ problem()[2].double().T, 1)
    torch.testing.assert_close(p.sum(0), exact.sum(0), rtol=1e-5, atol=1e-4)  # of each class over all points
    assert float((p - exact).abs().sum(1).max()) < 2 * LEFT


def test_products_are_those_of_the_dense_matrix(sure):
    found = points(*sure)
    matrix = blocks_of(*taken(found))
    vectors = torch.randn(CLASSES, 3, WIDTH + 1, generator=torch.Generator().manual_seed(1))
    expected = torch.einsum("akbl,bvl->avk", matrix, vectors.double())
    torch.testing.assert_close(found.product(vectors).double(), expected, rtol=1e-3, atol=1e-2)
    diagonal = torch.einsum("akal->akl", matrix) / found.blocks.points
    inverse = torch.linalg.inv(found.blocks.inverses.double()) - found.risk.range_penalty()
    torch.testing.assert_close(inverse, diagonal, rtol=5e-2, atol=1e-4)
    shift = torch.ones(CLASSES, 1, WIDTH + 1)
    assert float(found.product(shift).abs().max()) < 1e-3 * float(found.product(vectors).abs().max())


def test_draws_have_the_covariance_of_the_dense_matrix(sure):
    found = points(*sure)
    matrix = blocks_of(*taken(found))
    sketch, control = found.draw(20_000, torch.Generator().manual_seed(2))
    for drawn, expected in ((sketch, matrix), (control, None)):
        covariance = torch.einsum("avk,bvl->akbl", drawn.double(), drawn.double()) / 20_000
        if expected is None:
            own = torch.linalg.inv(found.blocks.inverses.double()) - found.risk.range_penalty()
            covariance, expected = torch.einsum("akal->akl", covariance), own * found.blocks.points
        scale = float(expected.abs().max())
        assert float((covariance - expected).abs().max()) < 0.04 * scale
        assert float((covariance - expected).square().mean().sqrt()) < 0.005 * scale


def test_projections_and_leverages_are_those_of_the_spread_gradients(sure):
    found = points(*sure)
    vectors = torch.randn(CLASSES, 4, WIDTH + 1, generator=torch.Generator().manual_seed(3))
    labels = problem()[1]
    (p, features), at = taken(found), 0
    inverses = found.blocks.inverses.double()
    for batch in found.batches():
        rows = slice(at, at + len(batch.features))
        own = torch.nn.functional.one_hot(labels[rows], CLASSES)
        residual, phi = p[rows] - own, features[rows]
        expected = torch.einsum("bc,cvk,bk->bv", residual, vectors.double(), phi)
        torch.testing.assert_close(found.project(batch, vectors).double(), expected, rtol=1e-3, atol=1e-4)
        leverages = torch.einsum("bk,ckl,bl->bc", phi, inverses, phi)
        q0, kept = found.leverages(batch)
        torch.testing.assert_close(q0.double(), (residual.square() * leverages).sum(1), rtol=2e-3, atol=1e-5)
        assert bool(((kept == 0) | ((kept / leverages - 1).abs() < 1e-3)).all())
        at = rows.stop
    assert at == len(labels)


def test_scores_are_close_to_exact_and_within_their_errors(sure):
    sketched = SketchedInfluence(*sure)
    scores, exact = sketched.scores(), Influence(*sure, dtype=torch.float64).scores()
    error = scores.cook / exact.cook - 1
    assert np.median(np.abs(error)) < 0.03
    assert 0.2 < np.median(np.abs(scores.cook - exact.cook) / scores.standard_error) < 1.5
    assert np.median(np.abs(scores.loo_loss - exact.loo_loss)) < 1e-2 * np.median(exact.loo_loss)
    assert 0 < sketched._missing < 0.05
    np.testing.assert_allclose(scores.leverage, exact.leverage, rtol=1e-6)


def test_what_is_missing_is_measured(sure, monkeypatch):
    """Against the closed form with the probabilities that are taken."""
    monkeypatch.setattr("swaypoint.scoring.operators.leading.LEFT", 0.2)
    head, data = sure
    found = points(head, data)
    (p, features), n = taken(found), 3000
    matrix = blocks_of(p, features) / n
    penalty = found.risk.range_penalty()
    eye = torch.eye(CLASSES, dtype=torch.float64)
    centred = eye - 1 / CLASSES

    def solve(matrix, gradients):
        ridge = torch.einsum("ab,kl->akbl", centred, penalty)
        flat = (matrix + ridge).reshape(CLASSES * (WIDTH + 1), -1)
        inverse = torch.linalg.pinv(flat, hermitian=True, rtol=1e-10)
        return (gradients.flatten(1) @ inverse).view_as(gradients)

    told = found.missing(solve(matrix, found.probes().double().transpose(0, 1)).transpose(0, 1).float())
    features64, labels, weight, _ = problem()
    terms = CrossEntropy().terms(features64.double() @ weight.double().T, labels)
    exact_g = torch.einsum("na,nk->nak", terms.residual, features)
    exact = (solve(blocks_of(terms.probabilities, features) / n, exact_g) * exact_g).sum((1, 2))
    residual = [
        batch.leading.spread(batch.leading.residual, found._beside(batch.leading))
        for batch in found.batches()
    ]
    near_g = torch.einsum("na,nk->nak", torch.cat(residual).double(), features)
    apart = (solve(matrix, near_g) * near_g).sum((1, 2)) / exact - 1
    assert 0.3 < told / float(apart.square().mean().sqrt()) < 3


def test_points_that_do_not_fit_are_made_anew(sure, monkeypatch):
    held = SketchedInfluence(*sure).scores()
    monkeypatch.setattr(sketch_points, "room", lambda device: 0)
    anew = SketchedInfluence(*sure)
    assert anew._points._held is None
    np.testing.assert_allclose(anew.scores().cook, held.cook, rtol=1e-6)


def test_points_with_weights_of_their_own_are_as_close_to_exact_as_with_all_classes(sure, monkeypatch):
    head, data = sure
    weights = 1.0 + (torch.arange(3000) % 3 == 0).double().numpy()
    heavier = weighted(head, data, weights)
    exact = Influence(*heavier, dtype=torch.float64).scores().cook
    found = SketchedInfluence(*heavier)
    assert isinstance(found._points, sketch_points.LeadingClasses)
    monkeypatch.setattr(sketch_points, "_MANY", CLASSES + 1)
    error, beside = (
        np.median(np.abs(solution.scores().cook / exact - 1))
        for solution in (found, SketchedInfluence(*heavier))
    )
    assert error < 1.25 * beside < 0.05


@pytest.mark.parametrize("kind", ["smoothed", "soft", "labels apart", "unsure", "few"])
def test_all_classes_are_taken_where_none_is_ruled_out(kind, monkeypatch):
    monkeypatch.setattr(sketch_points, "_MANY", CLASSES + (kind == "few"))
    features, labels, weight, bias = problem(n=200, scale=0.1 if kind == "unsure" else 2.0)
    loss = CrossEntropy(label_smoothing=0.1 if kind == "smoothed" else 0.0)
    targets = torch.nn.functional.one_hot(labels, CLASSES).double()
    if kind == "labels apart":
        loss = BinaryCrossEntropy()
    if kind == "soft":
        targets = 0.9 * targets + 0.1 / CLASSES
    if kind not in ("labels apart", "soft"):
        targets = labels
    head = HeadWeights(weight, bias, loss, 1e-3)
    data = ArrayBatches(features, targets)
    found = sketch_points.points_of(head, data, damping=0.0, device="cpu", draws=8)
    assert isinstance(found, sketch_points.EveryClass)


def test_a_softmax_fits_by_what_its_terms_are():
    logits, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    for loss, expected in ((CrossEntropy(), True), (CrossEntropy(label_smoothing=0.2), False)):
        terms = loss.terms(logits, labels)
        assert fits(terms.curvature, terms.residual, labels) is expected
    terms = CrossEntropy(weight=torch.tensor([1.0, 2.0, 3.0, 4.0])).terms(logits, labels)
    assert fits(terms.curvature, terms.residual, labels)
    leading = Leading.of(terms.curvature, terms.residual, labels)
    torch.testing.assert_close(leading.weights, 1.0 + labels.float())
