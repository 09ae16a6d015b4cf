"""The first of a ranking, without ranking the rest."""

from __future__ import annotations

import numpy as np


def top_of(scores: np.ndarray, k: int) -> np.ndarray:
    """Positions of the ``k`` largest along the last axis, the largest first, of equal ones the first first;
    NaN comes after every number: ``(.., n) -> (.., min(k, n))`` int64.

    >>> top_of(np.array([2.0, 5.0, np.nan, 5.0]), 3).tolist()
    [1, 3, 0]
    """
    values = np.where(np.isnan(scores), -np.inf, scores)
    n = values.shape[-1]
    index = np.broadcast_to(np.arange(n), values.shape)
    if k < n:
        least = np.partition(values, n - k, axis=-1)[..., n - k, None]
        above, level = values > least, values == least
        chosen = above | (level & (level.cumsum(-1) <= k - above.sum(-1, keepdims=True)))
        index = index[chosen].reshape(*values.shape[:-1], k)
    order = np.argsort(-np.take_along_axis(values, index, -1), axis=-1, kind="stable")
    return np.take_along_axis(index, order, -1)
