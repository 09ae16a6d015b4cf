"""The study of wrong labels: its noises, its measures, and one run from end to end."""

from __future__ import annotations

import json
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from typer.testing import CliRunner

from swaypoint.cli.main import app
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError
from swaypoint.models.out_of_fold import dealt
from swaypoint.studies.detection import Found
from swaypoint.studies.labels.noise import Noise, _few, weak_probabilities
from swaypoint.studies.labels.scored import scored

N = 6000


@pytest.fixture(scope="module")
def weak():
    """Right labels of four classes, and a weak model that takes each class most for the next one."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, N)
    logits = rng.normal(size=(N, 4))
    logits[np.arange(N), labels] += 2.0
    logits[np.arange(N), (labels + 1) % 4] += 1.0
    p = np.exp(logits)
    return labels, p / p.sum(1, keepdims=True)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["uniform", "class", "record"]), st.sampled_from([0.01, 0.05, 0.2]), st.integers(0, 9))
def test_the_share_that_is_asked_for_is_wrong(weak, kind, share, seed):
    labels, p = weak
    noise = Noise(kind, share)
    wrong = noise.given(labels, p, seed) != labels
    assert abs(wrong.mean() - share) < 5 * np.sqrt(share / N)
    np.testing.assert_array_equal(noise.given(labels, p, seed), noise.given(labels, p, seed))
    assert (noise.given(labels, p, seed) != noise.given(labels, p, seed + 1)).any()


def test_noise_between_classes_sends_half_of_them_each_to_the_one_it_is_taken_for(weak):
    labels, p = weak
    planted = Noise("class", 0.1).given(labels, p, 3)
    wrong = planted != labels
    assert len(set(labels[wrong])) == 2
    np.testing.assert_array_equal(planted[wrong], (labels[wrong] + 1) % 4)


def test_noise_by_record_falls_where_the_weak_model_is_unsure(weak):
    labels, p = weak
    planted = Noise("record", 0.1).given(labels, p, 0)
    wrong = planted != labels
    own = p[np.arange(N), labels]
    assert own[wrong].mean() < own[~wrong].mean() - 0.1
    others = np.where(np.eye(4, dtype=bool)[labels], -1.0, p)
    np.testing.assert_array_equal(planted[wrong], others.argmax(1)[wrong])


def test_the_weak_model_has_not_seen_what_it_judges():
    dataset = read_dataset("sklearn:wine")
    p = weak_probabilities(dataset)
    np.testing.assert_allclose(p.sum(1), 1.0)
    split = PredefinedSplit(dealt(dataset.labels, 5, seed=0))
    model = LogisticRegression(max_iter=500)
    theirs = cross_val_predict(model, _few(dataset), dataset.labels, cv=split, method="predict_proba")
    np.testing.assert_allclose(p, theirs, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(5, 150), st.integers(1, 120))
def test_precision_is_counted_in_the_first_of_the_ranking(seed, n, first):
    rng = np.random.default_rng(seed)
    score, wrong = rng.permutation(n).astype(float), rng.random(n) < 0.3
    wrong[0] = True
    expected = wrong[np.argsort(-score)][:first].mean()
    assert Found.of(score, wrong).precision(first) == pytest.approx(expected)


def test_a_study_measures_every_score_and_goes_on_where_it_stopped(tmp_path):
    asked = ["study", "labels", "sklearn:wine", "--noise", "uniform:0.1", "--draws", "1"]
    asked += ["--out", str(tmp_path)]
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    [path] = (tmp_path / "cells").iterdir()
    cell = pq.read_table(path)
    wrong = cell["true"].to_numpy() != cell["given"].to_numpy()
    rows = {row["score"]: row for row in json.loads((tmp_path / "labels.json").read_text())}
    assert {"auto", "cook", "same_filter", "trees_filter"} <= set(rows)
    for score, row in rows.items():
        values = cell[score].to_numpy()
        known = np.isfinite(values)
        assert row["wrong"] == wrong.sum()
        assert row["ranked"] == known.sum()
        if len(np.unique(values[known])) == known.sum():  # ties count one half here, not in scikit-learn
            theirs = average_precision_score(wrong[known], values[known])
            assert row["measures"]["average_precision"] == pytest.approx(theirs)
    assert "recommended (`auto`)" in (tmp_path / "labels.md").read_text()
    written = path.stat().st_mtime_ns
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert path.stat().st_mtime_ns == written


def test_a_package_that_is_there_is_a_peer(monkeypatch):
    """mislabeled trusts a label, here by its number; the study looks first where trust is least."""

    class AreaUnderMargin:
        def __init__(self, trees, steps):
            assert 1 < steps < trees.max_iter

        def trust_score(self, inputs, labels):
            return labels / 10

    package, detect = ModuleType("mislabeled"), ModuleType("mislabeled.detect")
    detectors = ModuleType("mislabeled.detect.detectors")
    detectors.AreaUnderMargin = AreaUnderMargin
    package.__spec__ = ModuleSpec("mislabeled", None)
    for module in (package, detect, detectors):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    wine = read_dataset("sklearn:wine")
    cell = scored(wine, wine.labels, 0)
    np.testing.assert_allclose(cell.points["trees_area"].to_numpy(), -wine.labels / 10)


@pytest.mark.parametrize("words", ["human:0.1", "uniform", "class:0.7", "record:much"])
def test_noise_that_is_none_is_refused(words, tmp_path):
    result = CliRunner().invoke(app, ["study", "labels", "--noise", words, "--out", str(tmp_path / "x")])
    assert isinstance(result.exception, InputError)  # of which the command line makes one sentence
    assert repr(words) in str(result.exception)
    assert not (tmp_path / "x").exists()
