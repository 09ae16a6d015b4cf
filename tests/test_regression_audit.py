"""A regression audited, from the table to what is said of it."""

import io
import json
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from rich.console import Console
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from statsmodels.stats.outliers_influence import OLSInfluence
from typer.testing import CliRunner

import swaypoint
from review_site import Site
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset, ReadOptions, fingerprint
from swaypoint.data.planting import noise, plant
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.report.html import render
from swaypoint.report.regression import contour
from swaypoint.report.terminal import show
from swaypoint.review.cleaning.compare import compare, trial
from swaypoint.review.cleaning.export import ExportOptions, export
from swaypoint.review.cleaning.labelstudio import read_annotations
from swaypoint.review.cleaning.records import label_name
from swaypoint.review.cleaning.simulated import replay
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision, Event, Review


def diabetes(changed=None, counts=False):
    """As features, of which a linear head is fitted."""
    x, y = load_diabetes(return_X_y=True)
    inputs, labels = x.astype(np.float32), y.copy()
    if changed is not None:
        labels[changed] = 2500.0
    columns = ("age", "sex", "bmi", "bp", "s1", "s2", "s3", "s4", "s5", "s6")
    return Dataset(
        name="diabetes", kind="features", inputs=inputs, labels=labels, classes=(), columns=columns,
        index=np.arange(len(y)), names=(), skipped=(), fingerprint=fingerprint(inputs, labels, ()),
    )  # fmt: skip


def audited(out, dataset=None, loss="squared_error", epochs=None, name="none", l2=0.0, **options):
    made = AuditOptions(model=ModelOptions(name, epochs=epochs), objective=Objective(loss, l2), **options)
    return swaypoint.audit(diabetes() if dataset is None else dataset, out, options=made)


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    return audited(tmp_path_factory.mktemp("regression") / "linear")


def test_the_columns_are_those_of_statsmodels(linear):
    scores = linear.scores().to_pandas()
    x, y = load_diabetes(return_X_y=True)
    held = scores[scores["split"] == "held_out"]
    scores = scores[scores["split"] == "train"]
    rows = scores["index"].to_numpy()
    fitted = sm.OLS(y[rows], sm.add_constant(x[rows].astype(np.float32).astype(float))).fit()
    oracle = OLSInfluence(fitted)
    # As near to its optimum as the audit's own fit of the head comes.
    np.testing.assert_allclose(scores["residual"], fitted.resid, atol=1e-3)
    np.testing.assert_allclose(scores["studentised"], oracle.resid_studentized_external, atol=1e-5)
    np.testing.assert_allclose(scores["leverage"], oracle.hat_matrix_diag, atol=1e-6)
    deleted = y[rows] - oracle.resid_press
    np.testing.assert_allclose(scores["suggested_label"], deleted, atol=1e-2)
    _check_held_out(held, fitted, x, y)
    held = held["index"].to_numpy()
    model = linear.manifest().model.regression
    assert model.train.r_squared == pytest.approx(fitted.rsquared, rel=1e-6)
    predicted = fitted.predict(sm.add_constant(x[held]))
    assert model.validation.r_squared == pytest.approx(r2_score(y[held], predicted), rel=1e-4)


def _check_held_out(scores, fitted, x, y):
    """Those are the errors of predictions."""
    rows = scores["index"].to_numpy()
    design = sm.add_constant(x[rows].astype(np.float32).astype(float), has_constant="add")
    predicted = fitted.get_prediction(design)
    errors = y[rows] - predicted.predicted_mean
    np.testing.assert_allclose(scores["residual"], errors, atol=1e-3)
    np.testing.assert_allclose(scores["studentised"], errors / predicted.se_obs, atol=1e-5)
    np.testing.assert_allclose(scores["suggested_error"], predicted.se_obs, rtol=1e-4)
    np.testing.assert_allclose(scores["suggested_label"], predicted.predicted_mean, atol=1e-2)


def test_a_target_far_off_is_an_outlier(tmp_path):
    row = 200
    scores = audited(tmp_path / "a", diabetes(row), validation=0.0).scores().to_pandas()
    first = scores.sort_values("rank").iloc[0]
    assert (first["index"], first["label"]) == (row, 2500.0)
    assert first["kind"] in ("outlier", "bad-leverage")
    assert first["studentised"] > 20


def test_what_is_shown_speaks_of_values(linear):
    output = io.StringIO()
    show(linear, top=3, console=Console(file=output, width=100))
    text = output.getvalue()
    assert "real values" in text
    assert "held-out R²" in text
    assert "0 classes" not in text
    assert "nan" not in text


@pytest.mark.parametrize("loss", ["huber", "poisson"])
def test_a_short_training_leaves_a_folder_that_can_be_read(tmp_path, loss):
    """Beyond Huber's delta no point has curvature; a Poisson head predicts the logarithm of a rate."""
    rows = diabetes()
    rows = Dataset(**{**vars(rows), "kind": "rows"})
    scores = audited(tmp_path / "a", rows, loss, epochs=1, l2=None).scores().to_pandas()
    assert np.isfinite(scores[["cook", "loo_loss", "suggested_label"]]).all(axis=None)
    assert 20 < scores["suggested_label"].median() < 400


def test_no_curvature_at_all_is_an_outcome(tmp_path):
    """Every point beyond delta of a head that predicts 0."""
    from safetensors.numpy import save_file

    save_file({"weight": np.zeros((1, 10)), "bias": np.zeros(1)}, tmp_path / "head.safetensors")
    made = AuditOptions(
        model=ModelOptions("head", weights=tmp_path / "head.safetensors"), objective=Objective("huber", 1e-3)
    )
    folder = swaypoint.audit(diabetes(), tmp_path / "a", options=made)
    assert np.isfinite(folder.scores()["cook"].to_numpy()).all()
    checks = folder.manifest().diagnostics
    assert checks.verdict == "unfit"
    assert "without curvature" in checks.outcome


def test_a_model_that_says_the_mean_is_no_better_than_the_mean(tmp_path):
    dataset = diabetes()
    noise = np.random.default_rng(0).permutation(dataset.labels)
    checks = audited(tmp_path / "a", Dataset(**{**vars(dataset), "labels": noise})).manifest().diagnostics
    check = next(check for check in checks.checks if check.name == "Baseline")
    assert check.verdict == checks.verdict == "unfit"
    assert check.value.startswith("no better than always saying 1")


@pytest.mark.slow
def test_a_model_of_many_numbers_taken_for_classes_is_useless(tmp_path):
    dataset = diabetes()
    names, labels = np.unique(dataset.labels, return_inverse=True)
    classes = tuple(f"{value:g}" for value in names)
    taken = Dataset(**{**vars(dataset), "labels": labels.astype(np.int64), "classes": classes})
    folder = audited(tmp_path / "a", taken, "cross_entropy", l2=None)
    checks = folder.manifest().diagnostics
    check = next(check for check in checks.checks if check.name == "Baseline")
    assert check.verdict in ("caution", "unfit")
    assert "better than always saying" in check.value


def test_a_linear_model_is_better_than_the_mean(linear):
    check = next(check for check in linear.manifest().diagnostics.checks if check.name == "Baseline")
    assert check.verdict == "fit"
    assert check.value.startswith("better than always saying")


# -- planted errors -----------------------------------------------------------------------------------


def test_gross_errors_are_ten_and_four_deviations_of_the_noise():
    dataset = diabetes()
    x, y = load_diabetes(return_X_y=True)
    spread = noise(dataset.inputs, dataset.labels)
    assert spread == pytest.approx(sm.OLS(y, sm.add_constant(x)).fit().mse_resid ** 0.5, rel=0.1)
    wrong, which = plant(dataset, 0.1, 3)
    moved = np.abs(wrong.labels - y)[which]
    assert which.sum() == 44
    np.testing.assert_allclose(np.sort(moved), np.repeat([4.0 * spread, 10.0 * spread], 22), rtol=1e-9)
    assert (wrong.labels >= 0).all()  # no value was negative
    np.testing.assert_array_equal(wrong.labels[~which], y[~which])
    assert wrong.fingerprint != dataset.fingerprint
    np.testing.assert_array_equal(plant(dataset, 0.1, 3)[0].labels, wrong.labels)


# -- what is written and served -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """diabetes.csv with planted errors, audited by a linear head on its columns."""
    root = tmp_path_factory.mktemp("diabetes")
    load_diabetes(as_frame=True).frame.to_csv(root / "diabetes.csv", index=False)
    options = AuditOptions(
        model=ModelOptions(epochs=3), objective=Objective("squared_error"), refit=True, flip=0.05
    )
    read = ReadOptions(label="target")
    return swaypoint.audit(root / "diabetes.csv", root / "audit", options=options, read=read)


def test_the_report_plots_residual_against_leverage(linear):
    page = render(linear)
    assert "Studentised residual against leverage" in page
    assert "D = " in page
    assert "held-out R²" in page
    assert "nan" not in page.split("<h1>")[1].split("Provenance")[0].lower().replace("dominant", "")
    assert "<option>bad-leverage</option>" in page


def test_contours_are_where_cooks_distance_is_the_level():
    x, y = load_diabetes(return_X_y=True)
    oracle = OLSInfluence(sm.OLS(y, sm.add_constant(x)).fit())
    for row in (3, 50, 141):
        level, h = oracle.cooks_distance[0][row], oracle.hat_matrix_diag[row]
        found = contour(level, np.array([h]), len(y), 11)[0]
        assert found == pytest.approx(abs(oracle.resid_studentized_external[row]), rel=1e-9)


def test_a_review_shows_values_and_an_interval(linear):
    items = Items(linear)
    scores = linear.scores().to_pandas()
    position = int(scores["rank"].where(scores["split"] == "train").argmin())
    low, high = items.interval(position)
    seen = scores["index"][scores["split"] == "train"].to_numpy()
    without = _without(seen, int(np.flatnonzero(seen == scores["index"][position])[0]))
    assert (low + high) / 2 == pytest.approx(without.mean, rel=1e-3)
    assert (high - low) / 2 == pytest.approx(1.96 * without.se_obs, rel=1e-3)
    supports, contradicts = items.influences(position)
    assert len(supports.positions)
    assert len(contradicts.positions)


def _without(rows, position):
    x, y = load_diabetes(return_X_y=True)
    rest = np.delete(rows, position)
    fitted = sm.OLS(y[rest], sm.add_constant(x[rest])).fit()
    found = fitted.get_prediction(np.r_[1.0, x[rows[position]]][None])
    return SimpleNamespace(mean=float(found.predicted_mean[0]), se_obs=float(found.se_obs[0]))


def test_influences_are_those_of_the_audit(linear):
    items = Items(linear)
    row = 11
    supports, contradicts = items.influences(row, k=len(items))
    found = np.zeros(len(items))
    for related in (supports, contradicts):
        found[related.positions] = related.values
    x, _ = load_diabetes(return_X_y=True)
    kept = x[linear.scores()["index"].to_numpy()].astype(np.float32).astype(float)
    table = sm.add_constant(kept)
    residual = -items.scores["residual"]
    seen = items.scores["split"] == "train"
    hessian = table[seen].T @ table[seen] / seen.sum()
    expected = residual * residual[row] * (table @ np.linalg.solve(hessian, table[row]))
    expected[row] = 0.0
    expected[~seen] = 0.0  # nothing was learned from them
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def _verdicts(items, wrong):
    decisions = [
        Event(str(uuid.uuid4()), items.run, item, "a", Decision("mislabeled", label), action=item, seq=seq)
        for seq, (item, label) in enumerate(wrong.items(), start=1)
    ]
    return Review(items.run, decisions)


def test_export_writes_the_number_that_was_given(table, tmp_path):
    items = Items(table)
    position = int(np.argmin(items.scores["rank"]))
    review = _verdicts(items, {items.ids[position]: "123.5"})
    out = tmp_path / "clean.csv"
    export(items, review, out, "csv", options=ExportOptions(policy="relabel"))
    row = int(items.scores["index"][position])
    written = pd.read_csv(out)
    assert written["target"][row] == 123.5
    assert written["new_label"][row] == 123.5
    assert len(written) == 442


def test_label_studio_takes_numbers(table, tmp_path):
    items = Items(table)
    out = tmp_path / "tasks.json"
    export(items, Review(items.run), out, "labelstudio")
    tasks = json.loads(out.read_text())
    first = tasks[0]["predictions"][0]["result"][0]
    assert first["type"] == "number"
    assert isinstance(first["value"]["number"], float)
    assert '<Number name="label"' in (tmp_path / "tasks.config.xml").read_text()
    given = float(tasks[1]["data"]["given_label"])
    for task, number in zip(tasks, (77.25, given), strict=False):
        answer = {"from_name": "label", "type": "number", "value": {"number": number}}
        task["annotations"] = [{"result": [answer], "completed_by": 1}]
    answered = tmp_path / "answered.json"
    answered.write_text(json.dumps(tasks[:2]))
    wrong, right = read_annotations(answered, items, None)
    assert wrong.decision == Decision("mislabeled", "77.25")
    assert right.decision == Decision("correct")


def test_a_simulated_reviewer_corrects_values_and_the_model_is_better(table):
    items = Items(table)
    found = read_source(items)
    assert found.planted
    truth = [label_name(items, label) for label in found.given[found.ranked]]
    events = replay(items, truth, len(items))
    wrong = sum(event.decision.verdict == "mislabeled" for event in events)
    assert wrong == table.manifest().flipped.planted
    made = trial(items, found)
    head = replace(made.shop, model=ModelOptions("mlp", epochs=2))
    made = replace(made, shop=head)
    numbered = (replace(event, seq=i) for i, event in enumerate(events, start=1))
    cleaned = made.cleaned(items, Review(items.run, numbered), "relabel")
    assert cleaned.labels[cleaned.rows] == pytest.approx(found.given[cleaned.rows])
    result = compare(made, cleaned, seeds=1)
    assert result.measure == "R²"
    assert "points of R²" in result.outcome
    spread = float(made.truth[made.measured].std())
    assert result.rmse[1] == pytest.approx(spread * (1 - result.overall.cleaned.mean) ** 0.5)
    assert result.relabeled == (found.given != found.dataset.labels)[found.train].sum()


def test_the_review_page_shows_and_takes_numbers(table, tmp_path):
    site = Site(Path(shutil.copytree(table.path, tmp_path / "audit")))
    page = site.page()
    shown = page.json("/item.json")
    position = site.items.position(shown["id"])
    assert shown["label"] == site.items.label(position)
    low, high = map(float, shown["interval"])
    assert low < float(shown["suggested"]) < high
    assert shown["choices"] == [{"key": "1", "label": shown["suggested"]}]
    assert any("standard deviations off" in reason["words"] for reason in shown["reasons"])
    for path in ("/item", "/gallery", "/map", "/map.bin", "/progress", "/classes"):
        answer = page.get(path)
        assert answer.status_code == 200, path
        assert "nan" not in answer.text.split("</header>")[-1] or path == "/map.bin"
    assert "in 95 of 100 cases" in page.get("/item").text
    assert page.decide(shown["id"], "mislabeled", label="12.5")["count"] == 1
    assert "error" in page.decide(shown["id"], "mislabeled", label="nan")
    kinds = page.get("/gallery?kind=outlier")
    assert kinds.status_code == 200
    site.store.close()


def test_gross_errors_in_a_table_of_twenty_thousand_rows(tmp_path):
    """1 % of the targets, half of them ten standard deviations of the residual off and half four."""
    generator, count = np.random.default_rng(0), 20_000
    x = generator.normal(size=(count, 10)).astype(np.float32)
    y = x @ generator.normal(size=10) + generator.normal(size=count)
    rows = generator.choice(count, count // 100, replace=False)
    sizes = np.where(np.arange(len(rows)) % 2 == 0, 10.0, 4.0)
    y[rows] += sizes * generator.choice([-1.0, 1.0], len(rows))
    table = replace(diabetes(), inputs=x, labels=y, columns=tuple("abcdefghij"), index=np.arange(count))
    made = audited(tmp_path / "a", table, validation=0.0, keep_features=False)
    scores = made.scores().to_pandas()
    # Asked for or not, the column by which wrong values are looked for is there.
    first = scores["auto"].rank(ascending=False).to_numpy() <= count // 50
    fitted = OLSInfluence(sm.OLS(y, sm.add_constant(x.astype(float))).fit())
    # The external ones, which refit for each point, are in the same order.
    by_residual = np.argsort(-np.abs(fitted.resid_studentized_internal))[: count // 50]
    four = rows[sizes == 4.0]
    assert first[rows[sizes == 10.0]].mean() >= 0.9
    assert first[four].mean() >= np.isin(four, by_residual).mean() > 0.8


def test_diabetes_end_to_end_by_the_command_line(tmp_path):
    source, folder = tmp_path / "diabetes.csv", tmp_path / "audit"
    load_diabetes(as_frame=True).frame.to_csv(source, index=False)

    def run(*words):
        result = CliRunner().invoke(app, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.output

    asked = ("--label", "target", "--loss", "squared_error", "--flip", "0.05", "--score", "auto")
    said = run("audit", source, *asked, "--epochs", "3", "--refit", "--out", folder)
    assert "gross errors" in said
    assert "R²" in run("show", folder)
    assert "wrong labels found" in run("simulate", folder, "--inspect", "0.1")
    clean = tmp_path / "clean.csv"
    run("export", folder, "--to", "csv", "--policy", "relabel", "--out", clean)
    corrected, truth = pd.read_csv(clean), pd.read_csv(source)
    changed = corrected["verdict"] == "mislabeled"
    assert changed.sum() > 5
    np.testing.assert_array_equal(corrected["target"][changed], truth["target"][changed])
    assert "RMSE" in run("compare", folder, "--policy", "relabel", "--seeds", "1")
