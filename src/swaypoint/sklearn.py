"""Two estimators that fit into scikit-learn: which labels are wrong, which points sway a linear model.

In both, unlike in scikit-learn's outlier detectors and as everywhere in swaypoint, a large score says: look
at this point first.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import torch

from swaypoint.api import rank_estimator
from swaypoint.errors import InputError, require
from swaypoint.models.estimators import Fitted, fitted_estimator
from swaypoint.models.out_of_fold import dealt, with_absent_classes
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.options import Solving
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.scores import Removal
from swaypoint.scoring.wrong_labels import WrongLabels, channel_counts, estimated_channel, through_channel

base = require("sklearn.base", "sklearn")
linear_model = require("sklearn.linear_model", "sklearn")
model_selection = require("sklearn.model_selection", "sklearn")
multiclass = require("sklearn.utils.multiclass", "sklearn")
pipeline = require("sklearn.pipeline", "sklearn")
preprocessing = require("sklearn.preprocessing", "sklearn")
utils = require("sklearn.utils", "sklearn")
validation = require("sklearn.utils.validation", "sklearn")


class _Around(base.MetaEstimatorMixin, base.BaseEstimator):  # type: ignore[misc, name-defined]  # untyped
    """Looks at another estimator, takes what it takes and predicts what it predicts."""

    estimator: Any
    estimator_: Any

    def _inner(self) -> Any:
        raise NotImplementedError

    def __sklearn_tags__(self) -> Any:
        tags, inner = super().__sklearn_tags__(), utils.get_tags(self._inner())
        for name in ("estimator_type", "classifier_tags", "regressor_tags", "target_tags", "input_tags"):
            setattr(tags, name, getattr(inner, name))
        tags.target_tags.required = True
        return tags

    def predict(self, X: Any) -> np.ndarray:
        """What ``estimator_``, fitted to all points, predicts, ``(n,)``."""
        validation.check_is_fitted(self)
        return np.asarray(self.estimator_.predict(X))

    def score(self, X: Any, y: Any) -> float:
        """That of ``estimator_``: accuracy, or R^2."""
        validation.check_is_fitted(self)
        return float(self.estimator_.score(X, y))


class LabelErrorDetector(_Around):
    """Which labels are probably wrong, by the out-of-fold probabilities of any classifier.

    :func:`swaypoint.wrong_labels` of the probabilities that the classifier gives each point when it is fitted
    to the other folds.

    Args:
        estimator: a classifier with ``predict_proba``, a pipeline that ends in one, or what has
            scikit-learn's interface (such as skorch's ``NeuralNetClassifier``); it is cloned. Default:
            logistic regression on standardised columns.
        cv: the number of folds, over which each class is dealt out evenly and at random; or a splitter or
            splits as scikit-learn takes them, that test each point once.
        random_state: of the dealing, as scikit-learn takes it.
        n_jobs: folds at a time, as scikit-learn takes it.

    Attributes:
        scores_: (n,) float64, of the points in the order of ``fit``; large: look at it first, see
            :class:`~swaypoint.scoring.wrong_labels.WrongLabels`.
        order_: (n,) int64, their positions, the largest score first.
        p_wrong_: (n,) float64 in [0, 1], the estimate that the label is wrong.
        likely_: (n,), the most probable class other than the given one.
        probabilities_: (n, C), out of fold.
        wrong_labels_: the :class:`~swaypoint.scoring.wrong_labels.WrongLabels`, with the noise between the
            classes.
        classes_: (C,), the labels that occur.
        estimator_: the classifier, fitted to all points.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> y[7] = 2
    >>> detector = LabelErrorDetector().fit(X, y)
    >>> int(detector.order_[0]), int(detector.likely_[7])
    (7, 0)
    """

    def __init__(
        self, estimator: Any = None, *, cv: Any = 5, random_state: Any = 0, n_jobs: Any = None
    ) -> None:
        self.estimator = estimator
        self.cv = cv
        self.random_state = random_state
        self.n_jobs = n_jobs

    def _inner(self) -> Any:
        if self.estimator is not None:
            return self.estimator
        return pipeline.make_pipeline(
            preprocessing.StandardScaler(), linear_model.LogisticRegression(max_iter=1000)
        )

    def fit(self, X: Any, y: Any) -> Self:
        """Score the labels ``y`` of the points ``X``, and fit the classifier to all of them.

        Args:
            X: what the classifier takes.
            y: (n,), a class a point.

        Raises:
            InputError: the classifier gives no probabilities or would not be fitted anew, or there is one
                class.
            ValueError: as the classifier.
        """
        validation.validate_data(self, X, y, skip_check_array=True)
        labels = validation.column_or_1d(y, warn=True)
        multiclass.check_classification_targets(labels)
        inner = _trainable(self._inner())
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError("y has one class; labels can be wrong only where there are two or more")
        self.estimator_ = base.clone(inner).fit(X, labels)  # before the folds: it says best what does not fit
        if len(labels) < 2 or not hasattr(self.estimator_, "predict_proba"):
            raise InputError(
                f"{type(inner).__name__} has no predict_proba; wrap it in"
                " sklearn.calibration.CalibratedClassifierCV"
            )
        self.probabilities_ = self._out_of_fold(inner, X, codes)
        self._channel = estimated_channel(*channel_counts(self.probabilities_, codes))
        found = self.wrong_labels_ = through_channel(self.probabilities_, codes, self._channel)
        self.scores_, self.p_wrong_ = found.score, found.p_wrong
        self.order_ = np.argsort(-found.score, kind="stable")
        self.likely_ = self.classes_[found.likely]
        return self

    def _out_of_fold(self, inner: Any, X: Any, codes: np.ndarray) -> np.ndarray:
        """``(n, C)``; a class without a point in the other folds is taken as not seen yet."""
        cv = self.cv
        if isinstance(cv, int | np.integer):
            if cv < 2:
                raise InputError(f"cv={cv}; expected two folds or more")
            seed = int(utils.check_random_state(self.random_state).randint(2**31 - 1))
            cv = model_selection.PredefinedSplit(dealt(codes, min(int(cv), len(codes)), seed))
        splits = list(model_selection.check_cv(cv, codes, classifier=True).split(X, codes))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Number of classes in training fold")  # seen to below
            found = model_selection.cross_val_predict(
                inner, X, codes, cv=splits, method="predict_proba", n_jobs=self.n_jobs
            )
        for train, test in splits:
            present = np.isin(np.arange(len(self.classes_)), codes[train])
            found[test] = with_absent_classes(found[test], present, len(train))
        return found

    def predict_proba(self, X: Any) -> np.ndarray:
        """What ``estimator_``, fitted to all points, predicts, ``(n, C)``."""
        validation.check_is_fitted(self)
        return np.asarray(self.estimator_.predict_proba(X))

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """How probably the labels ``y`` of points that were not fitted to are wrong, ``(n,)`` float64.

        For the points of ``fit`` there is :attr:`scores_`: the classifier knows these now.

        Args:
            y: (n,) of ``classes_``; None takes the class that is predicted, and says how unsure it is.

        Raises:
            InputError: a label is none of ``classes_``.
        """
        p = self.predict_proba(X)
        codes = p.argmax(1) if y is None else _codes(self.classes_, y, len(p))
        found: WrongLabels = through_channel(p, codes, self._channel)
        return found.score


class CooksDistance(_Around):
    """How far each point sways a linear or logistic model: Cook's distance g^T H^-1 g of its last step.

    Args:
        estimator: an estimator of docs/estimators.md: a linear or logistic model, a pipeline or a search that
            ends in one, a perceptron; it is cloned and fitted. Wrapped in ``sklearn.frozen.FrozenEstimator``
            it is taken as it is. Default: least squares.
        removal: ``"infinitesimal"``, or ``"finite"``, which of least squares is n p s^2 times the
            statisticians' Cook's distance.

    Attributes:
        scores_: (n,) float64, of the points in the order of ``fit``; large: look at it first.
        order_: (n,) int64, their positions, the largest score first.
        ranking_: the :class:`~swaypoint.scoring.ranking.Ranking` with leverage, leave-one-out loss, suggested
            label and diagnostics; its ``statistical`` is what statsmodels prints.
        estimator_: the fitted estimator.

    >>> X, y = np.arange(6.0)[:, None], np.array([0.1, 0.9, 2.1, 2.9, 4.1, 9.0])
    >>> int(CooksDistance().fit(X, y).order_[0])
    5
    """

    def __init__(self, estimator: Any = None, *, removal: Removal = "infinitesimal") -> None:
        self.estimator = estimator
        self.removal = removal

    def _inner(self) -> Any:
        return linear_model.LinearRegression() if self.estimator is None else self.estimator

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the estimator to the points, and rank them.

        Args:
            X: what the estimator takes.
            y: (n,), its labels or targets.

        Raises:
            InputError: the estimator has no gradient and Hessian that influence could take.
            ValueError: as the estimator.
        """
        validation.validate_data(self, X, y, skip_check_array=True)
        self.estimator_ = base.clone(self._inner()).fit(X, y)
        if hasattr(self.estimator_, "classes_"):
            self.classes_ = self.estimator_.classes_
            self._points = X, y
        else:
            self._points = X, np.asarray(y, dtype=np.float64)  # of numbers that are objects, too
        fitted = fitted_estimator(self.estimator_, *self._points)
        self.ranking_ = self._ranked(fitted, y)[0]
        self.scores_, self.order_ = self.ranking_.values, self.ranking_.order
        return self

    def _ranked(self, fitted: Fitted, labels: Any) -> tuple[Ranking, HeadSolution]:
        return rank_estimator(fitted, labels, Solving(removal=self.removal), dtype=torch.float64)

    def score_samples(self, X: Any, y: Any = None) -> np.ndarray:
        """How far points would sway the model if they were added, ``(n,)`` float64: g^T H^-1 g of the same
        Hessian, or one Newton step with the point (``removal="finite"``).

        Args:
            y: (n,), their labels; None takes the mean over the labels that the model expects: over the
                classes by their probabilities, of a regression over a residual as large as the fitted ones
                are (root mean square) above and below.

        Raises:
            InputError: a label was not seen, or there is no ``y`` and the classifier gives no probabilities.
        """
        predicted = self.predict(X)
        fitted = fitted_estimator(self.estimator_, *self._points)
        solution = self._ranked(fitted, self._points[1])[1]

        def of(labels: np.ndarray) -> np.ndarray:
            return solution.unseen(fitted.read(X, labels)).scores(removal=self.removal).cook

        if y is not None:
            return of(y)
        total = np.zeros(len(predicted))
        for labels, share in self._expected(X, predicted):
            total += share * of(labels)
        return total

    def _expected(self, X: Any, predicted: np.ndarray) -> Iterator[tuple[np.ndarray, Any]]:
        """Labels, and their probability of each point."""
        if not base.is_classifier(self.estimator_):
            seen, targets = self._points
            residuals = self.estimator_.predict(seen).reshape(targets.shape) - targets
            spread = np.sqrt(np.mean(np.square(residuals), axis=0))
            for sign in (-1.0, 1.0):
                yield predicted + sign * spread, 0.5
            return
        if not hasattr(self.estimator_, "predict_proba"):
            raise InputError(f"{type(self.estimator_).__name__} gives no probabilities of the labels; pass y")
        for label, share in zip(self.classes_, self.estimator_.predict_proba(X).T, strict=True):
            yield np.full(len(predicted), label), share


def _trainable(estimator: Any) -> Any:
    """``estimator``, unless it is fitted for good: then it has seen every point."""
    last = estimator
    while hasattr(last, "steps"):
        last = last.steps[-1][1]
    if type(last).__name__ == "FrozenEstimator":
        raise InputError(
            "the FrozenEstimator has seen the points that it would judge; pass the estimator itself, which is"
            " fitted anew fold by fold, or out-of-sample probabilities to swaypoint.wrong_labels"
        )
    return estimator


def _codes(classes: np.ndarray, y: Any, points: int) -> np.ndarray:
    """Positions in ``classes``, ``(n,)``."""
    labels = validation.column_or_1d(y)
    if len(labels) != points:
        raise InputError(f"{len(labels)} labels of {points} points; pass one a point")
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise InputError(
            f"label {labels[unknown].tolist()[0]!r} of row {int(unknown.argmax())} was not seen in fit"
        )
    return np.searchsorted(classes, labels)
