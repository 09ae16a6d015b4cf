"""The recommended score of groups of points: against its one-group form, scipy, and planted pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from sklearn.datasets import load_wine

import swaypoint
from swaypoint.data.batches import ArrayBatches
from swaypoint.scorers.recommended import (
    averaged,
    geometric,
    recommended,
    temperature,
    temperatures,
    tempered,
)
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.panels import TiledInfluence
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy
from swaypoint.scoring.sketched import SketchedInfluence
from swaypoint.scoring.trained_model import Course


def judged(seed, n=4000, sharpness=1.0):
    """Probabilities whose given labels are wrong for a tenth of the classes 0 (given 1) and 2 (given 3); a
    ``sharpness`` beyond one makes the model too sure."""
    rng = np.random.default_rng(seed)
    q = special.softmax(3 * rng.normal(size=(n, 5)), axis=1)
    channel = np.eye(5)
    channel[[0, 2], [0, 2]], channel[[0, 2], [1, 3]] = 0.9, 0.1
    true = (q.cumsum(1) > rng.random((n, 1))).argmax(1)
    labels = (channel[true].cumsum(1) > rng.random((n, 1))).argmax(1)
    return special.softmax(sharpness * np.log(q @ channel), axis=1), labels, labels != true


def test_one_group_is_wrong_labels():
    p, labels, _ = judged(0)
    calibrated = tempered(p, min(1.0, temperature(p, labels)))
    (found,), expected = recommended([(p, labels)]), swaypoint.wrong_labels(calibrated, labels)
    for name in ("score", "p_wrong", "channel", "likely", "pairs"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert found.believed


def test_groups_have_one_channel_and_one_scale():
    """Points that the model is too sure of, beside others: neither floods the top, and both are counted."""
    sure, others = judged(1, sharpness=2.5), judged(2)
    both = recommended([sure[:2], others[:2]])
    assert both[0].believed
    np.testing.assert_array_equal(both[0].channel, both[1].channel)
    assert (both[0].channel[[0, 2], [1, 3]] > 10 * both[0].channel[[1, 3], [0, 2]]).all()
    alone = [swaypoint.wrong_labels(*part[:2]) for part in (sure, others)]
    assert alone[0].expected > 2 * alone[1].expected
    assert both[0].expected == pytest.approx(both[1].expected, rel=0.15)
    assert both[1].expected == pytest.approx(alone[1].expected, rel=0.15)
    scores, wrong = np.concatenate([f.score for f in both]), np.r_[sure[2], others[2]]
    first = np.argsort(-scores)[: wrong.sum()]
    from_the_sure = (first < len(sure[1])).mean()
    assert 0.4 < from_the_sure < 0.6
    apart = (np.argsort(-np.concatenate([f.score for f in alone]))[: wrong.sum()] < len(sure[1])).mean()
    assert abs(apart - 0.5) > abs(from_the_sure - 0.5)  # what the calibration is for


@pytest.mark.parametrize("nats", [8, 12])
def test_points_known_by_heart_have_as_many_wrong_labels_as_others(nats):
    """Half of the doubt is gone: every log-odds twice, and the given label some nats more likely."""
    p, labels, wrong = judged(4)
    logs = 2 * np.log(p)
    logs[np.arange(len(labels)), labels] += nats
    learnt, others = special.softmax(logs, axis=1), judged(5, n=1000)
    plain = recommended([(learnt, labels), others[:2]])
    found, rest = recommended([(learnt, labels), others[:2]], by_heart=True)
    (alone,) = recommended([others[:2]])
    np.testing.assert_array_equal(rest.p_wrong, alone.p_wrong)
    assert plain[0].expected < 0.2 * wrong.sum()
    assert found.expected / len(labels) == pytest.approx(rest.expected / 1000, rel=0.02)
    assert not found.believed
    calibrated = tempered(learnt, max(temperature(learnt, labels), 0.3)).astype(np.float64)
    own = calibrated[np.arange(len(labels)), labels]
    calibrated[np.arange(len(labels)), labels] = 0
    doubt = calibrated.sum(1)
    seen = doubt > 1e-12
    assert seen.mean() > 0.2
    against = np.log(doubt[seen]) - np.log(own[seen])
    (single,) = recommended([(learnt, labels)], by_heart=True)
    for one in (found, single):
        moved = one.score[seen] - against
        np.testing.assert_allclose(moved, np.median(moved), atol=1e-3)
        np.testing.assert_allclose(one.p_wrong, special.expit(one.score), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(one.pairs.sum(), len(labels), rtol=1e-5)


@given(seed=st.integers(0, 2**16), order=st.permutations(range(5)))
@settings(max_examples=15, deadline=None)
def test_names_of_classes_do_not_matter(seed, order):
    parts = [judged(seed, n=400)[:2], judged(seed + 1, n=300, sharpness=2.0)[:2]]
    order = np.array(order)
    plain = recommended(parts)
    renamed = recommended([(p[:, order], np.argsort(order)[labels]) for p, labels in parts])
    for found, again in zip(plain, renamed, strict=True):
        np.testing.assert_allclose(again.score, found.score, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(again.pairs, found.pairs[np.ix_(order, order)], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 2.5])
def test_temperature_has_the_least_loss(sharpness):
    p, labels, _ = judged(3, sharpness=sharpness)

    def loss(log_t):
        logs = special.log_softmax(np.log(p) / np.exp(log_t), axis=1)
        return -logs[np.arange(len(labels)), labels].mean()

    best = np.exp(optimize.minimize_scalar(loss, bounds=(-2.3, 2.3), method="bounded").x)
    assert temperature(p, labels) == pytest.approx(best, rel=1e-3)
    assert best == pytest.approx(sharpness, rel=0.1)
    np.testing.assert_allclose(
        tempered(p, best), special.softmax(np.log(p) / best, axis=1), rtol=1e-4, atol=1e-7
    )


def test_a_lack_of_sureness_is_mended_and_too_much_of_it_left():
    parts = [judged(6, sharpness=sharpness)[:2] for sharpness in (0.5, 2.0, 4.0)]
    half, double, fourfold = (temperature(*part) for part in parts)
    assert temperatures(parts[:1]) == [half]
    assert temperatures(parts[1:2]) == [1.0]
    np.testing.assert_allclose(temperatures(parts[1:]), [1.0, fourfold / double])
    assert temperatures(parts) == [half, double, fourfold]


@given(st.integers(0, 2**16), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_any_probabilities_have_a_temperature(seed, n):
    rng = np.random.default_rng(seed)
    p = special.softmax(30 * rng.normal(size=(n, 3)), axis=1).astype(np.float16)
    p[rng.random(n) < 0.3] = [1, 0, 0]
    t = temperature(p, rng.integers(0, 3, n))
    assert 0.1 <= t <= 10
    np.testing.assert_allclose(tempered(p, t).sum(1), 1, rtol=1e-5)


def test_probabilities_are_the_mean_of_both_views():
    left_out, last, whole = (np.array([[share, 1 - share]]) for share in (0.2, 0.6, 0.9))
    labels, losses = np.array([1]), np.array([[2.0, 1.0, 0.0]])
    course = Course(np.zeros((1, 3)), losses, last, whole)
    np.testing.assert_allclose(averaged(left_out, labels, course), [[0.4, 0.6]])
    total = 0.9 + np.exp(-1)
    learnt = averaged(left_out, labels, course, by_heart=True)
    np.testing.assert_allclose(learnt, [[0.9 / total, np.exp(-1) / total]], rtol=1e-6)
    bare = Course(np.zeros((1, 3)), np.zeros((1, 3)))
    for known in (None, bare):
        for by_heart in (False, True):
            np.testing.assert_allclose(averaged(left_out, labels, known, by_heart=by_heart), left_out)


def test_the_geometric_mean_has_the_mean_loss_of_the_last_third():
    left_out, last = np.array([[0.2, 0.5, 0.3]]), np.array([[0.6, 0.1, 0.3]])
    course = Course(np.zeros((1, 6)), np.array([[9.0, 9.0, 9.0, np.nan, 2.0, 1.0]]), last)
    given = np.exp(-1.5)
    second = np.array([0.6, given, 0.3]) / (0.9 + given)
    expected = np.sqrt(left_out[0] * second)
    found = geometric(left_out, np.array([1]), course)
    np.testing.assert_allclose(found, [expected / expected.sum()], rtol=1e-6)
    assert geometric(left_out, np.array([1]), None) is None
    five = Course(np.zeros((1, 5)), np.array([[9.0, 9.0, 9.0, 2.0, 1.0]]), last)  # of 5, the last 2
    np.testing.assert_allclose(geometric(left_out, np.array([1]), five), found, rtol=1e-6)


def test_another_mean_is_asked_of_the_first_group_where_no_channel_is_told():
    first, others = judged(3)[:2], judged(4)[:2]
    without = tempered(first[0], 1.7)
    without[:20] = without[:20, ::-1]
    told = recommended([first, others])
    assert told[0].believed
    np.testing.assert_array_equal(recommended([first, others], without=without)[0].score, told[0].score)
    some = [(p[:60], y[:60]) for p, y in (first, others)]
    found, expected = (
        recommended(some, without=without[:60]),
        recommended([(without[:60], some[0][1]), some[1]]),
    )
    assert not found[0].believed
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.score, other.score)


@pytest.fixture(scope="module")
def wine():
    features, labels = load_wine(return_X_y=True)
    features = (features - features.mean(0)) / features.std(0)
    zeros = torch.zeros(3, features.shape[1], dtype=torch.float64)
    blank = HeadWeights(zeros, zeros[:, 0].clone(), CrossEntropy(), 10 / len(labels), penalize_bias=False)
    return features, labels, refit_head(blank, ArrayBatches(features, labels)).head


def test_left_out_probabilities_are_those_of_refits(wine):
    features, labels, head = wine
    n, data = len(labels), ArrayBatches(features, labels)
    found = Influence(head, data).scores(probabilities=True).probabilities
    assert found.dtype == np.float32
    kept_in = torch.softmax(torch.from_numpy(features) @ head.weight.T + head.bias, 1).numpy()
    rows = np.random.default_rng(0).choice(n, 30, replace=False)
    expected = []
    for row in rows:
        kept = np.arange(n) != row
        start = HeadWeights(head.weight, head.bias, CrossEntropy(), 10 / (n - 1), penalize_bias=False)
        refit = refit_head(start, ArrayBatches(features[kept], labels[kept])).head
        expected.append(special.softmax(refit.weight.numpy() @ features[row] + refit.bias.numpy()))
    moved = np.abs(np.array(expected) - kept_in[rows]).max()
    assert np.abs(found[rows] - expected).max() < 0.15 * moved


@pytest.mark.parametrize("solution", [TiledInfluence, SketchedInfluence])
def test_large_heads_have_left_out_probabilities_too(wine, solution):
    features, labels, head = wine
    data = ArrayBatches(features, labels)
    exact = Influence(head, data).scores(probabilities=True).probabilities
    solved = solution(head, data)
    solved.facts()  # of a pass without them
    found = solved.scores(probabilities=True).probabilities
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-5)
    assert np.median(np.abs(found - exact)) < 2e-3
    assert solved.scores().loss.shape == labels.shape


def test_a_point_of_leverage_one_has_what_the_model_says():
    """Without the only point of a direction the head there is undetermined."""
    rng = np.random.default_rng(0)
    features = np.c_[rng.normal(size=(40, 2)), np.zeros(40)]
    features[7, 2] = 1.0
    labels = rng.integers(0, 2, 40)
    blank = HeadWeights(torch.zeros(2, 3).double(), torch.zeros(2).double(), CrossEntropy())
    head = HeadWeights(torch.randn(2, 3, dtype=torch.float64), blank.bias, CrossEntropy())
    scores = Influence(head, ArrayBatches(features, labels), dtype=torch.float64).scores(probabilities=True)
    assert np.isfinite(scores.probabilities).all()
    swaypoint.wrong_labels(scores.probabilities, labels)
