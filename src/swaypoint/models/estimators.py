"""Fitted scikit-learn estimators as heads: through pipelines and searches to the last, linear step, with the
objective that it minimises.

Which estimators there are stands in :data:`OBJECTIVES`. What is no mean of smooth losses has no Hessian;
:data:`REFUSED` says what to do instead.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from swaypoint.data.batches import ArrayBatches, FeatureBatches, SparseBatches
from swaypoint.errors import InputError, require, shortened
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import (
    BinaryCrossEntropy,
    CrossEntropy,
    Huber,
    Loss,
    Poisson,
    SquaredError,
)
from swaypoint.scoring.risks.weighted import sample_weights, weighted

OUT_OF_FOLD = (
    "for its wrong labels pass out-of-fold probabilities to swaypoint.wrong_labels:"
    " wrong_labels(cross_val_predict(estimator, X, y, method='predict_proba'), y), y as 0, 1, …"
)
_WITHIN = {
    "BaseSearchCV": "best_estimator_",
    "FixedThresholdClassifier": "estimator_",
    "FrozenEstimator": "estimator",
    "TunedThresholdClassifierCV": "estimator_",
}
"""Of wrappers: the attribute that has the estimator fitted to all points."""

Targets = Literal["values", "classes", "columns", "signs"]


@dataclass(frozen=True)
class Objective:
    """(1/n) sum_i w_i l_i + (l2 / 2) ||W||^2, as an estimator minimises it.

    Attributes:
        targets: what the loss takes: the values as they are, class indices, a column of 0 and 1 a class (one
            against the rest; of two classes a single one), or the same of -1 and 1.
        penalize_bias: whether the ridge covers the bias.
    """

    loss: Loss
    l2: float
    targets: Targets = "values"
    penalize_bias: bool = False


@dataclass(frozen=True)
class Fitted:
    """An estimator as influence sees it.

    Attributes:
        head: its last step; of weighted points with a
            :class:`~swaypoint.scoring.risks.weighted.Weighted` loss.
        train: the features and targets that it was fitted to.
        classes: the labels, in the order of their indices; None of a regression.
        read: features and targets of other points (inputs, labels), each of weight one.
    """

    head: LinearHead
    train: FeatureBatches
    classes: np.ndarray | None
    read: Callable[[Any, Any], FeatureBatches]


def is_estimator(model: Any) -> bool:
    """Whether ``model`` has scikit-learn's interface, and is no class of such."""
    return hasattr(model, "get_params") and hasattr(model, "fit") and not isinstance(model, type)


def fitted_estimator(estimator: Any, inputs: Any, labels: Any, sample_weight: Any = None) -> Fitted:
    """The head of a fitted scikit-learn estimator, and the features that it sees of ``inputs``.

    Of pipelines the steps before the last make the features, of searches it is the best estimator's, of a
    perceptron (``MLPClassifier``) the last layer's with its hidden units as features. ``class_weight`` is the
    estimator's own.

    Args:
        inputs, labels: what it was fitted to: arrays, data frames, SciPy's sparse matrices.
        sample_weight: ``(n,)``, if it was fitted with such; estimators do not keep them.

    Raises:
        InputError: it is not fitted, does not minimise a mean of smooth losses, or the points are not such as
            it was fitted to. The message says what to do.
    """
    steps, final, labels = _unwrapped(estimator, inputs, labels)
    name, read_objective = _known(final)
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    points = len(labels)
    weights = np.ones(points) if sample_weight is None else sample_weights(sample_weight, points)
    weight, bias = _coefficients(final)
    classes = getattr(final, "classes_", None)
    objective = read_objective(final, points, float(weights.mean()))

    def read(inputs: Any, labels: Any) -> tuple[Any, Any]:
        return _features(steps, final, inputs), _targets(name, classes, objective.targets, np.asarray(labels))

    features, targets = read(inputs, labels)
    class_weights = _class_weights(final, labels, sample_weight, objective.targets)
    all_weights = None if class_weights is None and sample_weight is None else weights
    if all_weights is not None and class_weights is not None:
        all_weights = all_weights * class_weights
    head = HeadWeights(weight, bias, objective.loss, objective.l2, objective.penalize_bias)
    head, train = weighted(head, _batches(features, targets), all_weights)

    def others(inputs: Any, labels: Any) -> FeatureBatches:
        batches = _batches(*read(inputs, labels))
        return batches if all_weights is None else weighted(head, batches, np.ones(len(batches)))[1]

    return Fitted(LinearHead(head), train, classes, others)


# -- the way to the last step -----------------------------------------------------------------------------


def _unwrapped(estimator: Any, inputs: Any, labels: Any) -> tuple[list[Any], Any, Any]:
    """What transforms the inputs, in turn; the last step; the labels as it sees them."""
    steps: list[Any] = []
    while True:
        names = _names(estimator)
        inner = next((_WITHIN[name] for name in names if name in _WITHIN), None)
        if "Pipeline" in names:
            _check_fitted(estimator)
            if len(estimator.steps) > 1:
                steps.append(estimator[:-1])
            estimator = estimator.steps[-1][1]
        elif "TransformedTargetRegressor" in names:
            _check_fitted(estimator)
            values = np.asarray(labels, dtype=np.float64)
            labels = estimator.transformer_.transform(values.reshape(len(values), -1))
            estimator = estimator.regressor_
        elif inner is not None:
            if not hasattr(estimator, inner) and getattr(estimator, "refit", None) is False:
                raise InputError(
                    f"the {names[0]} has no best estimator (refit=False); fit it with refit=True"
                )
            _check_fitted(estimator)
            estimator = getattr(estimator, inner)
        else:
            return steps, estimator, labels


def _names(estimator: Any) -> list[str]:
    return [of.__name__ for of in type(estimator).__mro__]


def _known(final: Any) -> tuple[str, Callable[[Any, int, float], Objective]]:
    names = _names(final)
    for name in names:
        if name in REFUSED:
            raise InputError(f"{names[0]} {REFUSED[name]}")
        if name in OBJECTIVES:
            _check_fitted(final)
            return names[0], OBJECTIVES[name]
    remedy = "pass the features and targets to cooks_distance_from_features, which fits a linear model itself"
    if hasattr(final, "predict_proba"):
        remedy = OUT_OF_FOLD
    elif hasattr(final, "predict"):
        remedy = "look first where its residual is largest: y - cross_val_predict(estimator, X, y)"
    raise InputError(f"{names[0]} has no gradient and Hessian that influence could take; {remedy}")


def _check_fitted(estimator: Any) -> None:
    name = type(estimator).__name__
    validation = require("sklearn.utils.validation", "sklearn")
    try:
        validation.check_is_fitted(estimator)
    except (TypeError, ValueError) as error:
        raise InputError(f"the {name} is not fitted; call fit first") from error


def _features(steps: list[Any], final: Any, inputs: Any) -> Any:
    """What the head sees of ``inputs``: (n, D), dense or sparse."""
    for step in steps:
        with _theirs(step):
            inputs = step.transform(inputs)
    validation = require("sklearn.utils.validation", "sklearn")
    with _theirs(final):
        inputs = validation.validate_data(final, inputs, reset=False, accept_sparse="csr")
    if "BaseMultilayerPerceptron" not in _names(final):
        return inputs
    activation = _ACTIVATIONS[final.activation]
    for weight, bias in zip(final.coefs_[:-1], final.intercepts_[:-1], strict=True):
        inputs = activation(inputs @ weight + bias)
    return inputs


@contextmanager
def _theirs(step: Any) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"the {type(step).__name__} does not take these inputs ({shortened(str(error))});"
            " pass those that it was fitted to"
        ) from error


def _batches(features: Any, targets: np.ndarray) -> FeatureBatches:
    return (SparseBatches if hasattr(features, "tocsr") else ArrayBatches)(features, targets)


def _coefficients(final: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    if "BaseMultilayerPerceptron" in _names(final):
        return _tensor(final.coefs_[-1].T), _tensor(final.intercepts_[-1])
    weight = _tensor(np.atleast_2d(final.coef_))
    return weight, _tensor(np.atleast_1d(final.intercept_)) if final.fit_intercept else None


def _tensor(values: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(values, dtype=np.float64))


def _targets(name: str, classes: Any, kind: Targets, labels: np.ndarray) -> np.ndarray:
    """Labels in the form that the loss takes."""
    if kind == "values":
        return labels
    if labels.ndim != 1 or isinstance(classes, list):
        raise InputError(f"labels of a {name} have shape {labels.shape}; expected (n,), a class a point")
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise InputError(
            f"label {labels[unknown].tolist()[0]!r} of row {int(unknown.argmax())} was not seen when the"
            f" {name} was fitted"
        )
    index = np.searchsorted(classes, labels)
    if kind == "classes":
        return index
    columns = np.eye(len(classes))[index] if len(classes) > 2 else index[:, None].astype(float)
    return 2.0 * columns - 1.0 if kind == "signs" else columns


def _class_weights(final: Any, labels: np.ndarray, sample_weight: Any, kind: Targets) -> np.ndarray | None:
    """``(n,)``, as the estimator weighs its classes; None: alike."""
    asked = getattr(final, "class_weight", None)
    if asked is None:
        return None
    if kind == "columns" and len(final.classes_) > 2:
        raise InputError(
            f"{type(final).__name__}(class_weight=...) of {len(final.classes_)} classes weighs each of its"
            " one-against-the-rest fits otherwise; use LogisticRegression"
        )
    compute = require("sklearn.utils.class_weight", "sklearn").compute_class_weight
    counted = (
        "LogisticRegression" in _names(final) and "sample_weight" in inspect.signature(compute).parameters
    )
    beside = {"sample_weight": sample_weight} if counted else {}
    found = compute(asked, classes=final.classes_, y=labels, **beside)
    return found[np.searchsorted(final.classes_, labels)]


# -- objectives -------------------------------------------------------------------------------------------


def _logistic(estimator: Any, points: int, mean_weight: float) -> Objective:
    # C sum_i w_i l_i + ||w||^2 / 2
    classes, name = len(estimator.classes_), type(estimator).__name__
    penalty, share = getattr(estimator, "penalty", "l2"), _one(estimator, "l1_ratio", "l1_ratio_")
    if penalty == "l1" or (penalty != "l2" and penalty is not None and share):
        raise InputError(
            f"{name} with an L1 penalty is not twice differentiable; fit it with L2 (l1_ratio=0)"
        )
    c = _one(estimator, "C", "C_")
    l2 = 0.0 if penalty is None or math.isinf(c) else 1.0 / (c * points)
    liblinear = estimator.solver == "liblinear"
    if liblinear and estimator.fit_intercept and estimator.intercept_scaling != 1:
        raise InputError(
            f"{name}(solver='liblinear') penalises its intercept by intercept_scaling; leave that at 1, or"
            " use another solver"
        )
    if classes == 2:
        return Objective(BinaryCrossEntropy(), l2, "columns", penalize_bias=liblinear)
    if liblinear or getattr(estimator, "multi_class", None) == "ovr":
        return Objective(BinaryCrossEntropy(), l2, "columns", penalize_bias=liblinear)
    return Objective(CrossEntropy(), l2, "classes")


def _one(estimator: Any, given: str, chosen: str) -> float:
    """A parameter, or what a cross-validation chose for it, the same for all classes."""
    values: Any = getattr(estimator, chosen, None)
    values = getattr(estimator, given, 0.0) if values is None else values
    found = {0.0 if v is None else float(v) for v in np.ravel(values)}
    if len(found) > 1:
        raise InputError(
            f"the {type(estimator).__name__} has chosen {len(found)} values of {given}, one a class; refit"
            " LogisticRegression with one of them"
        )
    return found.pop()


def _ridge(estimator: Any, points: int, mean_weight: float) -> Objective:
    alpha: Any = estimator.alpha_ if hasattr(estimator, "alpha_") else estimator.alpha
    if np.ndim(alpha) != 0:
        raise InputError(
            f"{type(estimator).__name__} with one alpha per target is not supported; fit one target at a time"
        )
    targets: Targets = "signs" if hasattr(estimator, "classes_") else "values"
    return (
        Objective(SquaredError(), float(alpha) / points, targets) if _free(estimator) else _bound(estimator)
    )


def _least_squares(estimator: Any, points: int, mean_weight: float) -> Objective:
    return Objective(SquaredError(), 0.0) if _free(estimator) else _bound(estimator)


def _free(estimator: Any) -> bool:
    """No coefficient is held at the bound of ``positive=True``."""
    return not (getattr(estimator, "positive", False) and (np.asarray(estimator.coef_) <= 0).any())


def _bound(estimator: Any) -> Objective:
    raise InputError(
        f"{type(estimator).__name__}(positive=True) holds coefficients at 0, which no gradient moves; refit"
        " on the columns whose coefficient is positive"
    )


def _bayesian(estimator: Any, points: int, mean_weight: float) -> Objective:
    return Objective(SquaredError(), float(estimator.lambda_ / estimator.alpha_) / points)


def _poisson(estimator: Any, points: int, mean_weight: float) -> Objective:
    # its mean is by the sum of the weights
    return Objective(Poisson(), float(estimator.alpha) * mean_weight)


def _stochastic(estimator: Any, points: int, mean_weight: float) -> Objective:
    name, loss = type(estimator).__name__, estimator.loss
    losses: dict[str, tuple[Loss, Targets]] = {
        "log_loss": (BinaryCrossEntropy(), "columns"),
        "squared_error": (SquaredError(), "signs" if hasattr(estimator, "classes_") else "values"),
    }
    if "SGDRegressor" in _names(estimator):
        losses["huber"] = Huber(estimator.epsilon), "values"
    if loss not in losses:
        raise InputError(
            f"{name}(loss={loss!r}) has no Hessian that influence could take; use one of"
            f" {', '.join(map(repr, losses))}"
        )
    if estimator.penalty not in ("l2", None) and not (
        estimator.penalty == "elasticnet" and estimator.l1_ratio == 0
    ):
        raise InputError(f"{name} with an L1 penalty is not twice differentiable; fit it with penalty='l2'")
    return Objective(losses[loss][0], float(estimator.alpha) if estimator.penalty else 0.0, losses[loss][1])


def _perceptron(estimator: Any, points: int, mean_weight: float) -> Objective:
    batch = min(200, points) if estimator.batch_size == "auto" else min(estimator.batch_size, points)
    l2 = float(estimator.alpha) / (points if estimator.solver == "lbfgs" else batch)
    if not hasattr(estimator, "classes_"):
        poisson = getattr(estimator, "loss", "squared_error") == "poisson"
        return Objective(Poisson() if poisson else SquaredError(), l2)
    if estimator.out_activation_ == "softmax":
        return Objective(CrossEntropy(), l2, "classes")
    several = estimator.n_outputs_ > 1
    return Objective(BinaryCrossEntropy(), l2, "values" if several else "columns")


_ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "identity": lambda x: x,
    "logistic": lambda x: 1.0 / (1.0 + np.exp(-x)),
    "tanh": np.tanh,
    "relu": lambda x: np.maximum(x, 0.0),
}

OBJECTIVES: dict[str, Callable[[Any, int, float], Objective]] = {
    "LogisticRegression": _logistic,  # LogisticRegressionCV is one
    "SGDClassifier": _stochastic,
    "SGDRegressor": _stochastic,
    "Ridge": _ridge,
    "RidgeCV": _ridge,
    "RidgeClassifier": _ridge,
    "RidgeClassifierCV": _ridge,
    "LinearRegression": _least_squares,
    "BayesianRidge": _bayesian,
    "PoissonRegressor": _poisson,
    "MLPClassifier": _perceptron,
    "MLPRegressor": _perceptron,
}
"""By the name of the estimator's class or of one that it extends: of a fitted one, n and the mean of the
weights, what it minimises."""

_HINGE = (
    "has a loss with a corner, hence no Hessian; fit a LogisticRegression to the same features, whose margin"
    " says the same, and pass that"
)
_L1 = (
    "has an L1 penalty, which is not twice differentiable; refit Ridge or LinearRegression on the columns"
    " whose coefficient is not 0, and pass that"
)
REFUSED = {
    "CalibratedClassifierCV": "averages classifiers that have each seen other points; pass the classifier"
    " that it calibrates, fitted to all points, or, " + OUT_OF_FOLD,
    "LinearSVC": _HINGE,
    "LinearSVR": "has a loss with a corner, hence no Hessian; fit Ridge to the same features, and pass that",
    "SVC": _HINGE,
    "NuSVC": _HINGE,
    "Perceptron": _HINGE,
    "PassiveAggressiveClassifier": _HINGE,
    "ElasticNet": _L1,  # Lasso is one
    "LassoCV": _L1,
    "ElasticNetCV": _L1,
    "Lars": _L1,
    "NeuralNet": "wraps a torch model; pass that, its module_, with the data as it takes them",  # skorch's
}
"""What the message goes on to say after the estimator's name."""
