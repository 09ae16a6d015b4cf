"""The checks that need further passes: neural collapse, the share of damping; and rankings that agree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from scipy import stats

import swaypoint
from oracles import cooks_distance, rows_and_hessian
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.dataset import ReadOptions
from swaypoint.errors import InputError
from swaypoint.scorers.recommended import recommended
from swaypoint.scoring.agreement import agreement, combine, overlap, ranks, spearman
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.collapse import collapse
from swaypoint.scoring.fitness import (
    COLLAPSED,
    by_heart,
    collapse_of,
    damping_sensitivity,
    examine,
    memorisation,
)
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.trained_model import Course, TrainedModel


def head(rng, *, l2=1e-2, loss="cross_entropy", outputs=3):
    weight = torch.from_numpy(rng.normal(size=(outputs, 5)))
    return HeadWeights(weight, torch.from_numpy(rng.normal(size=outputs)), as_loss(loss), l2, False)


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    features = rng.normal(size=(200, 5)) + 1.5 * rng.normal(size=(3, 5))[labels]
    return rng, features, labels


# -- neural collapse ------------------------------------------------------------------------------


def papyan(features, labels):
    """Equations of the paper, term by term."""
    classes = np.unique(labels)
    means = np.stack([features[labels == c].mean(0) for c in classes])
    centred = means - means.mean(0)
    index = np.searchsorted(classes, labels)
    within = (features - means[index]).T @ (features - means[index]) / len(labels)
    between = centred.T @ centred / len(classes)
    directions = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    cosines = [directions[i] @ directions[j] for i in range(len(classes)) for j in range(i)]
    return np.trace(within @ np.linalg.pinv(between, rcond=1e-10)) / len(classes), np.std(cosines)


@pytest.mark.parametrize("batch", [7, 200])
@pytest.mark.parametrize("classes", [3, 5])  # of five, two have no points
def test_collapse_is_that_of_the_paper(points, batch, classes):
    _, features, labels = points
    parts = [
        (torch.from_numpy(features[i : i + batch]).T, torch.from_numpy(labels[i : i + batch]))
        for i in range(0, 200, batch)
    ]
    found = collapse(parts, classes)
    np.testing.assert_allclose((found.within, found.equiangularity), papyan(features, labels), rtol=1e-9)


def test_collapse_of_a_head_looks_at_its_features_alone(points):
    rng, features, labels = points
    influence = Influence(head(rng), ArrayBatches(features, labels, 64))
    found = collapse_of(influence)
    np.testing.assert_allclose((found.within, found.equiangularity), papyan(features, labels), rtol=1e-9)


def test_features_drawn_to_their_class_are_reported(points):
    rng, features, labels = points
    means = np.stack([features[labels == c].mean(0) for c in range(3)])[labels]
    checks = {}
    for name, spread in (("apart", 1.0), ("collapsed", 1e-2)):
        drawn = means + spread * (features - means)
        assert (papyan(drawn, labels)[0] < COLLAPSED) == (name == "collapsed")
        examined = examine(Influence(head(rng), ArrayBatches(drawn, labels)))
        checks[name] = next(check for check in examined if check.name == "Neural collapse")
    assert checks["apart"].verdict == "fit"
    assert checks["collapsed"].verdict == "caution"
    assert "earlier checkpoint" in checks["collapsed"].remedy


def test_a_regression_has_no_classes_to_collapse(points):
    rng, features, _ = points
    weights = head(rng, loss="squared_error", outputs=1)
    influence = Influence(weights, ArrayBatches(features, rng.normal(size=200)))
    assert [check.name for check in examine(influence)] == ["Damping"]


# -- the share of damping ---------------------------------------------------------------------------


def exact(weights, features, labels, ridge):
    phi = torch.cat([torch.from_numpy(features), torch.ones(len(features), 1)], 1)
    rows, hessian = rows_and_hessian(
        torch.nn.functional.cross_entropy, weights.matrix, phi, torch.from_numpy(labels)
    )
    return cooks_distance(rows, hessian, ridge.repeat(weights.outputs))


@pytest.mark.parametrize("damping", [0.0, 0.3])
@pytest.mark.parametrize("factor", [0.1, 1.0, 10.0])
@pytest.mark.parametrize("loss", ["cross_entropy", torch.nn.functional.cross_entropy])
def test_damped_cook_scales_ridge_and_damping(points, damping, factor, loss):
    """Of the callable nothing is known: without damping a shift of the biases has no curvature."""
    rng, features, labels = points
    weights, data = head(rng, loss=loss), ArrayBatches(features, labels)
    influence = Influence(weights, data, damping=damping, dtype=torch.float64)
    cook = influence.damped_cook(factor, data)
    expected = exact(weights, features, labels, factor * weights.penalty(damping))
    torch.testing.assert_close(cook, expected, rtol=1e-8, atol=0.0)
    again = torch.cat([part for _, part in influence.cook(data)])
    expected = exact(weights, features, labels, weights.penalty(damping))
    torch.testing.assert_close(again, expected, rtol=1e-8, atol=0.0)


@pytest.mark.parametrize("damping", [0.0, 1e-3, 2.0])
def test_a_factorised_head_takes_another_damping(points, damping):
    rng, features, labels = points
    weights, data = head(rng), ArrayBatches(features, labels)
    influence = Influence(weights, data, damping=0.3, dtype=torch.float64)
    before = influence.scores().cook
    found = influence.damped(damping)
    expected = exact(weights, features, labels, weights.penalty(damping))
    torch.testing.assert_close(torch.from_numpy(found.scores().cook), expected, rtol=1e-8, atol=0.0)
    assert np.array_equal(influence.scores().cook, before)
    with pytest.raises(InputError, match=r"damping is -1\.0; expected 0 or more"):
        influence.damped(-1.0)


def test_sensitivity_is_the_least_rank_correlation(points):
    rng, features, labels = points
    weights = head(rng)
    given, less, more = (
        exact(weights, features, labels, factor * weights.penalty(0.0)).numpy() for factor in (1.0, 0.1, 10.0)
    )
    expected = min(stats.spearmanr(given, other).statistic for other in (less, more))
    found = damping_sensitivity(Influence(weights, ArrayBatches(features, labels), dtype=torch.float64))
    assert found == pytest.approx(expected, abs=1e-12)


def test_without_a_ridge_there_is_nothing_to_be_sensitive_to(points):
    rng, features, labels = points
    influence = Influence(replace(head(rng), l2=0.0), ArrayBatches(features, labels))
    assert damping_sensitivity(influence) is None


# -- rankings that agree ------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 1.0, 2.0, 5.0])] * 2), min_size=3, max_size=30))
def test_spearman_and_ranks_are_scipys(pairs):
    a, b = np.array(pairs).T
    np.testing.assert_array_equal(ranks(a) + 1, stats.rankdata(a))
    if len(set(a)) > 1 and len(set(b)) > 1:
        assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)
    else:
        assert np.isnan(spearman(a, b))


def test_agreement_is_of_every_two():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=400)
    scores = [truth + noise * rng.normal(size=400) for noise in (0.1, 0.5, 2.0)]
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [stats.spearmanr(scores[i], scores[j]).statistic for i, j in pairs]
    tops = [set(np.argsort(-one)[:4].tolist()) for one in scores]
    shared = [len(tops[i] & tops[j]) / 4 for i, j in pairs]
    found = agreement(scores)
    assert found.spearman == pytest.approx(np.mean(expected))
    assert found.least_spearman == pytest.approx(min(expected))
    assert (found.overlap, found.least_overlap) == pytest.approx((np.mean(shared), min(shared)))
    assert overlap(truth, truth, 10) == 1.0
    with pytest.raises(InputError, match="two or more"):
        agreement(scores[:1])


def test_combined_scores():
    scores = [np.array([1.0, 2.0, 8.0, 0.0]), np.array([4.0, 2.0, 0.5, 1.0])]
    combined = combine(scores)
    np.testing.assert_allclose(np.exp(combined[:3]), stats.gmean(np.array(scores)[:, :3]))
    assert combined.argmin() == 3  # a score of zero is the least there is
    np.testing.assert_allclose(combine(scores, "rank"), np.mean([stats.rankdata(s) - 1 for s in scores], 0))


# -- what is known by heart -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("training", "held_out", "points", "verdict"),
    [
        (0.884, 0.842, 10_000, "fit"),
        (0.885, 0.678, 10_000, "caution"),
        (0.980, 0.667, 10_000, "unfit"),
        (1.0, 0.85, 20, "fit"),  # of 20 points, three more right would be no surprise
        (0.8, 0.9, 100, "fit"),
    ],
)
def test_memorisation_is_the_gap_between_training_and_held_out_points(training, held_out, points, verdict):
    (check,) = memorisation(training, held_out, points)
    assert check.verdict == verdict
    assert f"{training:.1%}" in check.value


def test_memorisation_needs_classes_and_held_out_points():
    assert memorisation(None, None, 100) == ()
    assert memorisation(1.0, None, 0) == ()


@pytest.mark.parametrize("streamed", [False, True])
def test_random_labels_learnt_by_heart_are_told(tmp_path, streamed):
    rng = np.random.default_rng(0)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(rng.normal(size=300 * 200).astype(np.float32)), 200)
    pq.write_table(pa.table({"x": vectors, "label": rng.integers(0, 2, 300)}), tmp_path / "data.parquet")
    folder = swaypoint.audit(
        tmp_path / "data.parquet",
        tmp_path / "audit",
        options=AuditOptions(validation=0.3),
        read=ReadOptions(features="x", label="label"),
        scale=Scale(max_memory=0.0 if streamed else None),
    )
    manifest = folder.manifest()
    accuracy = manifest.model.accuracy
    (check,) = (one for one in manifest.diagnostics.checks if one.name == "Memorisation")
    assert check.verdict == "unfit"
    held = manifest.data.validation
    expected = memorisation(accuracy.train, accuracy.validation, held)[0]
    assert check.value == expected.value


@pytest.mark.parametrize(("seen", "known"), [(1.0, True), (0.0, False)], ids=["memorised", "learnt"])
def test_auto_heeds_what_the_model_knows_by_heart(seen, known):
    """Noise labels: a head of 60 features for 50 points learns each, and none of others; with ``seen`` 0 the
    points that are held out are those that it was trained on."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(250, 60)), rng.integers(0, 2, 250)
    layer = torch.nn.Linear(60, 2).double()
    weight = torch.from_numpy(np.linalg.lstsq(features[:50], 2.0 * labels[:50] - 1, rcond=None)[0])
    with torch.no_grad():
        layer.weight.copy_(torch.stack([-weight, weight]))
        layer.bias.zero_()
    last, whole = (rng.dirichlet([1.0, 1.0], 50).astype(np.float16) for _ in range(2))
    course = Course(np.zeros((50, 6)), rng.random((50, 6)), last, whole)
    held_out = (features[50:], labels[50:]) if seen else (features[:50], labels[:50])
    trained = TrainedModel(layer, (features[:50], labels[:50]), l2=0.1, course=course, held_out=held_out)
    guess = features @ weight.numpy() > 0
    right = guess == (labels == 1)
    assert right[:50].all()
    assert trained.by_heart is known
    assert by_heart(1.0, float(right[50:].mean() if seen else 1.0), len(held_out[1])) is known
    left_out = trained.influence.scores(probabilities=True).probabilities
    learnt = whole.astype(np.float64)
    learnt[np.arange(50), labels[:50]] = np.exp(-course.losses.mean(1))
    learnt /= learnt.sum(1, keepdims=True)
    second = last.astype(np.float64)  # of so few points no channel is told: the views' geometric mean
    second[np.arange(50), labels[:50]] = np.exp(-course.losses[:, 4:].mean(1))
    second /= second.sum(1, keepdims=True)
    p = learnt if known else np.sqrt(left_out * second)
    p /= p.sum(1, keepdims=True)
    expected = recommended([(p, labels[:50])], by_heart=known)[0].score
    np.testing.assert_allclose(swaypoint.methods["auto"].score(trained), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("training", "held_out", "known"),
    [
        (0.88, 0.84, False),
        (0.94, 0.88, False),
        (0.99, 0.95, True),
        (1.0, 0.97, True),
        (0.8, 0.6, True),
        (1.0, 1.0, False),
    ],
)
def test_few_errors_beside_those_on_other_points_are_learnt_by_heart(training, held_out, known):
    assert by_heart(training, held_out, 1000) is known
    assert by_heart(training, held_out, 0) is by_heart(training, None, 1000) is False


def test_without_held_out_points_nothing_is_known_by_heart(points):
    rng, features, labels = points
    trained = TrainedModel(LinearHead(head(rng)), (features, labels))
    assert trained.by_heart is False
    regression = TrainedModel(
        LinearHead(head(rng, loss="squared_error", outputs=1)),
        (features, rng.normal(size=200)),
        held_out=(features, rng.normal(size=200)),
    )
    assert regression.by_heart is False


# -- had the label been another -----------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "outputs"), [("cross_entropy", 3), ("binary_cross_entropy", 1)])
def test_by_label_is_the_distance_with_that_label(points, loss, outputs):
    rng, features, labels = points
    labels = labels % max(outputs, 2)
    weights = head(rng, loss=loss, outputs=outputs)
    influence = Influence(weights, ArrayBatches(features, labels), dtype=torch.float64)
    found = torch.cat(list(influence.by_label()))
    own = torch.cat([cook for _, cook in influence.cook(ArrayBatches(features, labels))])
    torch.testing.assert_close(found[torch.arange(200), torch.from_numpy(labels)], own)
    for label in range(max(outputs, 2)):
        other = ArrayBatches(features, np.full(200, label))
        expected = torch.cat([cook for _, cook in influence.cook(other)])
        torch.testing.assert_close(found[:, label], expected)


def test_by_label_needs_classes(points):
    rng, features, _ = points
    influence = Influence(head(rng, loss="squared_error"), ArrayBatches(features, rng.normal(size=(200, 3))))
    with pytest.raises(InputError, match="no other label"):
        next(influence.by_label())


# -- a head that float32 sees no curvature of ---------------------------------------------------------


def test_a_confident_head_is_solved_in_float64(tmp_path):
    """A perceptron that knows all but a few points by heart: nearly all curvature is in those few."""
    options = AuditOptions(flip=0.05)
    folder = swaypoint.audit("sklearn:wine", tmp_path / "wine", options=options)
    kept = load_file(folder.path / "features.safetensors") | load_file(folder.path / "head.safetensors")
    table, model = folder.scores(), folder.manifest().model
    weights = HeadWeights(kept["weight"], kept["bias"], as_loss("cross_entropy"), model.l2, False)
    labels, seen = table["label"].to_numpy().astype(np.int64), np.array(table["split"].to_pylist()) == "train"
    features = kept["features"].double().numpy()
    expected = exact(weights, features[seen], labels[seen], weights.penalty(0.0))
    np.testing.assert_allclose(table["cook"].to_numpy()[seen], expected, rtol=1e-3)
    assert "without curvature" not in str(folder.manifest().diagnostics)
