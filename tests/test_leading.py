"""Leading classes: the algebra against dense products in float64, the scores against the closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from swaypoint.data.batches import ArrayBatches
from swaypoint.errors import InputError
from swaypoint.scoring import sketch_points
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.operators import leading as operators
from swaypoint.scoring.operators.leading import LEFT, Leading, leads
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


@pytest.fixture
def rough(sure, monkeypatch):
    """The same with so much left out that every part of the tails' algebra counts, and weights."""
    monkeypatch.setattr(operators, "LEFT", 0.4)
    return weighted(*sure, 0.5 + torch.arange(3000).remainder(4).double().numpy())


def points(head, data):
    found = sketch_points.points_of(head, data, damping=0.0, device="cpu", draws=8)
    assert isinstance(found, sketch_points.LeadingClasses)
    return found


def taken(found):
    """The probabilities that the points are taken to have, ``(n, C)``, times the points' weights, dl/dz
    likewise, the features and the weights, float64."""
    parts = []
    for batch in found.batches():
        one, w = batch.leading, batch.leading.weights.unsqueeze(1)
        p = one.spread(one.p, torch.outer(one.tail, found._tau))
        parts.append((p, one.spread(one.residual, found._tail_residual(one)), batch.features, w))
    return [torch.cat(part).double() for part in zip(*parts, strict=True)]


def blocks_of(p, features, weights):
    """sum_i w Lambda_i (x) phi phi^T, ``(C, k, C, k)``."""
    curvature = torch.diag_embed(p) - p.unsqueeze(2) * p.unsqueeze(1)
    return torch.einsum("nab,nk,nl->akbl", curvature * weights.unsqueeze(2), features, features)


def test_what_is_left_out_is_a_small_part_of_what_is_not_the_first():
    p = torch.randn(500, CLASSES, generator=torch.Generator().manual_seed(0)).mul_(4).double().softmax(1)
    kept = leads(p)
    left = torch.where(kept, 0.0, p).sum(1)
    beside = 1 - p.amax(1)
    assert bool((left <= LEFT * beside).all())
    smallest = torch.where(kept, p, 1.0).amin(1)
    assert bool((left + smallest > LEFT * beside).all())  # one class less would be too few
    assert bool(kept.gather(1, p.argmax(1, keepdim=True)).all())


def test_probabilities_are_spread_and_sum_to_one(rough):
    p, _, _, weights = taken(points(*rough))
    torch.testing.assert_close(p.sum(1), torch.ones(len(p), dtype=torch.float64), atol=1e-6, rtol=0)
    exact = torch.softmax(problem()[0].double() @ problem()[2].double().T, 1)
    torch.testing.assert_close((weights * p).sum(0), (weights * exact).sum(0), rtol=1e-5, atol=1e-4)
    assert 0.01 < float((p - exact).abs().sum(1).max()) < 2 * operators.LEFT


def test_products_are_those_of_the_dense_matrix(rough):
    found = points(*rough)
    p, _, features, weights = taken(found)
    matrix = blocks_of(p, features, weights)
    vectors = torch.randn(CLASSES, 3, WIDTH + 1, generator=torch.Generator().manual_seed(1))
    expected = torch.einsum("akbl,bvl->avk", matrix, vectors.double())
    scale = float(expected.abs().max())
    torch.testing.assert_close(found.product(vectors).double(), expected, rtol=0, atol=1e-5 * scale)
    shift = torch.ones(CLASSES, 1, WIDTH + 1)
    assert float(found.product(shift).abs().max()) < 1e-5 * scale


def control_of(found):
    """The sums behind the diagonal blocks: the leading classes' own variance, and tau times the tails."""
    total = torch.zeros(CLASSES, WIDTH + 1, WIDTH + 1, dtype=torch.float64)
    for batch in found.batches():
        one, phi = batch.leading, batch.features.double()
        variance = one.spread(one.p * (1 - one.p) * one.weights[one.rows]).double()
        beside = torch.outer(one.tail * one.weights, found._tau).double()
        total += torch.einsum("na,nk,nl->akl", variance + beside, phi, phi)
    return total


def test_draws_have_the_covariance_of_the_dense_matrix(rough):
    found = points(*rough)
    p, _, features, weights = taken(found)
    own = torch.linalg.inv(found.blocks.inverses.double()) - found.risk.range_penalty()
    control = control_of(found)
    torch.testing.assert_close(
        own * found.blocks.points, control, rtol=1e-3, atol=2e-3 * float(control.max())
    )
    draws = 20_000
    drawn = [part.double() for part in found.draw(draws, torch.Generator().manual_seed(2))]
    coupled = torch.einsum("avk,bvl->akbl", drawn[0], drawn[0]) / draws
    alone = torch.einsum("avk,avl->akl", drawn[1], drawn[1]) / draws
    for covariance, expected in ((coupled, blocks_of(p, features, weights)), (alone, control)):
        diagonal = expected.reshape(-1, expected.shape[-1]).abs().amax()
        # Of entry ij the standard error is sqrt((H_ii H_jj + H_ij^2) / draws), at most this.
        error = float(diagonal) * (2 / draws) ** 0.5
        assert float((covariance - expected).abs().max()) < 4 * error
    # The tails' part is seen: without it both would be off by more.
    left_out = torch.einsum("a,kl->akl", found._tau.double(), found._second.double())
    assert float(left_out.abs().max()) > 2 * float(control.abs().max()) * (2 / draws) ** 0.5


def test_projections_and_leverages_are_those_of_the_spread_gradients(rough):
    found = points(*rough)
    vectors = torch.randn(CLASSES, 4, WIDTH + 1, generator=torch.Generator().manual_seed(3))
    (_, residuals, features, _), at = taken(found), 0
    inverses = found.blocks.inverses.double()
    for batch in found.batches():
        rows = slice(at, at + len(batch.features))
        residual, phi = residuals[rows], features[rows]
        expected = torch.einsum("bc,cvk,bk->bv", residual, vectors.double(), phi)
        torch.testing.assert_close(found.project(batch, vectors).double(), expected, rtol=1e-3, atol=1e-4)
        leverages = torch.einsum("bk,ckl,bl->bc", phi, inverses, phi)
        q0, kept = found.leverages(batch)
        torch.testing.assert_close(q0.double(), (residual.square() * leverages).sum(1), rtol=1e-3, atol=1e-6)
        assert bool(((kept == 0) | ((kept / leverages - 1).abs() < 1e-3)).all())
        at = rows.stop
    assert at == 3000


def test_scores_are_close_to_exact_and_within_their_errors(sure):
    sketched = SketchedInfluence(*sure)
    scores, exact = sketched.scores(), Influence(*sure, dtype=torch.float64).scores()
    error = scores.cook / exact.cook - 1
    assert np.median(np.abs(error)) < 0.03
    assert 0.2 < np.median(np.abs(scores.cook - exact.cook) / scores.standard_error) < 1.5
    assert np.median(np.abs(scores.loo_loss - exact.loo_loss)) < 1e-2 * np.median(exact.loo_loss)
    assert 0 < sketched._missing < 0.05
    np.testing.assert_allclose(scores.leverage, exact.leverage, rtol=1e-6)


def test_what_is_missing_is_measured(rough, monkeypatch):
    """Against the closed forms with the probabilities that are taken and as they are."""
    monkeypatch.setattr(operators, "LEFT", 0.02)  # it is to first order
    found, n = points(*rough), 3000
    p, residual, features, weights = taken(found)
    penalty, centred = found.risk.range_penalty(), torch.eye(CLASSES, dtype=torch.float64) - 1 / CLASSES
    ridge = torch.einsum("ab,kl->akbl", centred, penalty)

    def inverse(p):
        flat = (blocks_of(p, features, weights) / n + ridge).reshape(CLASSES * (WIDTH + 1), -1)
        return torch.linalg.pinv(flat, hermitian=True, rtol=1e-10)

    def distances(p, residual):
        g = torch.einsum("na,nk->nak", residual, features).flatten(1)
        return ((g @ inverse(p)) * g).sum(1)

    logits = problem()[0].double() @ problem()[2].double().T
    terms = CrossEntropy().terms(logits, problem()[1])
    apart = distances(p, residual) / distances(terms.probabilities, weights * terms.residual) - 1
    probes = found.probes()
    flat = probes.double().transpose(0, 1).flatten(1) @ inverse(p)
    told = found.missing(flat.view(-1, CLASSES, WIDTH + 1).transpose(0, 1).float())
    sampled = found._sampled.sample(10**6)[0][found._probes]
    rows = (problem()[0].unsqueeze(0) == sampled.unsqueeze(1)).all(2).float().argmax(1)
    assert 0.5 < told / float(apart[rows].square().mean().sqrt()) < 2
    assert told > 1e-3


def test_what_is_missing_is_looked_for_at_the_largest_losses_as_well(rough):
    found = points(*rough)
    features, targets = found._sampled.sample(10**6)
    labels, weights = targets.double().unbind(1)
    logits = features.double() @ problem()[2].double().T
    loss = weights * torch.nn.functional.cross_entropy(logits, labels.long(), reduction="none")
    spread = torch.linspace(0, len(loss) - 1, 8).long()
    loss[spread] = 0.0
    assert set(found._probes.tolist()) == {*spread.tolist(), *loss.topk(8).indices.tolist()}


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


def test_points_without_one_label_keep_all_their_classes():
    generator = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(5, 9, generator=generator).double()
    labels = torch.tensor([0, 1, 2, 3, 0])
    soft = torch.nn.functional.one_hot(labels, 9).double()
    soft[1] = 0.9 * soft[1] + 0.1 / 9
    for loss, all_kept in (
        (CrossEntropy(), [False, True, False, False, False]),
        (CrossEntropy(label_smoothing=0.2), [True] * 5),
    ):
        terms = loss.terms(logits, soft)
        leading = Leading.of(terms.curvature, terms.residual, labels)
        assert (torch.bincount(leading.rows) == 9).tolist() == all_kept
        assert bool((leading.tail[torch.tensor(all_kept)] == 0).all())


def test_weights_of_classes_are_the_points():
    logits, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 0])
    terms = CrossEntropy(weight=torch.tensor([1.0, 2.0, 3.0, 4.0])).terms(logits, labels)
    leading = Leading.of(terms.curvature, terms.residual, labels)
    torch.testing.assert_close(leading.weights, 1.0 + labels.float())


@pytest.mark.parametrize("kind", ["no weight", "certain", "soft", "dead feature", "nothing left out"])
def test_points_at_the_edge(kind, monkeypatch):
    """Weights of zero, logits so far apart that p is 1 to the last bit, a soft label, a dead feature, tails
    of no mass."""
    monkeypatch.setattr(sketch_points, "_MANY", CLASSES)
    if kind == "nothing left out":
        monkeypatch.setattr(operators, "LEFT", 0.0)
        monkeypatch.setattr(sketch_points, "_FEW", 1.0)
    features, labels, weight, bias = problem(n=1200)
    targets, weights = labels, torch.ones(1200, dtype=torch.float64)
    if kind == "no weight":
        weights[::2] = 0.0
    if kind == "certain":
        features[::2], weights[::2] = 100 * weight[labels[::2]], 5.0
        targets = torch.where(torch.arange(1200) % 2 == 0, (features @ weight.T).argmax(1), labels)
    if kind == "soft":
        targets = torch.nn.functional.one_hot(labels, CLASSES).double()
        targets[7] = 1 / CLASSES
    if kind == "dead feature":
        features[:, 0] = 0.0
    head, data = HeadWeights(weight, bias, CrossEntropy(), 1e-3), ArrayBatches(features, targets)
    head, data = weighted(head, data, weights.numpy())
    sketched = SketchedInfluence(head, data)
    assert isinstance(sketched._points, sketch_points.LeadingClasses)
    scores, exact = sketched.scores(), Influence(head, data, dtype=torch.float64).scores()
    assert np.isfinite(scores.cook).all()
    assert np.isfinite(scores.standard_error).all()
    counted = exact.cook > 1e-12 * exact.cook.max()
    assert np.median(np.abs(scores.cook[counted] / exact.cook[counted] - 1)) < 0.1
    assert 0 <= sketched._missing < (1e-6 if kind == "nothing left out" else 0.1)
    assert ("of the classes that lead" in sketched.facts().solver) == (sketched._points.told != "")


def test_unseen_points_are_close_to_those_of_the_closed_form(sure):
    features, labels, *_ = problem(n=500, seed=1)
    labels = (features @ problem()[2].T).argmax(1)
    data = ArrayBatches(features, labels)
    found = SketchedInfluence(*sure).unseen(data).scores()
    exact = Influence(*sure, dtype=torch.float64).unseen(data).scores()
    assert np.median(np.abs(found.cook / exact.cook - 1)) < 0.05
    np.testing.assert_allclose(found.loo_loss, exact.loo_loss, rtol=1e-9)


def test_a_bad_row_is_named_as_it_stands_in_the_data(sure):
    features, labels, weight, bias = problem()
    features[2900] = float("nan")
    with pytest.raises(InputError, match="features of row 2900"):
        SketchedInfluence(HeadWeights(weight, bias, CrossEntropy(), 1e-3), ArrayBatches(features, labels))


def test_within_inference_mode(sure):
    expected = SketchedInfluence(*sure).scores().cook
    with torch.inference_mode():
        np.testing.assert_array_equal(SketchedInfluence(*sure).scores().cook, expected)
