"""The whole flow: default and own models, interruption, reuse, planted errors, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression

import swaypoint
import swaypoint.folder.audit_folder
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.data.dataset import Dataset
from swaypoint.data.readers import read_dataset
from swaypoint.models.predictor import ModelOptions, Objective


class Stop(Exception):
    pass


def quick(**changes):
    return AuditOptions(**{"flip": 0.02, "model": ModelOptions(epochs=3), **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return swaypoint.audit("sklearn:digits", tmp_path_factory.mktemp("audit") / "digits", options=quick())


def command(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "swaypoint.cli", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "140"},
    )


def test_folder_is_complete(finished):
    scores, manifest = finished.scores().to_pandas(), finished.manifest()
    names = "index,split,label,cook,loss,loo_loss,margin,leverage,suggested_label,kind,rank"
    assert ",".join(scores.columns).startswith(names)
    assert (
        scores["split"].value_counts().to_dict() == manifest.data.ranked == {"train": 1438, "held_out": 359}
    )
    assert (manifest.data.train, manifest.data.validation) == (1438, 359)
    assert scores["index"].tolist() == list(range(1797))
    assert sorted(scores["rank"]) == list(range(1, 1798))
    assert (np.diff(scores.sort_values("rank")["cook"]) <= 0).all()
    examples = finished.examples().to_pandas()
    top = scores.sort_values("rank")["index"].to_numpy()[:200]
    np.testing.assert_array_equal(examples["index"], top)
    assert examples["picture"][0].startswith(b"\x89PNG")


def test_scores_are_those_of_the_saved_model(finished):
    """Recomputed from model.safetensors by dense autodiff."""
    from oracles import cooks_distance, rows_and_hessian
    from swaypoint.models.recipes import RESNET20, build

    scores = finished.scores().to_pandas()
    images = torch.from_numpy(read_dataset("sklearn:digits").inputs[scores["index"]])
    model = build(RESNET20, images, 10, seed=0)
    model.load_state_dict(load_file(finished.path / "model.safetensors"))
    model.eval()
    seen = []
    model.head.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        model(images.permute(0, 3, 1, 2).float() / 255)
    phi = torch.cat([seen[0], torch.ones(len(images), 1)], 1)
    matrix = torch.cat([model.head.weight, model.head.bias[:, None]], 1).detach()
    labels, seen = (
        torch.tensor(scores["label"].to_numpy()),
        torch.tensor(scores["split"].to_numpy() == "train"),
    )
    rows, _ = rows_and_hessian(torch.nn.functional.cross_entropy, matrix, phi, labels)
    _, hessian = rows_and_hessian(torch.nn.functional.cross_entropy, matrix, phi[seen], labels[seen])
    ridge = torch.tensor([RESNET20.decay] * 64 + [0.0], dtype=torch.float64).repeat(10)
    expected = cooks_distance(rows, hessian, ridge)
    np.testing.assert_allclose(scores["cook"], expected, rtol=2e-3)  # float32 features, other batches
    inverse = load_file(finished.path / "factor.safetensors")["inverse"]
    assert inverse.shape[1] >= 500


def test_found_counts_are_those_of_the_scores(finished):
    flipped = finished.manifest().flipped
    scores = finished.scores().to_pandas()
    generator = np.random.default_rng(0)
    planted = generator.choice(1797, 36, replace=False)
    hit = scores["index"].isin(planted)
    ranked = {split: (hit & (scores["split"] == split)).sum() for split in ("train", "held_out")}
    assert flipped.ranked == ranked
    assert (flipped.in_training, flipped.planted) == (ranked["train"], 36)
    first = scores["rank"] <= np.ceil(0.05 * len(scores))
    assert flipped.found[1]["hits"]["cook"] == (hit & first).sum()
    for split, hits in flipped.found[1]["by_split"].items():
        assert hits["cook"] == (hit & first & (scores["split"] == split)).sum()
    assert flipped.found[1]["cook"] > 0.5


def test_a_second_run_reuses_and_other_options_are_refused(finished):
    before = (finished.path / "scores.parquet").stat().st_mtime_ns
    stages = []
    again = swaypoint.audit(
        "sklearn:digits", finished.path, options=quick(), listener=Listener(stage=stages.append)
    )
    assert stages == ["reading"]
    assert (again.path / "scores.parquet").stat().st_mtime_ns == before
    with pytest.raises(swaypoint.InputError, match="holds another audit"):
        swaypoint.audit("sklearn:digits", finished.path, options=quick(seed=1))


def test_more_scores_or_another_top_need_no_training(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=3), top=20)
    first = swaypoint.audit("sklearn:wine", tmp_path / "a", options=options)
    key, weights = first.manifest().key, (first.path / "model.safetensors").stat().st_mtime_ns
    before = first.scores().to_pandas()
    for changes in ({"scores": ("tracin",)}, {"scores": ("knn",)}, {"top": 30}):
        epochs = []
        listener = Listener(epoch=lambda *_, epochs=epochs: epochs.append(1))
        options = replace(options, **changes)
        swaypoint.audit("sklearn:wine", first.path, options=options, listener=listener)
        assert not epochs
    after = first.scores().to_pandas()
    whole = swaypoint.audit(
        "sklearn:wine", tmp_path / "b", options=replace(options, scores=("tracin", "knn"))
    )
    expected = whole.scores().to_pandas()[["tracin", "knn"]]
    pd.testing.assert_frame_equal(after[["tracin", "knn"]], expected)
    pd.testing.assert_frame_equal(after[list(before.columns)], before)
    assert len(first.examples()) == 30
    assert (first.path / "model.safetensors").stat().st_mtime_ns == weights
    assert first.manifest().key == key  # to which the verdicts of a review belong


def test_a_failed_addition_leaves_the_finished_audit(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=2), top=5)
    folder = swaypoint.audit("sklearn:wine", tmp_path / "a", options=options)

    def stop(name):
        if name == "scoring":
            raise Stop

    with pytest.raises(Stop):
        swaypoint.audit(
            "sklearn:wine", folder.path, options=replace(options, top=6), listener=Listener(stage=stop)
        )
    assert len(folder.scores()) == 178
    assert len(folder.examples()) == 5


def table(path, city, rows=30):
    lines = [f"{i % 7},{city if i % 3 else 'Oslo'},{'yes' if i % 7 > 3 else 'no'}" for i in range(rows)]
    path.write_text("\n".join(["size,city,label", *lines]))
    return path


def test_one_category_renamed_is_other_data(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=1), top=5)
    swaypoint.audit(table(tmp_path / "t.csv", "Paris"), tmp_path / "a", options=options)
    renamed = table(tmp_path / "t.csv", "Rome")
    with pytest.raises(swaypoint.InputError, match=r"another audit \(of .*t.csv as it was before.*--force"):
        swaypoint.audit(renamed, tmp_path / "a", options=options)
    (tmp_path / "a" / "review.sqlite").write_text("verdicts")
    again = swaypoint.audit(renamed, tmp_path / "a", options=options, force=True)
    assert "Rome" in {json.loads(row)["city"] for row in again.examples()["row"].to_pylist()}
    assert (tmp_path / "a" / "review.sqlite").read_text() == "verdicts"


def test_the_same_content_in_another_file_is_another_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "t.csv", "Paris")
    pq.write_table(pyarrow.csv.read_csv("t.csv"), "t.parquet")
    assert read_dataset("t.csv").fingerprint == read_dataset("t.parquet").fingerprint
    options = AuditOptions(model=ModelOptions(epochs=1), top=5)
    swaypoint.audit("t.csv", options=options)
    with pytest.raises(swaypoint.InputError, match=r"of .*t.csv, not of .*t.parquet"):
        swaypoint.audit("t.parquet", options=options)
    (tmp_path / "t.csv").rename(tmp_path / "moved.csv")
    stages = []
    swaypoint.audit("moved.csv", "t-audit", options=options, listener=Listener(stage=stages.append))
    assert stages == ["reading"]


def test_the_message_names_the_options_that_differ(tmp_path):
    options = AuditOptions(model=ModelOptions(epochs=1), top=5)
    swaypoint.audit("sklearn:wine", tmp_path / "a", options=options)
    other = replace(options, seed=1, model=ModelOptions(epochs=2))
    with pytest.raises(
        swaypoint.InputError, match=r"\(--epochs was 1, is 2; --seed was 0, is 1\); choose another --out or"
    ):
        swaypoint.audit("sklearn:wine", tmp_path / "a", options=other)


def test_a_failed_run_locks_nothing(wine, tmp_path):
    # Before anything is of worth: no folder.
    for model in ("nowhere:build", "mynet:no_model"):
        with pytest.raises(swaypoint.InputError):
            swaypoint.audit("wine.npz", tmp_path / "a", options=AuditOptions(model=ModelOptions(model)))
        assert not (tmp_path / "a").exists()

    # After a training: the next command may take the folder, and the training where it is the same.
    def stop(name):
        if name == "scoring":
            raise Stop

    options = AuditOptions(model=ModelOptions("mlp", epochs=2), top=5)
    with pytest.raises(Stop):
        swaypoint.audit("sklearn:wine", tmp_path / "a", options=options, listener=Listener(stage=stop))
    epochs = []
    listener = Listener(epoch=lambda *_: epochs.append(1))
    swaypoint.audit("sklearn:wine", tmp_path / "a", options=replace(options, damping=0.1), listener=listener)
    assert epochs == []
    with pytest.raises(Stop):
        swaypoint.audit("sklearn:wine", tmp_path / "b", options=options, listener=Listener(stage=stop))
    swaypoint.audit("sklearn:wine", tmp_path / "b", options=replace(options, seed=1), listener=listener)
    assert epochs == [1, 1]


def test_an_interrupted_run_keeps_its_claim(tmp_path):
    def stop(*_):
        raise KeyboardInterrupt

    options = AuditOptions(model=ModelOptions(epochs=2), top=5)
    with pytest.raises(KeyboardInterrupt):
        swaypoint.audit("sklearn:wine", tmp_path / "a", options=options, listener=Listener(epoch=stop))
    with pytest.raises(swaypoint.InputError, match="resume it by the command that began it"):
        swaypoint.audit("sklearn:wine", tmp_path / "a", options=replace(options, seed=1))
    epochs = []
    listener = Listener(epoch=lambda epoch, *_: epochs.append(epoch))
    swaypoint.audit("sklearn:wine", tmp_path / "a", options=options, listener=listener)
    assert epochs == [2]


def test_an_interrupted_training_says_so_and_resumes_to_the_same_scores(finished, tmp_path):
    def stop(epoch, epochs, loss, validation):
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        swaypoint.audit("sklearn:digits", tmp_path / "a", options=quick(), listener=Listener(epoch=stop))
    with pytest.raises(swaypoint.InputError, match="interrupted during 'training'"):
        swaypoint.folder.audit_folder.AuditFolder(tmp_path / "a").manifest()
    assert not (tmp_path / "a" / "scores.parquet").exists()
    epochs = []
    resumed = swaypoint.audit(
        "sklearn:digits",
        tmp_path / "a",
        options=quick(),
        listener=Listener(epoch=lambda epoch, *_: epochs.append(epoch)),
    )
    assert epochs[0] > 1
    ours, theirs = resumed.scores().to_pandas(), finished.scores().to_pandas()
    np.testing.assert_allclose(ours["cook"], theirs["cook"], rtol=1e-3)


def test_a_full_disk_during_training_is_one_line_and_leaves_nothing_half_written(disk_of):
    small_disk = disk_of("4m")  # the checkpoint of two megabytes fits once, not twice
    with pytest.raises(swaypoint.InputError, match=r"no space left on .* writing last\.ckpt"):
        swaypoint.audit("sklearn:digits", small_disk / "a", options=quick())
    assert sorted(file.name for file in (small_disk / "a").iterdir()) == ["last.ckpt", "manifest.json"]
    torch.load(small_disk / "a" / "last.ckpt", weights_only=True)  # whole


def test_a_table_by_the_default_perceptron(tmp_path):
    folder = swaypoint.audit("sklearn:wine", tmp_path / "wine", options=AuditOptions())
    manifest = folder.manifest()
    assert manifest.model.name == "MLP"
    assert manifest.model.accuracy.validation > 0.9
    row = json.loads(folder.examples().to_pandas()["row"][0])
    assert "proline" in row


FACTORY = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(13, 6), nn.ReLU(), nn.Linear(6, 3))

def scaled(row):
    return torch.from_numpy(row) / 100

def no_model():
    return 3
"""


@pytest.fixture
def wine(tmp_path, monkeypatch):
    from sklearn.datasets import load_wine

    features, labels = load_wine(return_X_y=True)
    np.savez(tmp_path / "wine.npz", features=features, labels=labels)
    (tmp_path / "mynet.py").write_text(FACTORY)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    return features, labels


def test_own_model_with_weights_and_transform(wine, tmp_path):
    features, labels = wine
    import importlib.util

    spec = importlib.util.spec_from_file_location("net", tmp_path / "mynet.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.build()
    with torch.no_grad():
        model[3].weight.mul_(0.5)
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    torch.save(model.state_dict(), tmp_path / "net.pt")
    expected = swaypoint.cooks_distance(model, (features / 100, labels), progress=False)
    for weights in ("net.safetensors", "net.pt"):
        options = AuditOptions(
            model=ModelOptions("mynet:build", tmp_path / weights, "mynet:scaled"), validation=0.0
        )
        folder = swaypoint.audit("wine.npz", tmp_path / f"audit-{weights}", options=options)
        np.testing.assert_allclose(folder.scores().to_pandas()["cook"], expected.values, rtol=1e-3)


def test_features_need_no_model(wine, tmp_path):
    features, labels = wine
    folder = swaypoint.audit("wine.npz", tmp_path / "a", options=AuditOptions(validation=0.0))
    expected = swaypoint.cooks_distance_from_features(features.astype(np.float32), labels, progress=False)
    np.testing.assert_allclose(folder.scores().to_pandas()["cook"], expected.values, rtol=1e-4)
    assert folder.manifest().diagnostics.checks[0].verdict == "fit"


def test_two_classes_may_have_one_output(wine, tmp_path):
    features, labels = wine
    np.savez(tmp_path / "two.npz", features=features / features.std(0), labels=labels % 2)
    objective = Objective("binary_cross_entropy", 0.01)
    options = AuditOptions(objective=objective, validation=0.0)
    folder = swaypoint.audit("two.npz", tmp_path / "a", options=options)
    assert folder.manifest().model.outputs == 1
    fitted = LogisticRegression(C=1 / (0.01 * len(labels)), tol=1e-8, max_iter=10_000)
    fitted.fit(features / features.std(0), labels % 2)
    expected = swaypoint.cooks_distance_from_features(
        features / features.std(0), labels % 2, estimator=fitted, progress=False
    )
    np.testing.assert_allclose(folder.scores().to_pandas()["cook"], expected.values, rtol=1e-3)
    mlp = AuditOptions(model=ModelOptions("mlp"), objective=objective)
    with pytest.raises(swaypoint.InputError, match="MLP has an output for each class"):
        swaypoint.audit("sklearn:breast_cancer", tmp_path / "b", options=mlp)


BAD_MODELS = {
    "no such module": (("nowhere:build",), "cannot import 'nowhere:build'"),
    "not a module": (("mynet:no_model",), "gave a int; expected a torch.nn.Module"),
    "no weights": (("mynet:build", "absent.pt"), "weights file absent.pt does not exist"),
    "pickle": (("mynet:build", "evil.pt"), "evil.pt: not weights that can be read"),
    "other weights": (("mynet:build", "other.safetensors"), "other.safetensors: not weights of this model"),
    "unknown": (("alexnet",), "unknown model 'alexnet'"),
    "wrong kind": (("resnet20",), "does not take features"),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models_are_named(case, wine, tmp_path):
    arguments, words = BAD_MODELS[case]
    torch.save({"weight": os.system}, "evil.pt")
    save_file({"weight": torch.zeros(2)}, "other.safetensors")
    name, *weights = arguments
    options = AuditOptions(model=ModelOptions(name, *[swaypoint.auditing.audit.Path(w) for w in weights]))
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.audit("wine.npz", tmp_path / "a", options=options)
    assert not (tmp_path / "a" / "scores.parquet").exists()


BAD_OPTIONS = {
    "validation": (AuditOptions(validation=1.0), "validation is 1.0"),
    "flip": (AuditOptions(flip=-0.1), "flip is -0.1"),
    "top": (AuditOptions(top=0), "top is 0"),
    "loss": (
        AuditOptions(objective=Objective("hinge")),
        "there is no loss 'hinge'; expected binary_cross_entropy, cross_entropy",
    ),
    "damping": (AuditOptions(damping=-1.0), "damping is -1.0"),
    "removal": (AuditOptions(removal="half"), "removal is 'half'"),
    "solver": (AuditOptions(solver="exakt"), "solver is 'exakt'"),
    "solver of the last layer": (AuditOptions(solver="cg"), "the last layer takes"),
    "curvature": (AuditOptions(curvature="ggm"), "curvature is 'ggm'"),
    "epochs": (AuditOptions(model=ModelOptions(epochs=0)), "epochs is 0"),
    "l2": (AuditOptions(objective=Objective(l2=-1.0)), "l2 is -1.0"),
    "unknown loss": (AuditOptions(objective=Objective("mse")), "there is no loss 'mse'.*squared_error"),
    "score of classes": (
        AuditOptions(objective=Objective("squared_error"), scores=("logit_margin",)),
        "score 'logit_margin' needs classes",
    ),
    "score of a training": (
        AuditOptions(objective=Objective("squared_error"), scores=("forgetting",)),
        "score 'forgetting' needs classes",
    ),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options_are_named(case, tmp_path):
    options, words = BAD_OPTIONS[case]
    stages = []
    data = table_of_counts(tmp_path)
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.audit(data, tmp_path / "a", options=options, listener=Listener(stage=stages.append))
    assert "training" not in stages
    assert not (tmp_path / "a").exists()


def table_of_counts(folder):
    (folder / "counts.csv").write_text("a,label\n" + "\n".join(f"{i * 0.37 % 1},{i % 3}" for i in range(30)))
    return folder / "counts.csv"


def in_memory(labels, classes):
    inputs = np.arange(20.0, dtype=np.float32)[:, None]
    return Dataset("given", "rows", inputs, labels, classes, ("a",), np.arange(20), (), (), "0" * 64)


@pytest.mark.parametrize(
    ("labels", "classes", "loss", "words"),
    [
        (np.arange(20) % 2, ("a", "b"), "squared_error", "2 classes, and squared_error is a loss of real"),
        (np.arange(20) / 7, (), "cross_entropy", "real values, and cross_entropy is a loss of classes"),
    ],
)
def test_a_loss_that_does_not_fit_the_labels_is_refused_before_training(
    labels, classes, loss, words, tmp_path
):
    options, stages = AuditOptions(objective=Objective(loss)), []
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.audit(
            in_memory(labels, classes),
            tmp_path / "a",
            options=options,
            listener=Listener(stage=stages.append),
        )
    assert stages == ["reading"]


def test_command_line(tmp_path):
    done = command("audit", "sklearn:wine", "--out", "a", "--epochs", 2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a" / "report.html").stat().st_size > 10_000
    assert "MLP" in done.stdout
    shown = command("show", "a", "--top", 3, cwd=tmp_path)
    first = pq.read_table(tmp_path / "a" / "scores.parquet").to_pandas().sort_values("rank")["index"].iloc[0]
    assert shown.returncode == 0
    assert str(first) in shown.stdout
    assert command("--version", cwd=tmp_path).stdout == f"swaypoint {swaypoint.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("audit", "absent.csv"), "absent.csv"),
        (("audit", "sklearn:nothing"), "unknown dataset 'sklearn:nothing'"),
        (("show", "nowhere"), "nowhere is not an audit folder"),
        (("report", "nowhere"), "nowhere is not an audit folder"),
    ],
)
def test_errors_are_one_line_and_a_code(arguments, words, tmp_path):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_any_parameters_and_other_scores(tmp_path):
    features = np.random.default_rng(0).normal(size=(200, 4))
    rows = [f"{','.join(map(str, row))},{'yes' if row[0] > 0 else 'no'}" for row in features]
    (tmp_path / "table.csv").write_text("\n".join(["a,b,c,d,outcome", *rows]))
    arguments = ("audit", "table.csv", "--label", "outcome", "--epochs", 2)
    scores = "tracin,knn,loss"
    run = command(*arguments, "--params", "hidden.0.*", "--score", scores, "--out", "all", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    folder = swaypoint.folder.audit_folder.AuditFolder(tmp_path / "all")
    table, manifest = folder.scores().to_pandas(), folder.manifest()
    assert {"tracin", "knn", "loss", "cook"} <= set(table.columns)
    assert len(table) == 200
    # Of points that the model was not trained on they say nothing.
    seen = table["split"] == "train"
    for name in ("tracin", "knn"):
        assert np.isfinite(table[name]).tolist() == seen.tolist()
    np.testing.assert_allclose(table["loss"][~seen], table["loo_loss"][~seen])
    assert "parameters of" in manifest.diagnostics.solver
    assert manifest.model.params == ("hidden.0.*",)
    # By the first layer it is not the last layer's ranking.
    run = command(*arguments, "--out", "last", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    last = swaypoint.folder.audit_folder.AuditFolder(tmp_path / "last").scores().to_pandas()
    assert not np.allclose(last["cook"], table["cook"], rtol=0.01)


def test_other_scores_of_a_refitted_head(tmp_path):
    options = quick(scores=("tracin", "confidence"), refit=True, top=5)
    folder = swaypoint.audit("sklearn:digits", tmp_path / "digits", options=options)
    table = folder.scores().to_pandas()
    # -log p is the loss of the refitted head, not of the trained one.
    np.testing.assert_allclose(-np.log1p(-table["confidence"]), table["loss"], rtol=1e-4, atol=1e-6)


def test_an_unknown_score_lists_those_there_are(tmp_path):
    with pytest.raises(swaypoint.InputError, match=r"no score 'luck'; expected .*cooks_distance.*tracin"):
        swaypoint.audit("sklearn:digits", tmp_path / "digits", options=quick(scores=("luck",)))


def test_the_margin_of_the_logits_is_a_column_of_its_own(tmp_path):
    """Beside the margin of the left-out probabilities: its sign is the opposite where that is clear, but for
    where trees contradict the network."""
    options = AuditOptions(scores=("logit_margin",))
    folder = swaypoint.audit("sklearn:wine", tmp_path / "wine", options=options)
    scores = folder.scores().to_pandas()
    clear = scores["margin"].abs() > 0.5
    assert (np.sign(scores["margin"]) == -np.sign(scores["logit_margin"]))[clear].mean() > 0.95
    assert (scores["logit_margin"] < -1).any()
