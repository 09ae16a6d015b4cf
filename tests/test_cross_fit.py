"""``--folds K``: every record scored by models with and without it, against refits by scikit-learn."""

from __future__ import annotations

import io
import json
from hashlib import sha256

import numpy as np
import pytest
import torch
from rich.console import Console
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from typer.testing import CliRunner

import swaypoint
from oracles import cooks_distance, rows_and_hessian
from swaypoint.auditing.cross_fit import CrossFit, Folds
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions, Objective, Rows
from swaypoint.models.pretrained import Backbone, Encoder, families
from swaypoint.models.pretrained.base import Family
from swaypoint.report.terminal import described, show
from swaypoint.scorers.recommended import recommended
from swaypoint.scoring.scores import Scores

FOLDS, CLASSES = 4, ("ant", "bee", "cat")
FEW = ModelOptions(epochs=3)


def dataset(x, y, kind="features", *, split=None, classes=CLASSES):
    return Dataset(
        name="clouds",
        kind=kind,
        inputs=x,
        labels=y,
        classes=classes,
        columns=tuple(f"x{i}" for i in range(x.shape[1])) if x.ndim == 2 else (),
        index=np.arange(len(y)),
        names=(),
        skipped=(),
        fingerprint=sha256(x.tobytes() + y.tobytes()).hexdigest(),
        split=split,
    )


def clouds(n=90, test=0, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n + test)
    x = (np.eye(3, 5)[y] * 2.0 + rng.normal(size=(n + test, 5))).astype(np.float32)
    y[:4] = (y[:4] + 1) % 3
    split = np.array(["train"] * n + ["test"] * test) if test else None
    return dataset(x, y, split=split)


def columns(folder):
    table = folder.scores()
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def regression():
    # The mean loss with a ridge of 1/n is the sum of losses with one of 1.
    return LogisticRegression(C=1.0, tol=1e-12, max_iter=10_000, solver="newton-cholesky")


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    """90 points, and 20 of another split; four folds."""
    data = clouds(90, test=20)
    options = AuditOptions(folds=FOLDS, scores=("loss", "knn"))
    folder = swaypoint.audit(data, tmp_path_factory.mktemp("audits") / "clouds", options=options)
    return data, folder, columns(folder)


# -- against refits ---------------------------------------------------------------------------------


def test_out_of_fold_scores_are_those_of_scikit_learn_on_the_same_folds(audited):
    data, _, found = audited
    train = found["split"] == "train"
    x, y = data.inputs.astype(np.float64), data.labels
    folds = PredefinedSplit(found["fold"][train])
    p = cross_val_predict(regression(), x[train], y[train], cv=folds, method="predict_proba")
    own = p[np.arange(train.sum()), y[train]]
    np.testing.assert_allclose(found["loo_loss"][train], -np.log(own), atol=1e-5)
    others = p.copy()
    others[np.arange(len(own)), y[train]] = 0
    np.testing.assert_allclose(found["margin"][train], own - others.max(1), atol=1e-5)
    assert found["suggested_label"][train].tolist() == p.argmax(1).tolist()
    # Those of another split are scored by the mean of all models.
    fitted = [regression().fit(x[train][rows], y[train][rows]) for rows, _ in folds.split()]
    mean = np.mean([one.predict_proba(x[~train]) for one in fitted], axis=0)
    given = mean[np.arange((~train).sum()), y[~train]]
    mean[np.arange(len(given)), y[~train]] = 0
    np.testing.assert_allclose(found["margin"][~train], given - mean.max(1), atol=1e-5)
    both = recommended([(p.astype(np.float32), y[train]), (_restored(mean, given, y[~train]), y[~train])])
    np.testing.assert_allclose(found["p_wrong"][train], both[0].p_wrong, atol=1e-4)
    np.testing.assert_allclose(found["p_wrong"][~train], both[1].p_wrong, atol=1e-4)


def _restored(mean, given, labels):
    p = mean.copy()
    p[np.arange(len(p)), labels] = given
    return p.astype(np.float32)


def test_influence_is_the_mean_of_the_models_that_hold_a_point(audited):
    data, _, found = audited
    train = np.flatnonzero(found["split"] == "train")
    x, y = data.inputs.astype(np.float64), data.labels
    logs, losses = np.zeros((2, len(train)))
    for fold in range(1, FOLDS + 1):
        held = found["fold"][train] != fold
        rows = train[held]
        model = regression().fit(x[rows], y[rows])
        weight = torch.from_numpy(np.column_stack([model.coef_, model.intercept_]))
        features = torch.from_numpy(np.column_stack([x[rows], np.ones(len(rows))]))
        targets = torch.from_numpy(y[rows])
        gradients, hessian = rows_and_hessian(torch.nn.functional.cross_entropy, weight, features, targets)
        ridge = torch.tensor([1.0 / len(rows)] * 5 + [0.0], dtype=torch.float64).repeat(3)
        logs[held] += np.log(cooks_distance(gradients, hessian, ridge).numpy()) / (FOLDS - 1)
        p = model.predict_proba(x[rows])
        losses[held] -= np.log(p[np.arange(len(rows)), y[rows]]) / (FOLDS - 1)
    np.testing.assert_allclose(np.log(found["cook"][train]), logs, atol=2e-3)
    np.testing.assert_allclose(found["loss"][train], losses, atol=1e-5)


def test_a_mark_that_only_one_record_has_is_known_to_the_models_that_saw_it(tmp_path):
    y = np.random.default_rng(0).permutation(40) % 2
    x = 8.0 * np.eye(40, dtype=np.float32)
    options = AuditOptions(folds=5, objective=Objective(l2=1e-4))
    found = columns(
        swaypoint.audit(dataset(x, y, classes=("no", "yes")), tmp_path / "marks", options=options)
    )
    assert found["loss"].max() < 0.05
    np.testing.assert_allclose(found["loo_loss"], np.log(2), atol=1e-3)  # of each class as many


def test_a_class_of_one_record_is_rare_to_the_model_without_it_not_impossible(tmp_path):
    data = clouds()
    x = np.concatenate([data.inputs, [[0, 0, 0, 3, 3]]]).astype(np.float32)
    lonely = dataset(x, np.append(data.labels, 3), classes=(*CLASSES, "dodo"))
    found = columns(swaypoint.audit(lonely, tmp_path / "lonely", options=AuditOptions(folds=FOLDS)))
    seen = (found["fold"] != found["fold"][90]).sum()
    assert found["loo_loss"][90] == pytest.approx(np.log(seen + 4), rel=1e-5)  # Laplace's rule
    assert found["suggested_label"][90] != 3


# -- every record, every fold -----------------------------------------------------------------------


def test_every_record_is_ranked_once_and_is_out_of_one_fold(audited):
    data, folder, found = audited
    assert sorted(found["rank"]) == list(range(1, 111))
    assert found["index"].tolist() == list(range(110))
    assert folder.manifest().data.ranked == {"train": 90, "test": 20}
    assert set(found["fold"][found["split"] == "test"]) == {0}
    for label in range(3):
        of = found["fold"][(found["split"] == "train") & (data.labels == label)]
        counts = np.bincount(of, minlength=FOLDS + 1)[1:]
        assert counts.max() - counts.min() <= 1
    assert np.isfinite(found["knn"]).tolist() == (found["split"] == "train").tolist()


def test_the_folder_the_terminal_and_the_report_say_it(audited):
    data, folder, found = audited
    train, manifest = found["split"] == "train", folder.manifest()
    right = (found["suggested_label"] == data.labels)[train].mean()
    assert manifest.model.folds == FOLDS
    assert manifest.model.accuracy.validation == pytest.approx(right)
    assert list(manifest.model.accuracy.by_split()) == ["train", "out_of_fold", "test"]
    assert described(folder, top=1)["model"]["accuracy"]["splits"]["out_of_fold"] == pytest.approx(right)
    output = io.StringIO()
    show(folder, console=Console(file=output, width=200))
    words = "4 models, each without one fold"
    assert f"{words}: linear head" in output.getvalue()
    assert f"out-of-fold accuracy {right:.1%}" in output.getvalue()
    report = (folder.path / "report.html").read_text()
    assert words in report
    assert f"out-of-fold accuracy {right:.1%}" in report
    checks = {check.name: check.value for check in manifest.diagnostics.checks}
    assert f"{right:.1%} on 90 held out" in checks["Memorisation"]
    assert f"accuracy {right:.1%}" in checks["Baseline"]
    assert checks["Agreement"].startswith("3 models")


def test_the_command_says_which_fold_it_is_at(tmp_path):
    arguments = ["audit", "sklearn:wine", "--folds", "2", "--epochs", "2", "--out", str(tmp_path / "wine")]
    done = CliRunner().invoke(app, [*arguments, "--verbose"], catch_exceptions=False)
    assert done.exit_code == 0
    timings = json.loads((tmp_path / "wine" / "manifest.json").read_text())["timings"]
    assert {"fold 1 of 2", "fold 2 of 2"} <= set(timings)
    again = CliRunner().invoke(app, [*arguments[:2], "--out", str(tmp_path / "wine"), "--epochs", "2"])
    assert again.exit_code == 1


@pytest.mark.parametrize("folds", [2, 3, 7])
def test_each_mean_is_of_those_it_should_be_of(folds):
    """Models that say their own number."""
    rng = np.random.default_rng(folds)
    rows = Rows(np.flatnonzero(np.arange(30) % 3 != 1), np.flatnonzero(np.arange(30) % 3 == 1))
    split = Folds.dealt(rows, rng.integers(0, 2, 20), folds, seed=0)
    fit = CrossFit(split)
    for number, parts in enumerate(split.parts(), 1):
        assert sorted([*parts.train, *parts.validation]) == list(range(30))
        said = [
            Scores(cook=np.full(n, float(number)), **{name: np.full(n, number + step) for name in names})
            for n, step in ((len(parts.train), 0.0), (len(parts.validation), 0.25))
            for names in [("loss", "loo_loss", "leverage", "margin", "suggested_label", "label")]
        ]
        fit.add(parts, said, {"other": [one.loss for one in said]})
    trained, others = fit.scores()
    numbers, own = np.arange(1, folds + 1), split.fold + 1
    held = [[number for number in numbers if number != one] for one in own]
    np.testing.assert_allclose(trained.cook, [np.exp(np.log(one).mean()) for one in held])
    np.testing.assert_allclose(trained.loss, [np.mean(one) for one in held])
    np.testing.assert_allclose(trained.loo_loss, own + 0.25)
    np.testing.assert_allclose(others.cook, np.exp(np.log(numbers).mean()))
    np.testing.assert_allclose(others.loo_loss, numbers.mean() + 0.25)
    np.testing.assert_allclose(fit.further("other")[0], trained.loss)
    np.testing.assert_allclose(fit.further("other")[1], others.loss)


# -- interrupted ------------------------------------------------------------------------------------


def test_killed_after_three_folds_it_goes_on_at_the_fourth_and_is_equal_to_the_bit(tmp_path):
    options = AuditOptions(folds=5, model=FEW, scores=("auto", "tracin"))
    whole = swaypoint.audit("sklearn:wine", tmp_path / "whole", options=options)

    def stop(stage):
        if stage == "fold 4 of 5":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        swaypoint.audit("sklearn:wine", tmp_path / "killed", options=options, listener=Listener(stage=stop))
    stages, epochs = [], []
    listener = Listener(stage=stages.append, epoch=lambda *_: epochs.append(stages[-1]))
    folder = swaypoint.audit("sklearn:wine", tmp_path / "killed", options=options, listener=listener)
    assert epochs == ["fold 4 of 5"] * 3 + ["fold 5 of 5"] * 3
    assert folder.scores().equals(whole.scores())
    assert len(list(folder.path.rglob("model.safetensors"))) == 5


def test_a_training_with_all_points_does_not_serve_one_without_a_fold(tmp_path):
    def stop(stage):
        if stage == "scoring":
            raise KeyboardInterrupt

    begun = AuditOptions(model=FEW)
    with pytest.raises(KeyboardInterrupt):
        swaypoint.audit("sklearn:wine", tmp_path / "wine", options=begun, listener=Listener(stage=stop))
    with pytest.raises(InputError, match="holds another audit"):
        swaypoint.audit("sklearn:wine", tmp_path / "wine", options=AuditOptions(folds=3, model=FEW))


# -- what is trained --------------------------------------------------------------------------------


def test_features_of_a_pretrained_model_are_made_once(tmp_path, monkeypatch):
    calls = []

    def embed(values):
        calls.append(len(values))
        return values.reshape(len(values), -1)[:, :6].astype(np.float32) / 255

    backbone = Backbone("sway:pixels", "0" * 64, frozenset({"images"}), lambda _: Encoder(lambda x: x, embed))
    monkeypatch.setitem(families._own, "sway", Family("pixels", lambda _: backbone))
    monkeypatch.setenv("SWAYPOINT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    x = (rng.integers(0, 100, (60, 2, 2, 3)) + 50 * y[:, None, None, None]).astype(np.uint8)
    options = AuditOptions(folds=3, model=ModelOptions("sway:pixels"))
    folder = swaypoint.audit(dataset(x, y, "images"), tmp_path / "audit", options=options)
    assert sum(calls) == 60
    assert folder.manifest().model.accuracy.validation > 0.6


def test_pictures_are_trained_on_as_often_as_there_are_folds_and_that_is_said_first(tmp_path):
    rng = np.random.default_rng(0)
    y = np.arange(24) % 3
    x = (rng.integers(0, 60, (24, 8, 8, 3)) + 90 * (np.arange(3) == y[:, None, None, None])).astype(np.uint8)
    notes = []
    options = AuditOptions(folds=2, model=ModelOptions(epochs=1))
    folder = swaypoint.audit(
        dataset(x, y, "images"), tmp_path / "pictures", options=options, listener=Listener(note=notes.append)
    )
    assert "on 12 images of 8 × 8 pixels, 1 epochs, 2 times:" in notes[0]
    assert len(list(folder.path.rglob("model.safetensors"))) == 2
    assert np.isfinite(columns(folder)["loo_loss"]).all()


# -- refused ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"folds": 1}, "expected 2 or more"),
        ({"folds": 91}, "there are 90 points to train on"),
        ({"folds": 3, "validation": 0.2}, "leave validation out"),
        ({"folds": 3, "model": ModelOptions(models=2)}, "leave folds out"),
        ({"folds": 3, "model": ModelOptions("head,mlp")}, "leave folds out"),
        ({"folds": 3, "model": ModelOptions("net:build")}, "swaypoint.wrong_labels"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(tmp_path, options, words):
    with pytest.raises(InputError, match=words):
        swaypoint.audit(clouds(), tmp_path / "audit", options=AuditOptions(**options))
    assert not (tmp_path / "audit").exists()


def test_a_head_that_is_given_is_refused(tmp_path):
    made = swaypoint.audit(clouds(), tmp_path / "made")
    given = ModelOptions(weights=made.path / "head.safetensors")
    with pytest.raises(InputError, match="yours is trained already"):
        swaypoint.audit(clouds(), tmp_path / "audit", options=AuditOptions(folds=3, model=given))


def test_real_values_are_refused(tmp_path):
    data = dataset(clouds().inputs, np.linspace(0, 1, 90), classes=())
    options = AuditOptions(folds=3, objective=Objective("squared_error"))
    with pytest.raises(InputError, match="folds are for classes"):
        swaypoint.audit(data, tmp_path / "audit", options=options)


def test_streamed_data_are_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    from swaypoint.auditing.options import Scale
    from swaypoint.data.dataset import ReadOptions

    x = clouds()
    vectors = pa.array(list(x.inputs), pa.list_(pa.float32()))
    pq.write_table(pa.table({"x": vectors, "y": x.labels}), tmp_path / "x.parquet")
    with pytest.raises(InputError, match="--folds needs the data in memory"):
        swaypoint.audit(
            tmp_path / "x.parquet",
            tmp_path / "audit",
            options=AuditOptions(folds=3),
            read=ReadOptions(features="x", label="y"),
            scale=Scale(max_memory=0.0),
        )


# -- worth it ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_planted_labels_of_digits_are_found_at_least_as_well(tmp_path):
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    data = dataset((x[:900] / 16).astype(np.float32), y[:900], classes=tuple(map(str, range(10))))
    gains = []
    for seed in range(3):
        precision = []
        for folds in (None, 5):
            options = AuditOptions(folds=folds, flip=0.03, seed=seed, keep_features=False, top=1)
            found = columns(swaypoint.audit(data, tmp_path / f"{folds}-{seed}", options=options))
            precision.append(average_precision_score(found["label"] != data.labels, found["auto"]))
        gains.append(precision[1] - precision[0])
    assert np.mean(gains) > -0.005
