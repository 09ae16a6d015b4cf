"""Retraining on the cleaned dataset, and the statistics that judge it."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.review.cleaning.compare import (
    Judged,
    TrainingSet,
    Trial,
    Workshop,
    bootstrap,
    compare,
    right,
    sign_flip_p,
)
from swaypoint.review.cleaning.compare import trial as audited_trial
from swaypoint.review.cleaning.comparison import render
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision, Event, Review


def test_sign_flips_against_all_of_them():
    differences = np.array([0.4, 0.2, 0.6, -0.2, 0.8, 0.2, 0.4, 0.2, -0.4, 1.0])
    sums = [np.dot(signs, differences) for signs in itertools.product([1, -1], repeat=10)]
    exact = np.mean(np.abs(sums) >= differences.sum() - 1e-9)
    assert sign_flip_p(differences, draws=40_000) == pytest.approx(exact, rel=0.1)
    assert sign_flip_p(np.r_[differences, np.zeros(50)]) == sign_flip_p(differences)  # ties say nothing


def test_bootstrap_of_one_seed_is_the_usual_one():
    right = np.random.default_rng(0).random((1, 400)) < 0.8
    found = bootstrap([right.astype(float)], draws=4000)[0]
    expected = stats.bootstrap((right[0].astype(float),), np.mean, method="percentile").confidence_interval
    np.testing.assert_allclose(found, expected, atol=0.004)


def test_bootstrap_counts_seeds_too():
    """Two thirds of the variance is between seeds: the interval must be as wide as that says."""
    generator = np.random.default_rng(1)
    seeds = generator.normal(0, 1, (40, 1))
    arms = seeds + generator.normal(0, 1, (1, 80)) + generator.normal(0, 0.1, (40, 80))
    low, high = bootstrap([arms])[0]
    deviation = np.hypot(seeds.std() / 40**0.5, 1 / 80**0.5)
    assert high - low == pytest.approx(2 * 1.96 * deviation, rel=0.15)


@pytest.fixture(scope="module")
def wine():
    return read_dataset("sklearn:wine")


def _noisy(dataset, share):
    labels = dataset.labels.copy()
    wrong = np.random.default_rng(0).permutation(len(labels))[: round(share * len(labels))]
    labels[wrong] = (labels[wrong] + 1) % 3
    return labels


def _trial(dataset, folder, *, labels=None, name="head", epochs=None, listener=None, measured=None):
    order = np.random.default_rng(0).permutation(len(dataset))
    given = dataset if labels is None else replace(dataset, labels=labels)
    measured = np.sort(order[120:]) if measured is None else measured
    options = ModelOptions(name, epochs=epochs)
    shop = Workshop(folder, options, Objective(), "cpu", listener or Listener())
    trained = np.sort(order[:120])
    return Trial(given, trained, measured, dataset.labels, shop, trained)


def test_labels_that_verdicts_altered_are_measured_as_given_and_as_cleaned(wine, tmp_path):
    trial = _trial(wine, tmp_path)
    kept, labels = np.arange(len(trial.measured)) > 0, trial.truth[trial.measured].copy()
    labels[1:4] = (labels[1:4] + 1) % 3
    found = compare(trial, trial.original, seeds=1, judged=Judged(kept, labels))
    plain = compare(trial, trial.original, seeds=1)
    assert (found.altered, plain.altered, plain.on_cleaned) == (4, 0, None)
    assert found.overall == plain.overall
    truth = trial.truth.copy()
    truth[trial.measured] = labels
    hits = right(replace(trial, truth=truth), trial.original, 0)[kept]
    assert found.on_cleaned.overall.points == len(labels) - 1
    assert found.on_cleaned.overall.original.mean == pytest.approx(hits.mean())
    assert "The cleaning altered 4 of the" in found.outcome
    assert "by the cleaned labels" in render(found, "wine")


def test_verdicts_on_held_out_points_alter_what_is_measured_and_not_what_is_trained_on(tmp_path):
    folder = swaypoint.audit(
        "sklearn:wine", tmp_path / "a", options=AuditOptions(model=ModelOptions(epochs=2))
    )
    items = Items(folder)
    held, trained = (
        [items.ids[i] for i in np.flatnonzero(items.scores["split"] == name)]
        for name in ("held_out", "train")
    )
    said = [
        (held[0], Decision("mislabeled", "class_2")),
        (held[1], Decision("bad")),
        (trained[0], Decision("bad")),
    ]
    events = [Event(str(i), items.run, item, "ann", d, str(i), seq=i) for i, (item, d) in enumerate(said, 1)]
    made, review = audited_trial(items, read_source(items)), Review(items.run, events)
    cleaned, judged = made.cleaned(items, review, "relabel"), made.judged(items, review, "relabel")
    assert (len(made.rows), len(cleaned.rows)) == (142, 141)
    assert set(cleaned.rows) < set(made.rows)
    assert (~judged.kept).sum() == 1
    assert judged.labels[0] == 2
    assert (judged.labels != made.truth[made.measured]).sum() == (made.truth[made.measured][0] != 2)


def test_what_findings_say_is_acted_on_without_a_verdict(tmp_path):
    """Of 160 rows 60 stand there twice, and half of the copies are held out."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(160, 3))
    values = np.concatenate([values, values[:60]])
    table = pd.DataFrame(values, columns=list("abc"))
    table["label"] = np.where(table["a"] + table["b"] > 0, "yes", "no")
    table.to_csv(tmp_path / "rows.csv", index=False)
    options = AuditOptions(model=ModelOptions("head"), validation=0.5)
    folder = swaypoint.audit(
        tmp_path / "rows.csv", tmp_path / "a", read=ReadOptions("label"), options=options
    )
    rows = table.iloc[folder.scores()["index"].to_numpy()].assign(split=folder.scores()["split"].to_pylist())
    trained = rows[rows["split"] == "train"]
    held_out = rows[rows["split"] == "held_out"]
    leaked = held_out["a"].isin(trained["a"]).sum()
    within = len(trained) - trained["a"].nunique() + len(held_out) - held_out["a"].nunique()
    assert leaked > 0
    assert within > 0
    acts = ("held_out records that were trained on", "copies within a split")
    words = [
        "compare",
        str(folder.path),
        "--seeds",
        "1",
        *(part for name in acts for part in ("--act", name)),
    ]
    said = CliRunner().invoke(app, words, env={"COLUMNS": "200"})
    assert said.exit_code == 0, said.output
    found = json.loads((folder.path / "compare.json").read_text())
    assert found["act"] == list(acts)
    assert found["original_points"] == len(trained)
    assert found["cleaned_points"] == trained["a"].nunique()
    left = held_out.drop_duplicates("a")["a"]
    assert found["on_cleaned"]["overall"]["points"] == (~left.isin(trained["a"])).sum()
    assert found["altered"] == len(held_out) - found["on_cleaned"]["overall"]["points"]
    assert f"The cleaning altered {found['altered']} of the {len(held_out)} labels" in said.output
    assert "by the cleaning" in (folder.path / "compare.html").read_text()


def test_right_labels_are_better_than_wrong_ones(wine, tmp_path):
    trial = _trial(wine, tmp_path, labels=_noisy(wine, 0.4))
    found = compare(trial, TrainingSet(trial.rows, wine.labels), seeds=2)
    assert found.overall.gain.low > 0
    assert found.p < 0.05
    assert "better" in found.outcome
    assert sum(group.points for group in found.classes) == found.overall.points == len(trial.measured)
    gains = sum(group.points * group.gain.mean for group in found.classes) / len(trial.measured)
    assert gains == pytest.approx(found.overall.gain.mean)
    assert found.relabeled == int((trial.dataset.labels != wine.labels)[trial.rows].sum())


def test_the_same_set_twice_is_no_difference(wine, tmp_path):
    trial = _trial(wine, tmp_path, name="mlp", epochs=3)
    found = compare(trial, trial.original, seeds=2)
    assert (found.p, found.overall.gain.low, found.overall.gain.high) == (1.0, 0.0, 0.0)
    assert "no difference" in found.outcome


def test_the_head_is_sklearns_logistic_regression(wine, tmp_path):
    from sklearn.linear_model import LogisticRegression

    scaled = (wine.inputs - wine.inputs.mean(0)) / wine.inputs.std(0)
    trial = _trial(replace(wine, inputs=scaled.astype(np.float32)), tmp_path)
    inputs, labels = trial.dataset.inputs, wine.labels
    model = LogisticRegression(max_iter=10_000, tol=1e-10).fit(inputs[trial.rows], labels[trial.rows])
    expected = model.predict(inputs[trial.measured]) == labels[trial.measured]
    assert (right(trial, trial.original, 0) == expected).all()


def test_a_trained_model_is_trained_once(wine, tmp_path):
    epochs = []
    listener = Listener(epoch=lambda *state: epochs.append(state))
    trial = _trial(wine, tmp_path, name="mlp", epochs=2, listener=listener)
    first, again = right(trial, trial.original, 0), right(trial, trial.original, 0)
    assert len(epochs) == 2
    assert (first == again).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"measured": np.empty(0, dtype=int)}, "no points to measure on"),
        ({"seeds": 0}, "seeds is 0"),
        ({"name": "mine:build"}, "swaypoint export"),
    ],
)
def test_clear_errors(wine, tmp_path, change, said):
    seeds = change.pop("seeds", 1)
    trial = _trial(wine, tmp_path, **change)
    with pytest.raises(InputError, match=said):
        compare(trial, trial.original, seeds=seeds)
