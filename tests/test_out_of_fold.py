"""Trees out of fold: scikit-learn's own cross-validation is the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_wine
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import PredefinedSplit, cross_val_predict

import swaypoint
from swaypoint.models.out_of_fold import accuracy, dealt, grown, out_of_fold_probabilities, predicted
from swaypoint.scoring.wrong_labels import wrong_labels

QUICK = {"max_iter": 8, "early_stopping": False}
X, Y = load_wine(return_X_y=True)
X = X[:, :6].copy()
X[::7, 2] = np.nan


def found(x=X, y=Y, **options):
    return out_of_fold_probabilities(x, y, settings=QUICK, **options)


@pytest.mark.parametrize("categorical", [None, [1]])
def test_equals_scikit_learns_cross_validation(categorical):
    x = X.copy()
    x[:, 1] = np.random.default_rng(0).permutation(13)[np.round(2 * x[:, 1]).astype(int)]
    trees = HistGradientBoostingClassifier(random_state=3, categorical_features=categorical, **QUICK)
    expected = cross_val_predict(
        trees, x, Y, cv=PredefinedSplit(dealt(Y, 4, 3)), method="predict_proba", n_jobs=1
    )
    done = []
    p = found(x, folds=4, seed=3, categorical=categorical, on_fold=lambda *at: done.append(at))
    assert p.dtype == np.float32
    np.testing.assert_allclose(p, expected, rtol=1e-6)
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_same_seed_gives_the_same_bits_and_inputs_stay_as_they_are():
    x, y = X.copy(), Y.copy()
    for array in (x, y):
        array.flags.writeable = False
    one = found(x, y, seed=1)
    np.testing.assert_array_equal(one, found(seed=1))
    assert (one != found(seed=2)).any()


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    folds=st.integers(2, 7),
    seed=st.integers(0, 99),
)
def test_every_class_is_dealt_out_evenly(labels, folds, seed):
    y = np.array(labels)
    fold = dealt(y, folds, seed)
    for chosen in (fold, *(fold[y == k] for k in np.unique(y))):
        sizes = np.bincount(chosen, minlength=folds)
        assert sizes.max() - sizes.min() <= 1


def test_a_class_of_one_point_has_laplaces_share_where_it_was_not_seen():
    y = Y.copy()
    y[10] = 3
    p, fold = found(y=y, seed=0, classes=5), dealt(y, 5, 0)
    seen = (fold != fold[10]).sum()
    np.testing.assert_allclose(p[10, 3], 1 / (seen + 5), rtol=1e-6)
    np.testing.assert_allclose(p[10, 4], 1 / (seen + 5), rtol=1e-6)  # nobody has that label
    np.testing.assert_allclose(p.sum(1), 1.0, rtol=1e-5)
    assert (p > 0).all()
    assert p[10].argmax() == Y[10]


def test_points_of_weight_zero_teach_nothing():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    truth = (x[:, 0] > 0).astype(int)
    wrong = rng.random(600) < 0.45
    y = np.where(wrong, 1 - truth, truth)
    p = found(x, y, sample_weight=1.0 - wrong)
    assert (p.argmax(1) == truth).mean() > 0.97
    assert (found(x, y).argmax(1) == truth).mean() < 0.9
    order = np.argsort(-wrong_labels(p, y).score)
    assert wrong[order[: wrong.sum()]].mean() > 0.95


def test_the_accuracy_is_that_of_points_held_out():
    train = np.arange(len(Y)) % 3 > 0
    trees = grown(X[train], Y[train], settings=QUICK)
    expected = HistGradientBoostingClassifier(random_state=0, **QUICK).fit(X[train], Y[train])
    assert accuracy(trees, X[~train], Y[~train]) == expected.score(X[~train], Y[~train])
    p = predicted(trees, X[~train], 3, int(train.sum()))
    np.testing.assert_allclose(p, expected.predict_proba(X[~train]), rtol=1e-6)


WRONG = {
    "shapes": (X, Y[:5], {}, r"labels \(5,\); expected \(n, D\) and \(n,\)"),
    "values": (X, Y + 0.5, {}, "not integers from 0 on"),
    "one class": (X, np.zeros_like(Y), {}, "same class"),
    "one other": (X, (np.arange(len(Y)) == 3).astype(int), {}, "nothing to learn"),
    "one fold": (X, Y, {"folds": 1}, "1 folds of 178 points"),
    "few classes": (X, Y, {"classes": 2}, "label 2 is out of range for 2 classes"),
    "weights": (X, Y, {"sample_weight": [1.0]}, r"shape \(1,\)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_split_is_told(name):
    x, y, options, words = WRONG[name]
    with pytest.raises(swaypoint.InputError, match=words):
        found(x, y, **options)
