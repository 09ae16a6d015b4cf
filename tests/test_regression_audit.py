"""A regression audited, from the table to what is said of it."""

import io

import numpy as np
import pytest
import statsmodels.api as sm
from rich.console import Console
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from statsmodels.stats.outliers_influence import OLSInfluence

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset, fingerprint
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.report.terminal import show


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
    rows = scores["index"].to_numpy()
    fitted = sm.OLS(y[rows], sm.add_constant(x[rows].astype(np.float32).astype(float))).fit()
    oracle = OLSInfluence(fitted)
    # As near to its optimum as the audit's own fit of the head comes.
    np.testing.assert_allclose(scores["residual"], fitted.resid, atol=1e-3)
    np.testing.assert_allclose(scores["studentised"], oracle.resid_studentized_external, atol=1e-5)
    np.testing.assert_allclose(scores["leverage"], oracle.hat_matrix_diag, atol=1e-6)
    deleted = y[rows] - oracle.resid_press
    np.testing.assert_allclose(scores["suggested_label"], deleted, atol=1e-2)
    held = np.setdiff1d(np.arange(len(y)), rows)
    model = linear.manifest().model.regression
    assert model.train.r_squared == pytest.approx(fitted.rsquared, rel=1e-6)
    predicted = fitted.predict(sm.add_constant(x[held]))
    assert model.validation.r_squared == pytest.approx(r2_score(y[held], predicted), rel=1e-4)


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
    assert "validation R²" in text
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
