"""The public functions on real data, against statsmodels, scikit-learn and actual removal."""

from __future__ import annotations

import inspect
import subprocess
import sys
import weakref
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from torch import nn

import swaypoint
from oracles import cooks_distance as dense_cooks_distance
from oracles import rows_and_hessian
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.data import model_batches
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.model_batches import ModelBatches
from swaypoint.data.top import top_of
from swaypoint.folder.documents import machine_memory, require_memory
from swaypoint.scoring.options import Solving
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import CrossEntropy, SquaredError, as_loss


def standardized(load, rows=None):
    features, labels = load(return_X_y=True)
    features = features[:rows]
    spread = features.std(0)
    return (features - features.mean(0)) / np.where(spread > 0, spread, 1), labels[:rows]


# -- statisticians ----------------------------------------------------------------------------------


def test_least_squares_equals_statsmodels():
    features, targets = standardized(load_diabetes)
    n, p = len(features), features.shape[1] + 1
    fit = sm.OLS(targets, sm.add_constant(features)).fit()
    expected = fit.get_influence().cooks_distance[0]
    ranking = swaypoint.cooks_distance_from_features(
        features,
        targets,
        estimator=LinearRegression().fit(features, targets),
        removal="finite",
        dtype=torch.float64,
        progress=False,
    )
    np.testing.assert_allclose(ranking.values / (n * p * fit.mse_resid), expected, rtol=1e-8)
    np.testing.assert_allclose(ranking.leverage, fit.get_influence().hat_matrix_diag, rtol=1e-8)


@pytest.mark.parametrize("family", ["logistic", "poisson"])
def test_glm_equals_statsmodels(family):
    """GLMInfluence: D_i = (e_i / (1 - h_i))^2 h_i / p with Pearson residual e and GLM leverage h,
    which is the one-step deletion; ours is n times its numerator."""
    features = standardized(load_breast_cancer)[0][:, :5]
    # Drawn labels keep every probability away from 0 and 1, where statsmodels clips its weights.
    generator = np.random.default_rng(0)
    linear = 0.3 * features[:, 0] - 0.2 * features[:, 1]
    if family == "poisson":
        labels = generator.poisson(np.exp(linear + 0.5))
    else:
        labels = generator.binomial(1, 1 / (1 + np.exp(-linear)))
    model = sm.GLM(
        labels,
        sm.add_constant(features),
        family=sm.families.Binomial() if family == "logistic" else sm.families.Poisson(),
    ).fit(tol=1e-12, maxiter=200, tol_criterion="params")
    loss = as_loss("binary_cross_entropy" if family == "logistic" else "poisson")
    head = HeadWeights(torch.tensor(model.params[None, 1:]), torch.tensor(model.params[:1]), loss)
    ranking = swaypoint.cooks_distance(
        swaypoint.LinearHead(head), (features, labels), removal="finite", dtype=torch.float64, progress=False
    )
    expected = model.get_influence().cooks_distance[0]
    np.testing.assert_allclose(ranking.values / (len(labels) * 6), expected, rtol=1e-8)


# -- actual removal ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "load", [load_wine, load_breast_cancer, pytest.param(load_digits, marks=pytest.mark.slow)]
)
def test_predicts_leave_one_out_refits(load):
    features, labels = standardized(load)
    n, classes, l2 = len(labels), labels.max() + 1, 10.0 / len(labels)
    ranking = swaypoint.cooks_distance_from_features(
        features, labels, l2=l2, removal="finite", dtype=torch.float64, progress=False
    )
    zeros = torch.zeros(classes, features.shape[1], dtype=torch.float64)
    blank = HeadWeights(zeros, zeros[:, 0].clone(), CrossEntropy(), l2, penalize_bias=False)
    full = refit_head(blank, ArrayBatches(features, labels)).head
    _, hessian = rows_and_hessian(
        nn.functional.cross_entropy,
        full.matrix,
        torch.tensor(np.c_[features, np.ones(n)]),
        torch.tensor(labels),
    )
    penalty = full.penalty(0.0).repeat(classes)
    rows = np.sort(np.r_[ranking.order[:20], np.random.default_rng(0).choice(ranking.order[20:], 40, False)])
    change, loss = [], []
    for row in rows:
        kept = np.arange(n) != row
        # The objective is the sum of losses plus a fixed ridge: without a point, the mean's grows.
        start = HeadWeights(full.weight, full.bias, CrossEntropy(), l2 * n / (n - 1), penalize_bias=False)
        refit = refit_head(start, ArrayBatches(features[kept], labels[kept]))
        assert refit.converged, refit.outcome
        step = (refit.head.matrix - full.matrix).flatten()
        change.append(n * n * float(step @ (hessian + penalty.diag()) @ step))
        logits = refit.head.matrix @ torch.tensor(np.r_[features[row], 1.0])
        loss.append(float(nn.functional.cross_entropy(logits, torch.tensor(labels[row]))))
    assert spearmanr(ranking.values[rows], change).statistic >= 0.99
    assert spearmanr(ranking.loo_loss[rows], loss).statistic >= 0.99


# -- scikit-learn -----------------------------------------------------------------------------------


def test_own_fit_equals_scikit_learns():
    features, labels = standardized(load_digits)
    estimator = LogisticRegression(C=0.5, tol=1e-12, max_iter=10_000, solver="newton-cg").fit(
        features, labels
    )
    theirs = swaypoint.cooks_distance_from_features(features, labels, estimator=estimator, progress=False)
    ours = swaypoint.cooks_distance_from_features(features, labels, l2=2.0 / len(labels), progress=False)
    np.testing.assert_allclose(theirs.values, ours.values, rtol=1e-5)


def test_string_labels_of_a_binary_estimator():
    features, labels = standardized(load_breast_cancer)
    names = np.array(["malignant", "benign"])[labels]
    estimator = LogisticRegression(tol=1e-10, max_iter=10_000).fit(features, names)
    ranking = swaypoint.cooks_distance_from_features(features, names, estimator=estimator, progress=False)
    accuracy = (ranking.suggested_label == names).mean()
    assert 0.95 < accuracy < 1.0


@pytest.mark.parametrize("estimator", [Ridge(alpha=3.0), RidgeClassifier(alpha=3.0)])
def test_ridge_keeps_its_regularisation(estimator):
    features, labels = standardized(load_wine)
    estimator.fit(features, labels)
    ranking = swaypoint.cooks_distance_from_features(
        features, labels, estimator=estimator, dtype=torch.float64, progress=False
    )
    phi = np.c_[features, np.ones(len(labels))]
    targets = labels[:, None] if isinstance(estimator, Ridge) else 2.0 * np.eye(3)[labels] - 1.0
    coefficients = np.c_[np.atleast_2d(estimator.coef_), np.atleast_1d(estimator.intercept_)]
    residuals = phi @ coefficients.T - targets
    penalty = np.diag([3.0 / len(labels)] * features.shape[1] + [0.0])
    inverse = np.linalg.inv(phi.T @ phi / len(labels) + penalty)
    expected = (residuals**2).sum(1) * np.einsum("nd,de,ne->n", phi, inverse, phi)
    np.testing.assert_allclose(ranking.values, expected, rtol=1e-9)
    # the estimator is at its optimum only if the regularisation was read right
    assert ranking.diagnostics.checks[0].verdict == "fit"


# -- models -----------------------------------------------------------------------------------------


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(64, 12), nn.BatchNorm1d(12), nn.ReLU(), nn.Dropout(0.5), nn.Linear(12, 10))


@pytest.fixture
def digits():
    features, labels = load_digits(return_X_y=True)
    return (features / 16).astype(np.float32), labels


def expected_of(network, digits):
    network.eval()
    features = network[:-1](torch.tensor(digits[0])).detach()
    phi = torch.cat([features, torch.ones(len(features), 1)], 1)
    matrix = torch.cat([network[-1].weight, network[-1].bias[:, None]], 1).detach()
    rows = rows_and_hessian(nn.functional.cross_entropy, matrix, phi, torch.tensor(digits[1]))
    network.train()
    return dense_cooks_distance(*rows).numpy()


def test_a_model_in_training_mode_is_scored_in_eval_mode_and_left_alone(network, digits):
    expected = expected_of(network, digits)
    network[1].eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ranking = swaypoint.cooks_distance(network, digits, progress=False)
    np.testing.assert_allclose(ranking.values, expected, rtol=1e-4)
    assert [module.training for module in network] == [True, False, True, True, True]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("form", ["dataset", "shuffled loader", "dicts", "hugging face"])
def test_every_form_of_data_gives_the_same(network, digits, form):
    inputs, labels = torch.tensor(digits[0]), torch.tensor(digits[1])
    dataset = torch.utils.data.TensorDataset(inputs, labels)
    if form == "hugging face":
        datasets = pytest.importorskip("datasets", reason="needs Hugging Face's datasets")
        rows = datasets.Dataset.from_dict({"pixels": digits[0].tolist(), "label": digits[1].tolist()})
        data = rows.with_format("torch")
    else:
        data = {
            "dataset": dataset,
            "shuffled loader": torch.utils.data.DataLoader(dataset, 100, shuffle=True, drop_last=True),
            "dicts": [{"x": x, "labels": y} for x, y in zip(inputs, labels, strict=True)],
        }[form]
    ranking = swaypoint.cooks_distance(network, data, progress=False)
    expected = swaypoint.cooks_distance(network, digits, progress=False)
    np.testing.assert_allclose(ranking.values, expected.values, rtol=1e-6)


class Pooled(nn.Module):
    """A fully convolutional classifier: a 1 x 1 convolution, then an average over positions."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 6, 3)
        self.classifier = nn.Conv2d(6, 10, 1)

    def forward(self, x):
        return self.classifier(self.stem(x.view(-1, 1, 8, 8)).relu()).mean((2, 3))


def test_pooled_convolution_is_linear(digits):
    torch.manual_seed(0)
    model = Pooled()
    ranking = swaypoint.cooks_distance(model, digits, progress=False)
    features = model.stem(torch.tensor(digits[0]).view(-1, 1, 8, 8)).relu().mean((2, 3)).detach()
    head = HeadWeights(model.classifier.weight.flatten(1), model.classifier.bias, CrossEntropy())
    expected = swaypoint.cooks_distance(
        swaypoint.LinearHead(head), (features, digits[1]), dtype=torch.float64, progress=False
    )
    np.testing.assert_allclose(ranking.values, expected.values, rtol=1e-5)


def test_says_which_layer_and_takes_a_name(network):
    assert repr(swaypoint.LinearHead.from_module(network)).startswith("LinearHead(layer '4', 12 -> 10")
    with pytest.raises(swaypoint.InputError, match=r"no layer 'fc'; it has 0, 4"):
        swaypoint.LinearHead.from_module(network, layer="fc")
    with pytest.raises(swaypoint.InputError, match="BatchNorm1d; expected a Linear"):
        swaypoint.LinearHead.from_module(network, layer="1")


REFUSED = {
    "no linear layer": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), "no trainable linear layer"),
    "not the last": (nn.Sequential(nn.Linear(64, 10), nn.Tanh()), "not the output of its layer '0'"),
    "too few outputs": (nn.Linear(64, 3), "out of range for a head with 3 outputs"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refuses_with_the_reason(case, digits):
    model, words = REFUSED[case]
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.cooks_distance(model, digits, progress=False)


def bad(features=None, labels=None):
    x, y = np.ones((6, 2)), np.array([0, 1, 0, 1, 0, 1])
    return (x if features is None else features), (y if labels is None else labels)


WRONG = {
    "nan": (*bad(features=np.where(np.eye(6, 2) > 0, np.nan, 1.0)), "row 0 are NaN or infinite"),
    "one class": (*bad(labels=np.zeros(6, int)), "same class"),
    "lengths": (*bad(labels=np.zeros(5, int)), "6 rows of features but 5 labels"),
    "empty": (np.ones((0, 2)), np.ones(0), "empty"),
    "one dimension": (*bad(features=np.ones(6)), r"shape \(6,\); expected \(n, D\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_bad_input_is_named(case):
    features, labels, words = WRONG[case]
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.cooks_distance_from_features(features, labels, progress=False)


# -- influence of a point on another ----------------------------------------------------------------


def test_influence_is_eq_1_and_its_diagonal_cooks_distance(network, digits):
    network, digits = network.double(), (digits[0].astype(float), digits[1])
    train, test = (digits[0][:300], digits[1][:300]), (digits[0][:40], digits[1][:40])
    matrix = swaypoint.influence(network, train, test, damping=0.01)
    network.eval()
    head = swaypoint.LinearHead.from_module(network).weights
    phi = torch.cat([network[:-1](torch.tensor(train[0])), torch.ones(300, 1)], 1).detach()
    rows, hessian = rows_and_hessian(nn.functional.cross_entropy, head.matrix, phi, torch.tensor(train[1]))
    expected = rows[:40] @ torch.linalg.solve(hessian + 0.01 * torch.eye(130).double(), rows.T)
    np.testing.assert_allclose(matrix, expected, rtol=1e-8, atol=1e-9)
    ranking = swaypoint.cooks_distance(network, train, damping=0.01, dtype=torch.float64, progress=False)
    np.testing.assert_allclose(np.diag(matrix), ranking.values[:40], rtol=1e-8)
    top = swaypoint.influence(network, train, test, damping=0.01, top=5)
    np.testing.assert_array_equal(top.index, np.argsort(-np.abs(matrix), axis=1)[:, :5])
    np.testing.assert_array_equal(top.values, np.take_along_axis(matrix, top.index, 1))


# -- laws -------------------------------------------------------------------------------------------


def random_problem(seed, n=60, d=4, c=3):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(n, d, generator=generator)
    labels = torch.randint(0, c, (n,), generator=generator)
    weight = torch.randn(c, d, generator=generator).double()
    return features, labels, HeadWeights(weight, torch.zeros(c), CrossEntropy())


def values(head, features, labels, **options):
    return swaypoint.cooks_distance(
        swaypoint.LinearHead(head), (features, labels), dtype=torch.float64, progress=False, **options
    ).values


@given(seed=st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_laws(seed):
    features, labels, head = random_problem(seed)
    plain = values(head, features, labels)
    assert (plain >= 0).all()
    doubled = values(head, torch.cat([features, features]), torch.cat([labels, labels]))
    np.testing.assert_allclose(doubled, np.r_[plain, plain], rtol=1e-8)  # the mean Hessian is unchanged
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    np.testing.assert_allclose(values(head, features[order], labels[order]), plain[order], rtol=1e-8)
    classes = torch.tensor([2, 0, 1])
    renamed = HeadWeights(head.weight[classes], head.bias[classes], CrossEntropy())
    np.testing.assert_allclose(values(renamed, features, classes.argsort()[labels]), plain, rtol=1e-8)
    mixing = torch.randn(4, 4, generator=torch.Generator().manual_seed(seed)).double() + 3 * torch.eye(4)
    mixed = HeadWeights(head.weight.double() @ torch.linalg.inv(mixing), head.bias, CrossEntropy())
    np.testing.assert_allclose(values(mixed, features.double() @ mixing.T, labels), plain, rtol=1e-6)
    shares = [values(head, features, labels, damping=d).sum() for d in (0.0, 1e-9, 1e-2, 1.0)]
    np.testing.assert_allclose(shares[0], shares[1], rtol=1e-5)
    assert shares[1] > shares[2] > shares[3]


@given(seed=st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_two_classes_are_one_logit(seed):
    features, labels, head = random_problem(seed, c=2)
    single = HeadWeights(
        (head.weight[1] - head.weight[0])[None], torch.zeros(1), as_loss("binary_cross_entropy")
    )
    np.testing.assert_allclose(values(head, features, labels), values(single, features, labels), rtol=1e-8)


def test_separable_data_without_ridge_is_reported():
    features = np.r_[
        np.random.default_rng(0).normal(-5, 1, (30, 2)), np.random.default_rng(1).normal(5, 1, (30, 2))
    ]
    ranking = swaypoint.cooks_distance_from_features(features, np.repeat([0, 1], 30), l2=0.0, progress=False)
    assert ranking.diagnostics.verdict != "fit"


def test_refit_minimises_squared_error():
    features, targets = standardized(load_diabetes)
    blank = HeadWeights(torch.zeros(1, 10), torch.zeros(1), SquaredError(), penalize_bias=False)
    fitted = refit_head(blank, ArrayBatches(features, targets))
    expected = LinearRegression().fit(features, targets)
    np.testing.assert_allclose(fitted.head.weight[0], expected.coef_, rtol=1e-8)
    assert fitted.converged


def test_import_stays_light():
    heavy = ["torch", "numpy", "pandas", "lightning", "sklearn", "jinja2", "PIL", "datasets"]
    code = f"import sys, swaypoint; print([m for m in {heavy!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_sample_of_features_too_large_to_keep_holds_few_batches(monkeypatch):
    monkeypatch.setattr(model_batches, "_KEPT_BYTES", 0)
    alive, most = weakref.WeakSet(), 0

    class Watched(torch.Tensor):
        pass

    def pool(received, *_):
        nonlocal most
        features = received.as_subclass(Watched)
        alive.add(features)
        most = max(most, len(alive))
        return features

    layer = torch.nn.Linear(1, 1)
    x = torch.arange(1000.0).unsqueeze(1)
    batches = ModelBatches(
        layer, layer, (x, torch.zeros(1000)), pool=pool, check=lambda *_: None, batch_size=10
    )
    features, targets = batches.sample(100)
    assert features.flatten().tolist() == list(range(0, 1000, 8))
    assert len(targets) == len(features)
    assert most < 10  # of 100
    assert len(batches.sample(1000)[0]) == 1000


@pytest.mark.parametrize("sizes", [[1000], [7, 20, 900, 73], [450, 450, 100]])
def test_a_sample_of_large_batches_is_every_kth_point(sizes):
    layer, x = torch.nn.Linear(1, 1), torch.arange(1000.0).unsqueeze(1)
    loader = list(zip(x.split(sizes), torch.zeros(1000).split(sizes), strict=True))
    batches = ModelBatches(layer, layer, loader, pool=lambda received, *_: received, check=lambda *_: None)
    found = batches.sample(60)[0].flatten().tolist()
    assert 60 <= len(found) <= 120
    assert found == list(range(0, 1000, int(found[1])))


def test_a_fit_that_stops_short_is_said():
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 4, generator=generator)
    ranking = swaypoint.cooks_distance_from_features(
        features, (features[:, 0] > 0).long(), l2=0.0, progress=False
    )
    assert ranking.diagnostics.refit
    assert ranking.diagnostics.refit in str(ranking.diagnostics)


# -- what is asked ------------------------------------------------------------------------------------


BAD = {
    "removal": (Solving(removal="half"), "removal is 'half'; expected 'infinitesimal' or 'finite'"),
    "head's solver": (Solving(solver="cg"), "'cg'; the last layer takes 'auto', 'exact', 'sketch'"),
    "solver": (Solving(solver="newton", params="*"), "no solver 'newton'; expected auto, cg"),
    "both": (Solving(removal="finite", params="*"), "leave params out"),
    "refit": (Solving(refit=True, params="*"), "leave params out"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_asked_is_refused_before_the_work(case):
    solving, words = BAD[case]
    asked = {field.name: getattr(solving, field.name) for field in fields(Solving)}
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.cooks_distance(nn.Linear(2, 2), None, **asked)
    with pytest.raises(swaypoint.InputError, match=words):
        AuditOptions(**asked).check()


def test_the_public_functions_and_the_audit_take_the_same_options():
    signature = inspect.signature(swaypoint.cooks_distance).parameters
    of_an_audit = {field.name: field for field in fields(AuditOptions)}
    for field in fields(Solving):
        assert signature[field.name].default == field.default
        default = "auto" if field.name == "device" else field.default
        assert of_an_audit[field.name].default == default
    for name in ("damping", "params", "curvature", "solver"):
        of_a_model = inspect.signature(swaypoint.TrainedModel).parameters
        assert of_a_model[name].default == signature[name].default


def test_beside_params_the_last_layer_is_solved_its_own_way():
    asked = Solving(0.1, params="*", curvature="hessian", solver="cg")
    assert asked.of_the_head() == Solving(0.1, curvature="hessian")
    assert Solving(solver="sketch").of_the_head(fit=True) == Solving(solver="sketch", refit=True)
    assert Solving(refit="ridge").of_the_head().refit == "ridge"


# -- the first of a ranking -----------------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 4).flatmap(
        lambda rows: st.integers(1, 9).flatmap(
            lambda n: st.lists(
                st.lists(st.sampled_from([0.0, 1.0, 2.5, -1.0, np.inf]), min_size=n, max_size=n),
                min_size=rows,
                max_size=rows,
            )
        )
    ),
    st.integers(1, 12),
)
def test_the_top_is_that_of_a_stable_sort(rows, k):
    scores = np.array(rows)
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    np.testing.assert_array_equal(top_of(scores, k), expected)
    np.testing.assert_array_equal(top_of(scores[0], k), expected[0])


def test_nan_is_never_in_the_top():
    assert top_of(np.array([np.nan, 1.0, np.nan, -np.inf, 2.0]), 2).tolist() == [4, 1]


def test_the_top_influences_of_a_part_are_those_of_the_whole():
    generator = np.random.default_rng(0)
    features, labels = generator.normal(size=(70, 3)), generator.integers(0, 3, 70)
    train, test = (features, labels), (features[:5], labels[:5])
    model = nn.Linear(3, 3).double()
    options = {"l2": 0.1, "params": "*", "batch_size": 16}  # five parts
    matrix = swaypoint.influence(model, train, test, **options)
    top = swaypoint.influence(model, train, test, **options, top=6)
    np.testing.assert_array_equal(top.index, np.argsort(-np.abs(matrix), axis=1, kind="stable")[:, :6])
    np.testing.assert_array_equal(top.values, np.take_along_axis(matrix, top.index, 1))
    assert swaypoint.influence(model, train, test, **options, top=100).index.shape == (5, 70)
    with pytest.raises(swaypoint.InputError, match="top is 0"):
        swaypoint.influence(model, train, test, **options, top=0)


# -- the memory there is ----------------------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux's own count")
def test_the_memory_is_that_of_the_system():
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if "MemTotal" in line)
    assert machine_memory() == pytest.approx(1024 * int(total.split()[1]), rel=0.01)


@pytest.mark.parametrize("error", [AttributeError, ValueError, OSError])
def test_a_system_that_does_not_say_how_much_memory_it_has_refuses_nothing(error, monkeypatch):
    def sysconf(name):
        raise error(name)

    monkeypatch.setattr("os.sysconf", sysconf)
    assert machine_memory() == np.inf
    assert Scale().bytes == np.inf
    require_memory("data", 1 << 60, "rows")
    monkeypatch.setattr("os.sysconf", lambda name: -1)
    assert machine_memory() == np.inf
