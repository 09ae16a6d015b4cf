"""The recommended score, and several models ranked together: in an audit, against their parts."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing import held
from swaypoint.auditing.ensemble import Ensemble
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import app
from swaypoint.data.planting import plant
from swaypoint.data.readers import read_dataset
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions, Objective, Rows, Training, prepare
from swaypoint.report.html import write_report
from swaypoint.scorers.recommended import averaged, geometric, recommended
from swaypoint.scoring.options import Solving

FEW = ModelOptions(epochs=6)


def audit(path, **options):
    return swaypoint.audit(
        "sklearn:wine", path, options=AuditOptions(**{"model": FEW, "flip": 0.05} | options)
    )


def columns(folder):
    table = folder.scores()
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def of_others(predictor):
    """The softmax of the points that a model was not trained on, (m, C)."""
    head = predictor.head.weights
    features = torch.cat([part for part, _ in predictor.validation]).double()
    return torch.softmax(features @ head.weight.double().T + head.bias.double(), 1).detach().numpy()


def one_scale(parts, found, *, by_heart=False, without=None):
    """Of the points trained on, and of the others."""
    seen = found["split"] == "train"
    given = (found["label"][seen], found["label"][~seen])
    return recommended(list(zip(parts, given, strict=True)), by_heart=by_heart, without=without)


def positions(score):
    order = np.argsort(-score, kind="stable")
    rank = np.empty(len(score), dtype=int)
    rank[order] = np.arange(1, len(score) + 1)
    return rank


@pytest.mark.parametrize("models", [1, 2])
def test_where_random_labels_are_learnt_by_heart_the_whole_training_is_the_score(
    tmp_path, models, monkeypatch
):
    from swaypoint.auditing import held

    monkeypatch.setattr(held, "second_view", lambda *_: None)  # the perceptron alone
    rng = np.random.default_rng(0)
    table = pa.table({f"x{i}": rng.normal(size=250) for i in range(20)})
    pq.write_table(table.append_column("label", pa.array(rng.integers(0, 2, 250))), tmp_path / "data.parquet")
    options = AuditOptions(scores=("auto",), model=ModelOptions(epochs=80, models=models))
    folder = swaypoint.audit(tmp_path / "data.parquet", tmp_path / "audit", options=options)
    checks = {check.name: check.verdict for check in folder.manifest().diagnostics.checks}
    assert checks["Memorisation"] == "unfit"
    courses = [*folder.path.rglob("course.safetensors")]
    assert len(courses) == models
    found, dataset, known = columns(folder), read_dataset(tmp_path / "data.parquet"), []
    seen = found["split"] == "train"
    labels = found["label"][seen]
    for file in courses:
        course = load_file(file)
        known.append(course["whole"].astype(np.float64))
        known[-1][np.arange(len(labels)), labels] = np.exp(-course["losses"].mean(1))
        known[-1] /= known[-1].sum(1, keepdims=True)
    own = np.mean(known, axis=0)[np.arange(len(labels)), labels]
    np.testing.assert_array_equal(found["auto"][seen].argsort(), (-own).argsort())  # odds are ordered
    # As large a share is expected among them as among those that the model has not seen.
    rows = Rows(found["index"][seen], found["index"][~seen])
    made = [
        prepare(dataset, rows, options.model, Objective(), training=Training(file.parent, seed, "cpu"))
        for seed, file in enumerate(sorted(courses, key=lambda file: len(file.parts)))
    ]
    parts = [np.mean(known, axis=0), np.mean([of_others(predictor) for predictor in made], axis=0)]
    of_seen, of_others_ = one_scale(parts, found, by_heart=True)
    np.testing.assert_array_equal(found["auto"][seen].argsort(), of_seen.score.argsort())
    np.testing.assert_allclose(found["auto"][~seen], of_others_.score, rtol=1e-3, atol=1e-3)
    # And as large a share of either stands first.
    first = found["rank"] <= 50
    assert abs(first[seen].mean() - first[~seen].mean()) < 0.03
    assert found["p_wrong"][seen].mean() == pytest.approx(found["p_wrong"][~seen].mean(), rel=0.02)


def test_several_models_are_averaged():
    rng = np.random.default_rng(0)
    cooks = rng.gamma(1.0, size=(3, 50))
    np.testing.assert_allclose(Ensemble(cooks).combined(), np.log(cooks).mean(0))


def test_models_that_disagree_are_reported():
    rng = np.random.default_rng(1)
    score = rng.gamma(1.0, size=1000)
    same = Ensemble([score, score * rng.uniform(0.99, 1.01, 1000)]).check()
    other = Ensemble([score, rng.permutation(score)]).check()
    assert same.verdict == "fit"
    assert other.verdict == "caution"
    assert "--models" in other.remedy


def test_score_auto_ranks(tmp_path):
    folder = audit(tmp_path / "auto", scores=("auto", "knn"))
    found, manifest = columns(folder), folder.manifest()
    np.testing.assert_array_equal(found["rank"], positions(found["auto"]))
    assert not np.array_equal(found["rank"], positions(found["cook"]))
    assert manifest.ranked_by == "auto"
    assert set(manifest.flipped.found[0]["hits"]) == {"auto", "cook", "loss", "random"}
    top = folder.examples()["index"].to_pylist()
    assert top == found["index"][np.argsort(found["rank"])][: len(top)].tolist()
    shown = CliRunner().invoke(app, ["show", str(folder.path)])
    assert "by the recommended score" in shown.output


def test_without_auto_the_ranking_is_the_papers(tmp_path):
    folder = audit(tmp_path / "plain")
    found = columns(folder)
    np.testing.assert_array_equal(found["rank"], positions(found["cook"]))
    assert folder.manifest().ranked_by == "cooks_distance"
    assert {"auto", "p_wrong", "likely"} <= found.keys()  # not what ranks, but there


@pytest.mark.slow
def test_several_models_rank_together(tmp_path):
    together = audit(tmp_path / "three", model=ModelOptions(epochs=6, models=3))
    found, alone = columns(together), columns(audit(tmp_path / "one"))
    np.testing.assert_allclose(found["cook"], alone["cook"])  # of the first model
    np.testing.assert_array_equal(found["rank"], positions(found["models"]))
    assert together.manifest().ranked_by == "models"
    checks = {check.name: check for check in together.manifest().diagnostics.checks}
    assert "3 models" in checks["Agreement"].value
    assert sorted(path.name for path in (together.path / "models").iterdir()) == ["2", "3"]
    page = write_report(AuditFolder(together.path), tmp_path / "report.html").read_text()
    assert "Agreement" in page
    assert "several models" in page


def test_the_recommended_score_of_several_models_is_of_their_mean_probabilities(tmp_path, monkeypatch):
    monkeypatch.setattr(held, "second_view", lambda *_: None)
    together = audit(tmp_path / "two", model=ModelOptions(epochs=6, models=2), scores=("auto",))
    found, dataset = columns(together), plant(read_dataset("sklearn:wine"), 0.05, 0)[0]
    seen = found["split"] == "train"
    rows, known, without, others = Rows(found["index"][seen], found["index"][~seen]), [], [], []
    for seed in (0, 1):
        (tmp_path / str(seed)).mkdir()
        training = Training(tmp_path / str(seed), seed, "cpu")
        predictor = prepare(dataset, rows, FEW, Objective(), training=training)
        trained = predictor.trained(predictor.head.weights, Solving())
        left_out = trained.influence.scores(probabilities=True)
        views = (left_out.probabilities, left_out.label.astype(int), trained.course)
        known.append(averaged(*views))
        without.append(geometric(*views))
        others.append(of_others(predictor))
    assert np.abs(known[0] - known[1]).max() > 0.01  # two models
    parts = [np.mean(known, axis=0), np.mean(others, axis=0)]
    scored = one_scale(parts, found, without=np.mean(without, axis=0))
    for mask, expected in zip((seen, ~seen), scored, strict=True):
        np.testing.assert_allclose(found["auto"][mask], expected.score, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(found["rank"], positions(found["auto"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": ModelOptions(models=0)}, "expected a positive number"),
        ({"model": ModelOptions("net:build", models=2)}, "leave model and params out"),
        ({"model": ModelOptions(models=2), "params": ("*",)}, "leave model and params out"),
    ],
)
def test_bad_numbers_of_models(tmp_path, options, message):
    with pytest.raises(swaypoint.InputError, match=message):
        audit(tmp_path / "bad", **options)


def test_a_damaged_manifest_in_the_way_is_said(tmp_path):
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "manifest.json").write_text('{"key": ')
    with pytest.raises(swaypoint.InputError, match="choose another --out"):
        audit(tmp_path / "audit")
