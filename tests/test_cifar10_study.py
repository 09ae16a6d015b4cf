"""The CIFAR-10 study: planted labels, detection measures against scikit-learn, one small model."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from benchmarks.cifar10_page import DOCS, filled, merged, results, sections
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_model
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from typer.testing import CliRunner

from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.models.recipes import build
from swaypoint.scoring.refit import RIDGES
from swaypoint.studies.cifar10.images import CLASSES, Images, Noise
from swaypoint.studies.cifar10.learning import learn, snapshots
from swaypoint.studies.cifar10.scores import cross_validated, scores_of, solved
from swaypoint.studies.cifar10.summary import SCORES
from swaypoint.studies.cifar10.trainings import FOLDS, Cell, cell_of, fold_of
from swaypoint.studies.detection import Found, intervals, mean_curve

# -- wrong labels -----------------------------------------------------------------------------------


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 99), st.floats(0, 0.3), st.sampled_from(["uniform", "asymmetric"]))
def test_as_many_labels_are_wrong_as_asked(seed, share, kind):
    labels = np.random.default_rng(seed).integers(0, 10, 500)
    noise = Noise(share, seed, kind)
    given, wrong = noise.flip(labels)
    assert wrong.sum() == round(share * 500)
    np.testing.assert_array_equal(given != labels, wrong)
    assert set(given.tolist()) <= set(range(10))
    np.testing.assert_array_equal(given, noise.flip(labels)[0])  # the same each time


def test_asymmetric_labels_are_confused_with_their_like():
    labels = np.random.default_rng(0).integers(0, 10, 5000)
    given, wrong = Noise(0.1, 3, "asymmetric").flip(labels)
    confused = {(CLASSES[a], CLASSES[b]) for a, b in zip(labels[wrong], given[wrong], strict=True)}
    assert confused == {
        ("truck", "automobile"),
        ("bird", "airplane"),
        ("deer", "horse"),
        ("cat", "dog"),
        ("dog", "cat"),
    }
    with pytest.raises(InputError, match="labels can be flipped"):
        Noise(0.9, 0, "asymmetric").flip(labels)


# -- detection ----------------------------------------------------------------------------------------


@pytest.fixture
def scored():
    rng = np.random.default_rng(0)
    wrong = rng.random(2000) < 0.03
    return rng.normal(size=2000) + 2.0 * wrong, wrong


def test_measures_are_scikit_learns(scored):
    score, wrong = scored
    found = Found.of(score, wrong).measures()
    assert found["auroc"] == pytest.approx(roc_auc_score(wrong, score), abs=1e-12)
    assert found["average_precision"] == pytest.approx(average_precision_score(wrong, score), abs=1e-12)
    false, true, _ = roc_curve(wrong, score, drop_intermediate=False)
    ours = Found.of(score, wrong).curve()
    np.testing.assert_allclose(np.interp(false, *ours)[np.diff(false, prepend=-1) > 0].max(), true.max())
    assert np.trapezoid(ours[1], ours[0]) == pytest.approx(found["auroc"], abs=0.02)


def test_ties_count_one_half(scored):
    score, wrong = scored
    assert Found.of(score.round(), wrong).measures()["auroc"] == pytest.approx(
        roc_auc_score(wrong, score.round())
    )


@pytest.mark.parametrize("recall", [0.5, 0.9, 0.95])
def test_inspected_is_how_far_one_must_look(scored, recall):
    score, wrong = scored
    hits = np.cumsum(wrong[np.argsort(-score)])
    needed = int(np.argmax(hits >= np.ceil(recall * wrong.sum()))) + 1
    found = Found.of(score, wrong).measures()
    assert found[f"inspected_{100 * recall:.0f}"] == pytest.approx(needed / 2000)


def test_a_perfect_and_a_useless_score():
    wrong = np.arange(1000) < 10
    assert Found.of(wrong.astype(float), wrong).measures()["average_precision"] == 1.0
    assert Found.of(np.zeros(1000), wrong).measures()["auroc"] == 0.5


def test_intervals_hold_the_measure_and_narrow_with_more_points():
    rng = np.random.default_rng(1)
    widths = []
    for n in (500, 50_000):
        wrong = rng.random(n) < 0.05
        found = Found.of(rng.normal(size=n) + 1.5 * wrong, wrong)
        low, high = intervals([found])["auroc"]
        assert low < found.measures()["auroc"] < high
        widths.append(high - low)
    assert widths[1] == pytest.approx(widths[0] / 10, rel=0.6)


def test_mean_curve_lies_between(scored):
    score, wrong = scored
    better = Found.of(score + 2.0 * wrong, wrong)
    worse, at = Found.of(score, wrong), np.linspace(0, 1, 11)
    mean = mean_curve([better, worse], at)
    assert (mean <= np.interp(at, *better.curve()) + 1e-12).all()
    np.testing.assert_allclose(mean, (np.interp(at, *better.curve()) + np.interp(at, *worse.curve())) / 2)


# -- a model of the study -------------------------------------------------------------------------------


def images(n, seed):
    """Classes that a few steps can tell apart: one colour each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    colours = np.random.default_rng(9).integers(0, 255, (10, 3))
    pixels = np.clip(colours[labels][:, None, None] + rng.normal(0, 20, (n, 32, 32, 3)), 0, 255)
    return Dataset(
        "colours", "images", pixels.astype(np.uint8), labels, CLASSES, (), np.arange(n), (), (), str(seed)
    )


@pytest.fixture(scope="module")
def few():
    return Images(images(150, 0), images(40, 1))


def test_split_is_four_to_one_and_fixed(few):
    assert len(few.ranked) == 120
    assert sorted([*few.ranked, *few.held]) == list(range(150))


def test_folds_are_of_equal_size():
    assert np.bincount(fold_of(100)).tolist() == [100 // FOLDS] * FOLDS


def test_learn_keeps_what_the_scores_need(few, tmp_path):
    cell = Cell("resnet20", Noise(0.05, 0), seed=0, epochs=3, schedule="slow")
    learned = learn(cell, few, tmp_path)
    labels = few.training.labels[few.ranked]
    np.testing.assert_array_equal(learned.wrong, learned.given != labels)
    assert learned.wrong.sum() == 6
    assert learned.features.shape == (120, 64)
    assert learned.course.margins.shape == learned.course.losses.shape == (120, 3)
    assert learned.course.probabilities.shape == learned.course.whole.shape == (120, 10)
    assert np.isfinite(learned.course.margins).all()
    logits = learned.features @ learned.weight.T + learned.bias
    accuracy = float((logits.argmax(1).numpy() == learned.given).mean())
    assert learned.facts["accuracy"]["training"] == pytest.approx(accuracy)
    assert set(scores_of(learned, *solved(learned))) == set(SCORES) - {
        "representer_l2",  # without a ridge
        *("cleanlab", "out_of_fold_loss", "out_of_fold_cook"),
    }
    stages = list(snapshots(learned, tmp_path))
    assert [stage.facts["epoch"] for stage in stages] == list(cell.snapshots())
    assert [stage.course.margins.shape[1] for stage in stages] == list(cell.snapshots())
    assert not torch.equal(stages[0].features, learned.features)
    # A second time it is read; what was trained by another recipe is not taken for it.
    assert torch.equal(learn(cell, few, tmp_path).features, learned.features)
    path = tmp_path / cell.name / "facts.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"recipe": {}}))
    with pytest.raises(InputError, match="another recipe"):
        learn(cell, few, tmp_path)


def test_features_are_of_the_side_that_the_training_ended_with(few, tmp_path):
    cell = Cell("resnet20", Noise(0.05, 0), seed=0, epochs=1, side=16)
    learned = learn(cell, few, tmp_path)
    model = build(cell.recipe(), torch.from_numpy(few.training.inputs[few.ranked]), 10, seed=0)
    load_model(model, tmp_path / cell.name / "model.safetensors")
    images = torch.from_numpy(few.training.inputs[few.ranked]).permute(0, 3, 1, 2).float() / 255
    small = torch.nn.functional.interpolate(images, size=(16, 16), mode="bilinear", antialias=True)
    with torch.no_grad():
        logits = model.eval()(small)
    ours = learned.features @ learned.weight.T + learned.bias
    torch.testing.assert_close(ours, logits, rtol=1e-3, atol=1e-4)


def test_a_fold_is_not_trained_on(few, tmp_path):
    cell = Cell("resnet20", Noise(0.05, 0), seed=0, epochs=1, fold=2)
    learned = learn(cell, few, tmp_path)
    np.testing.assert_array_equal(np.isnan(learned.course.margins[:, 0]), fold_of(120) == 2)


def test_names_tell_cells_apart():
    cell = Cell("resnet20", Noise(0.005, 1), 0, 16)
    others = [
        replace(cell, seed=1),
        replace(cell, fold=0),
        replace(cell, regulariser="l1l2"),
        replace(cell, noise=Noise(0.005, 1, "asymmetric")),
        replace(cell, schedule="slow"),
        replace(cell, side=16),
    ]
    assert len({cell.name, *(other.name for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"architecture": "alexnet"}, "resnet20, vgg19"),
        ({"noise": (0.1, 0, "gaussian")}, "uniform, asymmetric"),
        ({"noise": (1.5, 0, "uniform")}, "0 < share < 1"),
        ({"regulariser": "l3"}, "none, l1l2"),
        ({"schedule": "fast"}, "cycle, step"),
        ({"side": 64}, "8 to 32 pixels"),
    ],
)
def test_what_is_not_there_is_named(changed, message):
    words = {
        "architecture": "resnet20",
        "noise": (0.1, 0, "uniform"),
        "seed": 0,
        "epochs": 1,
        "regulariser": "none",
        "schedule": "slow",
    }
    assert cell_of(**words).schedule == "slow"
    with pytest.raises(InputError, match=message):
        cell_of(**words | changed)


# -- the whole study ------------------------------------------------------------------------------------


def write_images(dataset, path):
    encoded = []
    for pixels in dataset.inputs:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    pq.write_table(pa.table({"img": encoded, "label": dataset.labels}), path)


@pytest.fixture(scope="module")
def studied(few, tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    write_images(few.training, root / "train.parquet")
    write_images(few.test, root / "test.parquet")
    words = f"--data {root / 'train.parquet'} --test {root / 'test.parquet'} --out {root / 'out'} --noise 0.1"
    runs = ["--models 2 --epochs 2 --folds", "--models 1 --epochs 3 --schedule slow --regulariser l1l2"]
    for options in (*runs, "--models 0"):
        result = CliRunner().invoke(app, ["study", "cifar10", *words.split(), *options.split()])
        assert result.exit_code == 0, result.output
    return root / "out", result.output


@pytest.mark.slow
def test_study_measures_every_score(studied, few):
    out, printed = studied
    detections = pq.read_table(out / "detections.parquet").to_pylist()
    together = {row["score"] for row in detections if row["member"] == "all"}
    assert together == {row["score"] for row in detections if row["member"] == "0"}
    assert together | {row["score"] for row in detections if row["member"] == "folds"} == set(SCORES)
    wrong = pq.read_table(out / "wrong.parquet").to_pylist()
    assert [row["rows"] for row in wrong] == [
        np.flatnonzero(Noise(0.1, 0).flip(few.training.labels[few.ranked])[1]).tolist()
    ]
    assert {(len(row["above"]), row["right"]) for row in detections} == {(12, 108)}
    for regime in ("cycle-2", "slow-3"):
        assert list(out.glob(f"roc-*-{regime}.png"))
    assert (out / "fitness.png").is_file()
    with Image.open(out / "suspects.png") as sheet:
        assert sheet.width > 1000
    text = (out / "cifar10.md").read_text()
    assert "cleanlab on 5-fold probabilities" in text
    assert "Fitness for influence" in text
    assert "ResNet-20, 10 % uniform flips, 2 epochs" in printed


@pytest.mark.slow
def test_study_measures_fitness_on_the_way(studied):
    out, _ = studied
    rows = pq.read_table(out / "fitness.parquet").to_pylist()
    assert [row["epoch"] for row in rows if row["schedule"] == "slow"] == [1, 2, 3]
    assert all(0 <= row["cook_auroc"] <= 1 and row["within"] > 0 for row in rows)
    assert {row["ridge"] for row in rows} <= set(RIDGES)


def test_out_of_fold_scores_are_of_the_model_that_left_the_point_out(few, tmp_path):
    cell = Cell("resnet20", Noise(0.1, 0), seed=0, epochs=1)
    folds = [learn(replace(cell, fold=fold), few, tmp_path) for fold in range(FOLDS)]
    scores, suggested = cross_validated(folds)
    for point in (0, 50, 119):
        learned = folds[fold_of(120)[point]]
        logits = learned.features[point] @ learned.weight.T + learned.bias
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(int(learned.given[point])))
        assert suggested[point] == int(logits.argmax())
        assert scores["out_of_fold_loss"][point] == pytest.approx(float(loss), rel=1e-4)


# -- its page -------------------------------------------------------------------------------------------


def test_the_page_says_what_the_data_beside_it_say():
    page = (DOCS / "cifar10.md").read_text()
    assert filled(page, sections(*results())) == page, "python -m benchmarks.cifar10_page writes it anew"


def test_models_that_are_added_replace_those_of_the_same_name():
    old = pa.table({"model": ["a", "b"], "value": [1, 2]})
    new = pa.table({"model": ["b", "c"], "value": [3, 4]})
    assert merged(old, new, ["model"]).to_pydict() == {"model": ["a", "b", "c"], "value": [1, 3, 4]}
