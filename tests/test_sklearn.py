"""The estimators that fit into scikit-learn: by its own checks, statsmodels, refits, and loops over folds."""

from __future__ import annotations

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge, RidgeClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeRegressor
from sklearn.utils.estimator_checks import parametrize_with_checks

import swaypoint
from swaypoint.errors import InputError
from swaypoint.sklearn import CooksDistance, LabelErrorDetector

WINE, DIABETES = load_wine(return_X_y=True), load_diabetes(return_X_y=True)


# Fewer folds and naive Bayes: the checks fit hundreds of times.
@parametrize_with_checks([LabelErrorDetector(GaussianNB(), cv=2), CooksDistance()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([LabelErrorDetector(), CooksDistance(LogisticRegression())])
def test_scikit_learns_own_checks_of_others(estimator, check):
    check(estimator)


# -- wrong labels -------------------------------------------------------------------------------------


def test_probabilities_are_those_of_refits_on_the_other_folds():
    x, y = WINE
    fold = np.random.default_rng(0).integers(0, 4, len(y))
    detector = LabelErrorDetector(GaussianNB(), cv=PredefinedSplit(fold)).fit(x, y)
    expected = np.zeros((len(y), 3))
    for part in range(4):
        expected[fold == part] = (
            GaussianNB().fit(x[fold != part], y[fold != part]).predict_proba(x[fold == part])
        )
    np.testing.assert_allclose(detector.probabilities_, expected, rtol=1e-12)
    found = swaypoint.wrong_labels(expected, y)
    np.testing.assert_allclose(detector.scores_, found.score, rtol=1e-9)
    np.testing.assert_allclose(detector.p_wrong_, found.p_wrong, rtol=1e-9)
    np.testing.assert_array_equal(detector.order_, np.argsort(-found.score, kind="stable"))


def test_labels_by_name_are_those_by_number():
    x, y = WINE
    names = np.array(["red", "white", "rosé"])  # in no alphabetical order
    of_codes, of_names = (LabelErrorDetector(GaussianNB()).fit(x, labels) for labels in (y, names[y]))
    assert (of_names.predict(x) == names[of_codes.predict(x)]).all()
    columns = np.searchsorted(np.sort(names), names)
    np.testing.assert_allclose(
        of_names.score_samples(x, names[y]), of_codes.score_samples(x, y), rtol=1e-9, atol=1e-9
    )
    np.testing.assert_allclose(
        of_names.predict_proba(x)[:, columns], of_codes.predict_proba(x), rtol=1e-9, atol=1e-12
    )
    assert set(of_names.likely_) <= set(names)


def test_planted_errors_come_first_whatever_the_classifier_takes():
    texts = np.array([f"{a} {b}" for a in ("cat", "kitten", "tomcat") for b in map(str, range(40))])
    texts = np.concatenate([texts, np.char.replace(np.char.replace(texts, "cat", "dog"), "kitten", "puppy")])
    y = np.repeat(["feline", "canine"], 120)
    wrong = np.random.default_rng(1).choice(len(y), 6, replace=False)
    y[wrong] = np.where(y[wrong] == "feline", "canine", "feline")
    detector = LabelErrorDetector(make_pipeline(TfidfVectorizer(), LogisticRegression())).fit(list(texts), y)
    assert set(detector.order_[:6]) == set(wrong)
    assert (detector.likely_[wrong] != y[wrong]).all()
    assert set(np.argsort(-detector.p_wrong_)[:6]) == set(wrong)


def test_same_seed_same_result_and_columns_by_name():
    x, y = (data[::3] for data in load_breast_cancer(return_X_y=True, as_frame=True))
    first, again = (LabelErrorDetector(cv=3, random_state=5).fit(x, y) for _ in range(2))
    np.testing.assert_array_equal(first.scores_, again.scores_)
    other = LabelErrorDetector(cv=3, random_state=6).fit(x, y)
    assert (other.scores_ != first.scores_).any()
    assert cross_val_score(clone(first), x, y, cv=2).min() > 0.9
    with pytest.raises(ValueError, match="feature names"):
        first.predict(x[x.columns[::-1]])


def test_a_class_that_the_other_folds_lack_is_not_impossible():
    x, y = WINE[0][:60], WINE[1][:60].copy()  # class 1 has one point
    y[5:9] = 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        detector = LabelErrorDetector(make_pipeline(StandardScaler(), LogisticRegression()), cv=4).fit(x, y)
    (alone,) = np.flatnonzero(y == 1)
    assert detector.probabilities_[alone, 1] == pytest.approx(1 / (45 + 3))  # Laplace's rule
    np.testing.assert_allclose(detector.probabilities_.sum(1), 1)


def test_of_new_points_another_label_is_worse_and_none_is_the_predicted_one():
    x, y = WINE
    detector = LabelErrorDetector().fit(x[::2], y[::2])
    new, known = x[1::2], y[1::2]
    right = detector.score_samples(new, known)
    assert (detector.score_samples(new, (known + 1) % 3) > right).mean() > 0.95
    np.testing.assert_array_equal(
        detector.score_samples(new), detector.score_samples(new, detector.predict(new))
    )


@pytest.mark.parametrize(
    ("fit", "says"),
    [
        (
            lambda x, y: LabelErrorDetector(LinearSVC()).fit(x, y),
            "LinearSVC has no predict_proba; wrap",
        ),
        (
            lambda x, y: LabelErrorDetector(FrozenEstimator(GaussianNB().fit(x, y))).fit(x, y),
            "has seen the points",
        ),
        (lambda x, y: LabelErrorDetector(cv=1).fit(x, y), "two folds or more"),
        (lambda x, y: LabelErrorDetector().fit(x, np.zeros(len(y))), "one class"),
        (lambda x, y: LabelErrorDetector().fit(x, y).score_samples(x, y + 1), "label 3 of row"),
        (lambda x, y: LabelErrorDetector().fit(x, y).score_samples(x, y[1:]), "177 labels of 178 points"),
        (lambda x, y: CooksDistance(DecisionTreeRegressor()).fit(x, y), "has no gradient"),
        (lambda x, y: CooksDistance(removal="none").fit(x, y), "removal"),
        (lambda x, y: CooksDistance(RidgeClassifier()).fit(x, y).score_samples(x), "no probabilities"),
    ],
)
def test_what_cannot_be_is_told(fit, says):
    with pytest.raises(InputError, match=says):
        fit(*WINE)


def test_the_remedy_works():
    x, y = WINE
    scaled = StandardScaler().fit_transform(x)
    assert (
        LabelErrorDetector(CalibratedClassifierCV(LinearSVC()), cv=3).fit(scaled, y).scores_ < 0
    ).mean() > 0.9


# -- Cook's distance ----------------------------------------------------------------------------------


def test_statistical_equals_statsmodels():
    x, y = DIABETES
    detector = CooksDistance(make_pipeline(StandardScaler(), LinearRegression()), removal="finite").fit(x, y)
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    expected = fit.get_influence().cooks_distance[0]
    np.testing.assert_allclose(detector.ranking_.statistical, expected, rtol=1e-8)
    np.testing.assert_allclose(detector.scores_, expected * len(y) * 11 * fit.mse_resid, rtol=1e-9)
    np.testing.assert_array_equal(detector.order_[:50], np.argsort(-expected)[:50])


def test_a_new_point_of_least_squares_by_statsmodels():
    """n e^2 phi' (Phi' Phi)^-1 phi."""
    x, y = DIABETES
    new, labels = x[::7] + 0.01, y[::7] + 5.0
    fit = sm.OLS(y, sm.add_constant(x)).fit()
    rows = sm.add_constant(new)
    leverage = np.einsum("bi,ij,bj->b", rows, fit.normalized_cov_params, rows)
    detector = CooksDistance().fit(x, pd.DataFrame({"y": y.astype(object)}))
    expected = len(y) * (labels - fit.predict(rows)) ** 2 * leverage
    np.testing.assert_allclose(detector.score_samples(new, labels), expected, rtol=1e-9)
    expected = len(y) * np.mean(fit.resid**2) * leverage
    np.testing.assert_allclose(detector.score_samples(new), expected, rtol=1e-9)
    np.testing.assert_allclose(
        detector.score_samples(new, labels[:, None]), detector.score_samples(new, labels)
    )


def test_without_labels_it_is_the_mean_over_them():
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    detector = CooksDistance(LogisticRegression(max_iter=1000)).fit(x, names[y])
    p = detector.estimator_.predict_proba(x[:20])
    each = np.stack([detector.score_samples(x[:20], np.full(20, name)) for name in names], 1)
    np.testing.assert_allclose(detector.score_samples(x[:20]), (p * each).sum(1), rtol=1e-9)
    np.testing.assert_allclose(detector.score_samples(x, names[y]), detector.scores_, rtol=1e-9)


@pytest.mark.parametrize(
    "estimator",
    [Ridge(2.0), make_pipeline(PolynomialFeatures(2, include_bias=False), LinearRegression())],
    ids=["ridge", "pipeline"],
)
@pytest.mark.parametrize("removal", ["infinitesimal", "finite"])
def test_is_the_public_function_on_the_fitted_estimator(estimator, removal):
    x, y = DIABETES[0][:, :4], DIABETES[1]
    detector = CooksDistance(estimator, removal=removal).fit(x, pd.Series(y))
    fitted = clone(estimator).fit(x, y)
    expected = swaypoint.cooks_distance(fitted, (x, y), removal=removal, dtype=torch.float64)
    np.testing.assert_array_equal(detector.scores_, expected.values)
    frozen = CooksDistance(FrozenEstimator(fitted), removal=removal).fit(x, y)
    np.testing.assert_array_equal(frozen.scores_, expected.values)
    again = pickle.loads(pickle.dumps(detector))
    np.testing.assert_array_equal(again.score_samples(x[:5], y[:5]), detector.score_samples(x[:5], y[:5]))
