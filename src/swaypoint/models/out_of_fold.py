"""Probabilities of each point from models that have not seen it: boosted trees, fold by fold.

What others take for tables, in the studies; an audit has :mod:`swaypoint.models.out_of_bag`. By
scikit-learn's histogram-based boosting, which takes missing numbers and categories as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from swaypoint.errors import InputError, require
from swaypoint.scoring.risks.weighted import sample_weights

SETTINGS: Mapping[str, Any] = {"max_iter": 100, "early_stopping": False}
"""Of ``HistGradientBoostingClassifier``; the rest are its defaults."""


def out_of_fold_probabilities(
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    classes: int | None = None,
    sample_weight: Any = None,
    categorical: Sequence[int] | None = None,
    settings: Mapping[str, Any] = SETTINGS,
    on_fold: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """The probabilities of every point's classes by trees grown on the other folds.

    Every class is dealt out evenly over the folds. A class without a point in the others gets there what
    Laplace's rule gives an outcome not seen yet, 1 / (m + C) after m points.

    Args:
        inputs: (n, D) numbers; NaN: missing.
        labels: (n,) integers in 0 … C - 1.
        folds: into how many parts the points are dealt.
        classes: C; None: as many as the labels need.
        sample_weight: (n,), of the points in the trees' loss.
        categorical: columns whose numbers are codes of categories, below 255.
        settings: of ``HistGradientBoostingClassifier``.
        on_fold: called with the folds done and their number after each.

    Returns:
        (n, C) float32; rows sum to one.

    Raises:
        InputError: the shapes do not fit, labels are no such integers, or there are fewer than two points,
            classes or folds.
        MissingExtra: scikit-learn is not installed.
    """
    x, y = np.asarray(inputs), np.asarray(labels)
    count = _checked(x, y, folds, classes)
    weights = None if sample_weight is None else sample_weights(sample_weight, len(y))
    fold, found = dealt(y, folds, seed), np.zeros((len(y), count), dtype=np.float32)
    parts = range(int(fold.max()) + 1)
    for part in parts:
        held = fold == part
        rest = None if weights is None else weights[~held]
        trees = grown(
            x[~held], y[~held], seed=seed, sample_weight=rest, categorical=categorical, settings=settings
        )
        found[held] = predicted(trees, x[held], count, int((~held).sum()))
        if on_fold is not None:
            on_fold(part + 1, len(parts))
    return found


def dealt(labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each point, (n,) int64: the points of each class, shuffled, go to one fold after the other,
    each class where the last one stopped; so folds differ by one point at most, and of each class by one.

    >>> np.bincount(dealt(np.array([0, 0, 0, 1, 1, 2]), 3, seed=0)).tolist()
    [2, 2, 2]
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), dtype=np.int64)
    fold[order] = np.arange(len(labels)) % folds
    return fold


def grown(
    inputs: np.ndarray,
    labels: np.ndarray,
    *,
    seed: int = 0,
    sample_weight: np.ndarray | None = None,
    categorical: Sequence[int] | None = None,
    settings: Mapping[str, Any] = SETTINGS,
) -> Any:
    """A ``HistGradientBoostingClassifier`` fitted to all of these points."""
    ensemble = require("sklearn.ensemble", "sklearn")
    trees = ensemble.HistGradientBoostingClassifier(
        random_state=seed, categorical_features=None if categorical is None else list(categorical), **settings
    )
    return trees.fit(inputs, labels, sample_weight=sample_weight)


def predicted(trees: Any, inputs: np.ndarray, classes: int, seen: int) -> np.ndarray:
    """Probabilities (n, C) float32 of trees that were grown on ``seen`` points, of which some classes may
    have none."""
    found = np.zeros((len(inputs), classes))
    found[:, trees.classes_] = trees.predict_proba(inputs)
    present = np.isin(np.arange(classes), trees.classes_)
    return with_absent_classes(found, present, seen).astype(np.float32)


def with_absent_classes(p: np.ndarray, present: np.ndarray, seen: int) -> np.ndarray:
    """Probabilities (n, C) of a model that has ``seen`` points, none of them of the classes that are not
    ``present``, (C,) bool: each of these gets what Laplace's rule gives an outcome not seen yet.

    >>> with_absent_classes(np.array([[0.5, 0.5, 0.0]]), np.array([True, True, False]), 7).round(2).tolist()
    [[0.45, 0.45, 0.1]]
    """
    rare = 1.0 / (seen + len(present))
    others = np.where(present, p, 0.0)
    others *= (1.0 - rare * (~present).sum()) / others.sum(1, keepdims=True)
    return np.where(present, others, rare).astype(p.dtype)


def accuracy(trees: Any, inputs: np.ndarray, labels: np.ndarray) -> float:
    """Share of held-out points whose label is the trees' first choice."""
    return float((trees.predict(inputs) == labels).mean())


def _checked(inputs: np.ndarray, labels: np.ndarray, folds: int, classes: int | None) -> int:
    """C."""
    if inputs.ndim != 2 or labels.shape != (len(inputs),):
        raise InputError(
            f"inputs have shape {inputs.shape} and labels {labels.shape}; expected (n, D) and (n,)"
        )
    if labels.dtype.kind not in "iu" or (len(labels) and labels.min() < 0):
        raise InputError("labels are not integers from 0 on; trees out of fold are for classes")
    count = int(labels.max(initial=-1)) + 1 if classes is None else classes
    if len(labels) and labels.max() >= count:
        raise InputError(f"label {int(labels.max())} is out of range for {count} classes")
    if folds < 2 or len(labels) < 2:
        raise InputError(f"{folds} folds of {len(labels)} points; expected two or more of each")
    if (np.bincount(labels) > 0).sum() < 2 or np.bincount(labels).max() == len(labels) - 1:
        raise InputError("all labels but one are the same class; out of fold there is nothing to learn")
    return count
