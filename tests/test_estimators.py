"""scikit-learn's estimators as people use them, against dense float64 algebra, refits and statsmodels."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import statsmodels.api as sm
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from sklearn.ensemble import (
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import (
    BayesianRidge,
    ElasticNet,
    Lasso,
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    RidgeClassifierCV,
    RidgeCV,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, TunedThresholdClassifierCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.svm import SVC, LinearSVC
from sklearn.tree import DecisionTreeClassifier

import swaypoint
from oracles import cooks_distance as dense_cooks_distance
from oracles import rows_and_hessian
from swaypoint.models.estimators import fitted_estimator

EXACT = {"tol": 1e-10, "max_iter": 20_000}


def scaled(load, rows=None):
    x, y = load(return_X_y=True)
    return StandardScaler().fit_transform(x[:: rows or 1]), y[:: rows or 1]


WINE, CANCER, DIABETES = scaled(load_wine), scaled(load_breast_cancer, 3), scaled(load_diabetes, 2)
SMALL = CANCER[0][:, :6], CANCER[1]
NAMES = CANCER[0][:, :6], np.array(["malignant", "benign"])[CANCER[1]]
COUNTS = DIABETES[0], np.random.default_rng(0).poisson(np.exp(0.3 * DIABETES[0][:, 2] + 0.5))
WEIGHTS = np.random.default_rng(1).choice([0.0, 0.5, 1.0, 2.0, 3.0], 1000)
MIXED = pd.DataFrame(WINE[0][:, :4], columns=["a", "b", "c", "d"]).assign(
    kind=np.random.default_rng(0).choice(["x", "y", "z"], len(WINE[0]))
)
TEXTS = [
    f"{w} {v}" for w, v in zip(["cat", "dog", "emu", "cat dog"] * 15, ["runs", "sits"] * 30, strict=True)
]


def softmax(z, y):
    return F.cross_entropy(z, y)


def logistic(z, y):
    return F.binary_cross_entropy_with_logits(z, y, reduction="sum")


def squares(z, y):
    return 0.5 * (z - y).square().sum()


def poisson(z, y):
    return (z.exp() - y * z).sum()


def as_are(y, _):
    return np.reshape(y, (len(y), -1)).astype(float)


def index(y, classes):
    return np.searchsorted(classes, y)


def zero_one(y, classes):
    found = index(y, classes)
    return np.eye(len(classes))[found] if len(classes) > 2 else found[:, None].astype(float)


def signs(y, classes):
    return 2 * zero_one(y, classes) - 1


@dataclass(frozen=True)
class Case:
    """An estimator, and what its documentation says that it minimises, written down by hand.

    ``ridge(fitted, n, w)`` is that of (1/n) sum_i w_i l_i + (ridge / 2) ||W||^2; ``last`` finds what has the
    coefficients, ``phi`` what these are multiplied with.
    """

    estimator: Any
    data: tuple[Any, Any]
    loss: Any
    ridge: Any
    targets: Any = as_are
    weights: bool = False
    class_weight: Any = None
    last: Any = lambda e: e
    phi: Any = lambda e, x: x
    penalized: float = 0.0
    weights_name: str = "sample_weight"
    slope: float = 1e-5


def by_c(e, n, w):
    return 1 / (e.C * n)


def by_alpha(e, n, w):
    return e.alpha / n


def none(e, n, w):
    return 0.0


def final(e):
    return e[-1]


def before(e, x):
    return e[:-1].transform(x)


def of_a_perceptron(e):
    return SimpleNamespace(
        coef_=e.coefs_[-1].T,
        intercept_=e.intercepts_[-1],
        fit_intercept=True,
        alpha=e.alpha,
        classes_=getattr(e, "classes_", None),
    )


def hidden(e, x):
    for weight, bias in zip(e.coefs_[:-1], e.intercepts_[:-1], strict=True):
        x = torch.tensor(np.asarray(x) @ weight + bias)
        x = {"tanh": torch.tanh, "relu": torch.relu, "logistic": torch.sigmoid}[e.activation](x).numpy()
    return x


PERCEPTRON = {"solver": "lbfgs", "alpha": 1.0, "max_iter": 20_000, "max_fun": 50_000, "tol": 1e-14}
LOGISTIC = LogisticRegression(C=0.7, **EXACT)
CASES = {
    "logistic": Case(LOGISTIC, WINE, softmax, by_c, index),
    "logistic, weights": Case(LOGISTIC, WINE, softmax, by_c, index, weights=True),
    "logistic, two classes of text, weights": Case(LOGISTIC, NAMES, logistic, by_c, zero_one, weights=True),
    "logistic, no penalty": Case(LogisticRegression(C=np.inf, **EXACT), SMALL, logistic, none, zero_one),
    "logistic, no intercept": Case(
        LogisticRegression(fit_intercept=False, **EXACT), SMALL, logistic, by_c, zero_one
    ),
    "logistic, balanced": Case(
        LogisticRegression(class_weight="balanced", **EXACT),
        SMALL,
        logistic,
        by_c,
        zero_one,
        class_weight=lambda y: len(y) / (2 * np.bincount(y)),
    ),
    "logistic, class weights and weights": Case(
        LogisticRegression(class_weight={0: 2.0, 2: 0.5}, **EXACT),
        WINE,
        softmax,
        by_c,
        index,
        weights=True,
        class_weight=lambda y: np.array([2.0, 1.0, 0.5]),
    ),
    "liblinear": Case(
        LogisticRegression(solver="liblinear", tol=1e-10), SMALL, logistic, by_c, zero_one, penalized=1.0
    ),
    "chosen by cross-validation": Case(
        LogisticRegressionCV(Cs=[0.1, 1.0], cv=3, l1_ratios=(0,), **EXACT),
        WINE,
        softmax,
        lambda e, n, w: 1 / (np.ravel(e.C_)[0] * n),
        index,
    ),
    "stochastic": Case(
        SGDClassifier(loss="log_loss", alpha=0.05, tol=1e-9, max_iter=20_000, random_state=0, average=True),
        SMALL,
        logistic,
        lambda e, n, w: e.alpha,
        zero_one,
        slope=0.02,
    ),
    "stochastic, three classes": Case(
        SGDClassifier(loss="log_loss", alpha=0.1, tol=1e-9, max_iter=20_000, random_state=0, average=True),
        WINE,
        logistic,
        lambda e, n, w: e.alpha,
        zero_one,
        slope=0.02,
    ),
    "stochastic, of values": Case(
        SGDRegressor(
            alpha=0.1,
            tol=None,
            max_iter=2000,
            random_state=0,
            average=True,
            learning_rate="constant",
            eta0=1e-3,
        ),
        (DIABETES[0], DIABETES[1] / 100),
        squares,
        lambda e, n, w: e.alpha,
        slope=0.02,
    ),
    "least squares": Case(LinearRegression(), DIABETES, squares, none),
    "least squares, weights": Case(LinearRegression(), DIABETES, squares, none, weights=True),
    "least squares, two targets": Case(
        LinearRegression(), (DIABETES[0], np.c_[DIABETES[1], DIABETES[0][:, 0] ** 2]), squares, none
    ),
    "least squares, positive and free": Case(
        LinearRegression(positive=True), (DIABETES[0][:, 2:4], DIABETES[1]), squares, none, slope=1e-4
    ),
    "ridge": Case(Ridge(alpha=3.0), DIABETES, squares, by_alpha),
    "ridge, weights": Case(Ridge(alpha=3.0), DIABETES, squares, by_alpha, weights=True),
    "ridge, chosen": Case(RidgeCV([0.5, 5.0]), DIABETES, squares, lambda e, n, w: e.alpha_ / n),
    "Bayesian ridge": Case(
        BayesianRidge(tol=1e-12, max_iter=3000),
        DIABETES,
        squares,
        lambda e, n, w: e.lambda_ / e.alpha_ / n,
        slope=1e-3,
    ),
    "ridge of classes": Case(RidgeClassifier(alpha=3.0), WINE, squares, by_alpha, signs),
    "ridge of two classes, balanced": Case(
        RidgeClassifier(alpha=3.0, class_weight="balanced"),
        SMALL,
        squares,
        by_alpha,
        signs,
        class_weight=lambda y: len(y) / (2 * np.bincount(y)),
    ),
    "ridge of classes, chosen": Case(
        RidgeClassifierCV([0.5, 5.0]), WINE, squares, lambda e, n, w: e.alpha_ / n, signs
    ),
    "Poisson": Case(PoissonRegressor(alpha=0.2, **EXACT), COUNTS, poisson, lambda e, n, w: e.alpha),
    "Poisson, weights": Case(
        PoissonRegressor(alpha=0.2, **EXACT),
        COUNTS,
        poisson,
        lambda e, n, w: e.alpha * w.mean(),
        weights=True,
    ),
    "perceptron": Case(
        MLPClassifier((5, 4), activation="tanh", random_state=0, **PERCEPTRON),
        WINE,
        softmax,
        by_alpha,
        index,
        last=of_a_perceptron,
        phi=hidden,
        slope=1e-3,
    ),
    "perceptron of two classes": Case(
        MLPClassifier((4,), activation="logistic", random_state=0, **PERCEPTRON),
        NAMES,
        logistic,
        by_alpha,
        zero_one,
        last=of_a_perceptron,
        phi=hidden,
        slope=1e-3,
    ),
    "perceptron of values": Case(
        MLPRegressor(hidden_layer_sizes=(4,), activation="relu", random_state=0, **PERCEPTRON),
        (DIABETES[0], DIABETES[1] / 100),
        squares,
        by_alpha,
        last=of_a_perceptron,
        phi=hidden,
        slope=1e-2,
    ),
    "pipeline": Case(
        make_pipeline(MinMaxScaler(), PolynomialFeatures(2, include_bias=False), LOGISTIC),
        (SMALL[0][:, :3], SMALL[1]),
        logistic,
        by_c,
        zero_one,
        last=final,
        phi=before,
    ),
    "pipeline of a frame, weights": Case(
        Pipeline(
            [
                (
                    "columns",
                    ColumnTransformer(
                        [("n", StandardScaler(), ["d", "a"]), ("c", OneHotEncoder(), ["kind"])]
                    ),
                ),
                ("model", LOGISTIC),
            ]
        ),
        (MIXED, pd.Series(WINE[1]).map({0: "Barolo", 1: "Grignolino", 2: "Barbera"})),
        softmax,
        by_c,
        index,
        weights=True,
        last=final,
        phi=before,
        weights_name="model__sample_weight",
    ),
    "pipeline of texts, sparse": Case(
        make_pipeline(TfidfVectorizer(), LOGISTIC),
        (TEXTS, np.arange(60) // 7 % 2 == 0),
        logistic,
        by_c,
        zero_one,
        last=final,
        phi=lambda e, x: before(e, x).toarray(),
    ),
    "sparse": Case(
        LOGISTIC,
        (scipy.sparse.csc_matrix(np.where(np.abs(WINE[0]) > 1, WINE[0], 0)), WINE[1]),
        softmax,
        by_c,
        index,
        phi=lambda e, x: x.toarray(),
    ),
    "grid search in a pipeline": Case(
        make_pipeline(StandardScaler(), GridSearchCV(LOGISTIC, {"C": [0.1, 1.0]}, cv=3)),
        WINE,
        softmax,
        by_c,
        index,
        last=lambda e: e[-1].best_estimator_,
        phi=before,
    ),
    "random search of a pipeline": Case(
        RandomizedSearchCV(
            make_pipeline(StandardScaler(), Ridge()), {"ridge__alpha": [1.0, 2.0]}, n_iter=2, random_state=0
        ),
        DIABETES,
        squares,
        by_alpha,
        last=lambda e: e.best_estimator_[-1],
        phi=lambda e, x: before(e.best_estimator_, x),
    ),
    "a threshold chosen": Case(
        TunedThresholdClassifierCV(LOGISTIC, cv=3),
        SMALL,
        logistic,
        by_c,
        zero_one,
        last=lambda e: e.estimator_,
    ),
    "frozen": Case(
        FrozenEstimator(LogisticRegression(C=0.3, **EXACT).fit(*WINE)),
        WINE,
        softmax,
        by_c,
        index,
        last=lambda e: e.estimator,
    ),
    "target in other units": Case(
        TransformedTargetRegressor(Ridge(alpha=2.0), func=np.log, inverse_func=np.exp),
        DIABETES,
        squares,
        by_alpha,
        targets=lambda y, _: np.log(y)[:, None],
        last=lambda e: e.regressor_,
    ),
}


def fitted(case):
    x, y = case.data
    weights = WEIGHTS[: len(y)] if case.weights else None
    beside = {case.weights_name: weights} if case.weights else {}
    return case.estimator.fit(x, y, **beside), x, y, weights


def oracle(case, estimator, x, y, weights):
    """Cook's distances by dense algebra, and the norm of the objective's gradient against the points'."""
    last = case.last(estimator)
    targets = torch.tensor(case.targets(np.asarray(y), getattr(last, "classes_", None)))
    phi = torch.tensor(np.asarray(case.phi(estimator, x), dtype=float))
    matrix = torch.tensor(np.atleast_2d(last.coef_))
    w = np.ones(len(y)) if weights is None else weights
    ridge = torch.full_like(matrix, case.ridge(last, len(y), w))
    if last.fit_intercept:
        phi = torch.cat([phi, torch.ones(len(phi), 1).double()], 1)
        matrix = torch.cat([matrix, torch.tensor(np.atleast_1d(last.intercept_))[:, None]], 1)
        ridge = torch.cat([ridge, case.penalized * ridge[:, :1]], 1)
    if case.class_weight is not None:
        w = w * case.class_weight(np.asarray(y))[np.searchsorted(last.classes_, y)]

    def of_points(z, target_and_weight):
        return target_and_weight[1] * case.loss(z, target_and_weight[0])

    gradients, hessian = [], 0.0
    for weight in np.unique(w):
        rows = torch.tensor(w == weight)
        g, h = rows_and_hessian(case.loss, matrix, phi[rows], targets[rows])
        gradients.append((rows, weight * g))
        hessian = hessian + weight * h * int(rows.sum()) / len(y)
    all_gradients = torch.empty(len(y), matrix.numel()).double()
    for rows, g in gradients:
        all_gradients[rows] = g
    slope = all_gradients.mean(0) + ridge.flatten() * matrix.flatten()
    scale = all_gradients.square().mean().sqrt()
    return dense_cooks_distance(all_gradients, hessian, ridge.flatten()).numpy(), float(slope.norm() / scale)


@pytest.mark.parametrize("name", CASES)
def test_is_g_h_g_of_the_estimators_own_objective(name):
    case = CASES[name]
    estimator, x, y, weights = fitted(case)
    expected, slope = oracle(case, estimator, x, y, weights)
    assert slope < case.slope  # the objective is the one that was minimised
    ranking = swaypoint.cooks_distance(estimator, (x, y), sample_weight=weights, dtype=torch.float64)
    np.testing.assert_allclose(ranking.values, expected, rtol=1e-6, atol=1e-9 * expected.max())
    assert ranking.diagnostics.checks[0].verdict == "fit" or case.slope > 1e-5
    same = swaypoint.cooks_distance_from_features(
        x, y, estimator=estimator, sample_weight=weights, dtype=torch.float64
    )
    np.testing.assert_array_equal(same.values, ranking.values)


# -- what is no mean of smooth losses ---------------------------------------------------------------------

OF_PROBABILITIES = r"no gradient and Hessian .* swaypoint\.wrong_labels.*cross_val_predict"
REFUSED = {
    "tree": (DecisionTreeClassifier().fit(*WINE), OF_PROBABILITIES),
    "forest": (RandomForestClassifier(5).fit(*WINE), "RandomForestClassifier has " + OF_PROBABILITIES),
    "boosting": (HistGradientBoostingClassifier(max_iter=2).fit(*WINE), OF_PROBABILITIES),
    "neighbours": (KNeighborsClassifier().fit(*WINE), OF_PROBABILITIES),
    "forest at the end": (
        make_pipeline(StandardScaler(), RandomForestClassifier(5)).fit(*WINE),
        OF_PROBABILITIES,
    ),
    "forest of values": (RandomForestRegressor(5).fit(*DIABETES), "largest: y - cross_val_predict"),
    "margin": (LinearSVC().fit(*WINE), "LinearSVC has a loss with a corner.*LogisticRegression"),
    "kernel": (SVC().fit(*WINE), "SVC has a loss with a corner"),
    "rule": (Perceptron().fit(*WINE), "Perceptron has a loss with a corner"),
    "hinge": (SGDClassifier().fit(*WINE), r"SGDClassifier\(loss='hinge'\) has no Hessian.*'log_loss'"),
    "lasso": (Lasso().fit(*DIABETES), "Lasso has an L1 penalty.*coefficient is not 0"),
    "elastic net": (ElasticNet().fit(*DIABETES), "ElasticNet has an L1 penalty"),
    "logistic, L1": (
        LogisticRegression(solver="saga", l1_ratio=1, tol=0.1).fit(*WINE),
        r"L1 penalty is not twice differentiable; fit it with L2",
    ),
    "stochastic, L1": (SGDClassifier(loss="log_loss", penalty="l1").fit(*WINE), "penalty='l2'"),
    "at the bound": (LinearRegression(positive=True).fit(*DIABETES), "holds coefficients at 0"),
    "calibrated": (
        CalibratedClassifierCV(LogisticRegression()).fit(*WINE),
        "CalibratedClassifierCV averages .* the classifier that it calibrates, fitted to all points",
    ),
    "one alpha a target": (
        RidgeCV([0.1, 1.0], alpha_per_target=True).fit(DIABETES[0], DIABETES[0][:, :2]),
        "one alpha per target",
    ),
    "classes weighed by rest": (
        SGDClassifier(loss="log_loss", class_weight="balanced").fit(*WINE),
        "one-against-the-rest.*use LogisticRegression",
    ),
    "weighed intercept": (
        LogisticRegression(solver="liblinear", intercept_scaling=10.0).fit(*SMALL),
        "intercept_scaling",
    ),
    "unfitted": (LogisticRegression(), "the LogisticRegression is not fitted; call fit first"),
    "unfitted pipeline": (make_pipeline(StandardScaler(), Ridge()), "not fitted; call fit first"),
    "unfitted search": (GridSearchCV(LogisticRegression(), {"C": [1.0]}), "not fitted; call fit first"),
    "search without a refit": (
        GridSearchCV(LogisticRegression(), {"C": [1.0]}, refit=False).fit(*WINE),
        "fit it with refit=True",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_influence_is_told_what_to_do(name):
    estimator, words = REFUSED[name]
    with pytest.raises(swaypoint.InputError, match=words) as error:
        swaypoint.cooks_distance(estimator, WINE)
    assert "\n" not in str(error.value)


FRAME = pd.DataFrame(SMALL[0], columns=list("abcdef"))
OF_FRAME = LogisticRegression().fit(FRAME, NAMES[1])
WRONG = {
    "order of columns": ((FRAME[list("bacdef")], NAMES[1]), {}, "does not take these inputs.*same order"),
    "a column less": ((FRAME[list("abcde")], NAMES[1]), {}, "does not take these inputs"),
    "new label": (
        (FRAME, np.where(np.arange(len(FRAME)) == 3, "other", NAMES[1])),
        {},
        "'other' of row 3 was",
    ),
    "no pair": (FRAME, {}, r"expected the pair \(X, y\)"),
    "another loss": ((FRAME, NAMES[1]), {"loss": "squared_error"}, "brings its own loss"),
    "parameters": ((FRAME, NAMES[1]), {"params": "*"}, "leave loss, l2, layer and params out"),
    "few weights": ((FRAME, NAMES[1]), {"sample_weight": [1.0]}, r"shape \(1,\); expected \(190,\)"),
    "negative": ((FRAME, NAMES[1]), {"sample_weight": np.arange(190) - 2.0}, "of row 0 is -2; expected"),
    "of texts": ((FRAME, NAMES[1]), {"sample_weight": ["a"] * 190}, "sample_weight is not numeric"),
    "nothing": ((FRAME, NAMES[1]), {"sample_weight": np.zeros(190)}, "every sample_weight is 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_points_than_it_was_fitted_to_are_told(name):
    data, options, words = WRONG[name]
    with pytest.raises(swaypoint.InputError, match=words):
        swaypoint.cooks_distance(OF_FRAME, data, **options)


def test_a_class_is_no_estimator():
    with pytest.raises(swaypoint.InputError, match=r"expected a torch\.nn\.Module, a LinearHead or a fitted"):
        swaypoint.cooks_distance(LogisticRegression, WINE)


def test_labels_are_those_that_the_estimator_knows():
    ranking = swaypoint.cooks_distance(OF_FRAME, (FRAME, NAMES[1]))
    np.testing.assert_array_equal(ranking.label, NAMES[1])
    assert 0.8 < (ranking.suggested_label == NAMES[1]).mean() < 1
    of_ridge = swaypoint.cooks_distance(RidgeClassifier().fit(FRAME, NAMES[1]), (FRAME, NAMES[1]))
    np.testing.assert_array_equal(of_ridge.label, NAMES[1])


def test_influence_on_other_points():
    x, y = SMALL
    weights = WEIGHTS[: len(y)]
    estimator = LogisticRegression(**EXACT).fit(x, y, sample_weight=weights)
    matrix = swaypoint.influence(estimator, (x, y), (x[:7], y[:7]), sample_weight=weights)
    ranking = swaypoint.cooks_distance(estimator, (x, y), sample_weight=weights, dtype=torch.float64)
    # the test point counts once, the training point as often as its weight
    np.testing.assert_allclose(ranking.values[:7], weights[:7] * np.diag(matrix), rtol=1e-8)


# -- weights ----------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 10_000), loss=st.sampled_from(["cross_entropy", "squared_error", "poisson"]))
@settings(max_examples=25, deadline=None)
def test_a_weight_of_two_is_the_point_twice(seed, loss):
    generator = np.random.default_rng(seed)
    x, weights = generator.normal(size=(30, 3)), generator.integers(0, 4, 30)
    outputs = 3 if loss == "cross_entropy" else 1
    y = generator.integers(0, 3, 30) if outputs == 3 else generator.poisson(2.0, 30).astype(float)
    model = torch.nn.Linear(3, outputs).double()
    points, copies = len(x), weights.sum()
    one = swaypoint.cooks_distance(
        model, (x, y), loss=loss, l2=0.1 * copies / points, sample_weight=weights, dtype=torch.float64
    )
    rows = np.repeat(np.arange(points), weights)
    other = swaypoint.cooks_distance(model, (x[rows], y[rows]), loss=loss, l2=0.1, dtype=torch.float64)
    # without the point all its copies are gone: their gradient is the sum of theirs
    expected = other.values * np.square(weights[rows]) * points / copies
    np.testing.assert_allclose(one.values[rows], expected, rtol=1e-7, atol=1e-12)
    np.testing.assert_allclose(one.leverage[rows], weights[rows] * other.leverage, rtol=1e-7)
    single = weights[rows] == 1
    np.testing.assert_allclose(one.loo_loss[rows][single], other.loo_loss[single], rtol=1e-7)
    np.testing.assert_array_equal(one.values[weights == 0], 0.0)
    np.testing.assert_array_equal(one.label, y)


def test_leave_one_out_of_weighted_least_squares_is_the_refit():
    x, y = DIABETES
    weights, n = WEIGHTS[: len(y)], len(y)
    design = np.c_[x, np.ones(n)]
    estimator = LinearRegression().fit(x, y, sample_weight=weights)
    ranking = swaypoint.cooks_distance(
        estimator, (x, y), sample_weight=weights, removal="finite", dtype=torch.float64
    )
    theta, moment = np.append(estimator.coef_, estimator.intercept_), (design.T * weights) @ design
    for row in range(0, n, 9):
        left = np.where(np.arange(n) == row, 0.0, weights)
        without = np.linalg.solve((design.T * left) @ design, (design.T * left) @ y)
        step = theta - without
        np.testing.assert_allclose(ranking.values[row], n * step @ moment @ step, rtol=1e-8, atol=1e-8)
        loss = 0.5 * weights[row] * (y[row] - design[row] @ without) ** 2
        np.testing.assert_allclose(ranking.loo_loss[row], loss, rtol=1e-8)
        np.testing.assert_allclose(ranking.suggested_label[row], design[row] @ without, rtol=1e-8)


def test_statistical_of_weighted_least_squares_equals_statsmodels():
    x, y = DIABETES
    weights = 0.5 + WEIGHTS[: len(y)]
    root, design = np.sqrt(weights), sm.add_constant(x)
    known = sm.OLS(root * y, root[:, None] * design).fit()
    np.testing.assert_allclose(known.params, sm.WLS(y, design, weights).fit().params, rtol=1e-8)
    estimator = LinearRegression().fit(x, y, sample_weight=weights)
    ranking = swaypoint.cooks_distance(estimator, (x, y), sample_weight=weights)
    influence = known.get_influence()
    np.testing.assert_allclose(ranking.statistical, influence.cooks_distance[0], rtol=1e-8)
    np.testing.assert_allclose(ranking.leverage, influence.hat_matrix_diag, rtol=1e-4)
    found = ranking.statistics()
    np.testing.assert_allclose(found.studentised, influence.resid_studentized_external, rtol=1e-8)
    # of weight zero, a point is not there
    zero = np.r_[weights, np.zeros(5)]
    more = np.r_[x, 2 * x[:5]], np.r_[y, -y[:5]]
    with_zeros = swaypoint.cooks_distance(estimator, more, sample_weight=zero)
    np.testing.assert_allclose(with_zeros.statistical[:-5], ranking.statistical, rtol=1e-8)
    np.testing.assert_array_equal(with_zeros.statistical[-5:], 0.0)


@pytest.mark.parametrize("family", ["logistic", "poisson"])
def test_statistical_of_weighted_models_equals_statsmodels(family):
    x, y = SMALL if family == "logistic" else COUNTS
    x = x[:, :3]
    weights = 0.5 + WEIGHTS[: len(y)]
    families = {"logistic": sm.families.Binomial(), "poisson": sm.families.Poisson()}
    known = sm.GLM(y, sm.add_constant(x), family=families[family], var_weights=weights)
    known = known.fit(tol=1e-12, maxiter=200, tol_criterion="params")
    estimator = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-12)
    if family == "poisson":
        estimator = PoissonRegressor(alpha=0.0, solver="newton-cholesky", tol=1e-12)
    estimator.fit(x, y, sample_weight=weights)
    ranking = swaypoint.cooks_distance(estimator, (x, y), sample_weight=weights)
    np.testing.assert_allclose(ranking.statistical, known.get_influence().cooks_distance[0], rtol=1e-6)


def test_weights_of_a_networks_points_and_of_a_sketch():
    x, y = WINE
    weights = WEIGHTS[: len(y)]
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(13, 6), torch.nn.Tanh(), torch.nn.Linear(6, 3)).double()
    features = model[:-1](torch.tensor(x)).detach()
    options = {"sample_weight": weights, "damping": 0.01, "dtype": torch.float64}
    whole = swaypoint.cooks_distance(
        model, torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y)), **options
    )
    head = swaypoint.cooks_distance(model[-1], (features, y), **options)
    np.testing.assert_allclose(whole.values, head.values, rtol=1e-9)
    phi = torch.cat([features, torch.ones(len(x), 1)], 1)
    matrix = torch.cat([model[-1].weight, model[-1].bias[:, None]], 1).detach()
    g, _ = rows_and_hessian(F.cross_entropy, matrix, phi, torch.tensor(y))
    hessian = sum(
        w * rows_and_hessian(F.cross_entropy, matrix, phi[i : i + 1], torch.tensor(y[i : i + 1]))[1]
        for i, w in enumerate(weights)
    )
    expected = dense_cooks_distance(torch.tensor(weights)[:, None] * g, hessian / len(y), 0.01)
    np.testing.assert_allclose(head.values, expected, rtol=1e-8)
    sketched = swaypoint.cooks_distance(model[-1], (features, y), solver="sketch", **options)
    kept = weights > 0
    np.testing.assert_allclose(sketched.values[kept], expected[kept], rtol=0.5)
    with pytest.raises(swaypoint.InputError, match="sample_weight goes with the last layer"):
        swaypoint.cooks_distance(model, (x, y), sample_weight=weights, params="*")
    with pytest.raises(swaypoint.InputError, match="sample_weight goes with a named loss"):
        swaypoint.cooks_distance(model, (x, y), sample_weight=weights, loss=F.cross_entropy)


def test_a_fit_of_ours_takes_weights():
    x, y = WINE
    weights = WEIGHTS[: len(y)]
    names = np.array(["a", "b", "c"])[y]
    ours = swaypoint.cooks_distance_from_features(x, names, sample_weight=weights, dtype=torch.float64)
    estimator = LogisticRegression(**EXACT).fit(x, names, sample_weight=weights)
    theirs = swaypoint.cooks_distance(estimator, (x, names), sample_weight=weights, dtype=torch.float64)
    np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-5)
    np.testing.assert_array_equal(ours.label, names)
    np.testing.assert_array_equal(ours.suggested_label, theirs.suggested_label)


def test_inputs_stay_as_they_are():
    x, y = NAMES[0].copy(), NAMES[1].copy()
    weights = np.arange(len(y), dtype=float)
    for array in (x, y, weights):
        array.flags.writeable = False
    estimator = LogisticRegression().fit(x, y, sample_weight=weights)
    assert fitted_estimator(estimator, x, y, weights).classes.tolist() == ["benign", "malignant"]
    swaypoint.cooks_distance(estimator, (x, y), sample_weight=weights)
