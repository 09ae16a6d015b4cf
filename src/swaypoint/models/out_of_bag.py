"""Probabilities of each point from trees that have not seen it: randomised trees, out of bag.

On tables trees often predict better than a perceptron, and good out-of-sample probabilities are what finds
wrong labels (docs/tables.md measures both). Trees have no gradient: they serve beside the model that gives
influence, not in its place. Each is grown on points drawn with replacement, and a point is judged by those
that did not draw it (Breiman, 2001): a wrong label convinces no tree that judges it, and takes few of the
others along. Every other tree is split at random places (Geurts, Ernst & Wehenkel, 2006), the rest at the
best: the first are the better where many columns tell a little, the second where few tell all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from swaypoint.data.parallel import ordered_map
from swaypoint.errors import require

TREES, FEWEST = 300, 100
"""Trees of up to :data:`SMALL` points; of more so many fewer, but not below the second number."""
SMALL = 8_000
DRAWN = 20_000
"""Points that a tree draws at most."""
_ROWS = 1 << 16


def trees_for(points: int) -> int:
    """How many trees.

    >>> trees_for(1_000), trees_for(16_000), trees_for(10**7)
    (300, 150, 100)
    """
    return max(FEWEST, min(TREES, TREES * SMALL // points))


def out_of_bag(
    inputs: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    *,
    classes: int,
    seed: int = 0,
    trees: int | None = None,
    on_tree: Callable[[int, int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Mean probabilities by the trees that have not seen a point, with one vote more that is for all classes
    alike, so that none is impossible.

    Args:
        inputs: (n, D) numbers; NaN: missing.
        labels: (n,) integers in 0 … ``classes`` - 1.
        others: (m, D), points that no tree sees.
        trees: None takes :func:`trees_for`.
        on_tree: called with the trees grown and their number after each.

    Returns:
        (n, C) and (m, C) float32; rows sum to one.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    module = require("sklearn.tree", "sklearn")
    n, count = len(labels), trees or trees_for(len(labels))

    def grown(one: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        generator = np.random.default_rng((seed, one))
        drawn = generator.integers(n, size=min(n, DRAWN))
        kind = module.DecisionTreeClassifier if one % 2 else module.ExtraTreeClassifier
        tree = kind(max_features="sqrt", random_state=int(generator.integers(2**31)))
        tree.fit(inputs[drawn], labels[drawn])
        left = np.setdiff1d(np.arange(n), drawn)
        return left, tree.classes_, _judged(tree, inputs, left), _judged(tree, others, np.arange(len(others)))

    votes, of_others = np.full((n, classes), 1.0 / classes), np.full((len(others), classes), 1.0 / classes)
    for done, (left, known, p, q) in enumerate(ordered_map(grown, range(count), torch.device("cpu")), 1):
        votes[np.ix_(left, known)] += p
        of_others[:, known] += q
        if on_tree is not None:
            on_tree(done, count)
    return _shares(votes), _shares(of_others)


def _judged(tree: Any, inputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """``(len(rows), K)`` float64, of the classes that the tree has seen; a block of rows at a time."""
    blocks = [tree.predict_proba(inputs[rows[at : at + _ROWS]]) for at in range(0, len(rows), _ROWS)]
    return np.concatenate(blocks) if blocks else np.empty((0, len(tree.classes_)))


def _shares(votes: np.ndarray) -> np.ndarray:
    return np.asarray(votes / votes.sum(1, keepdims=True), dtype=np.float32)
