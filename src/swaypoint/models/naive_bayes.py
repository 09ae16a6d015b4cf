"""Probabilities of each text from all others: multinomial naive Bayes without the text, exactly.

What a class is taken for are sums over its texts, so one text is left out by a subtraction: no fold, no
iteration, and a wrong label says nothing of itself. The terms' weights stand in for counts, each text at unit
length (Rennie et al., 2003). Its probabilities are far too sure, which a temperature mends
(:func:`swaypoint.scorers.recommended.temperature`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

SMOOTHING = 0.02
"""Added to the sum of a term's weights in each class. Of texts of unit length these are a tenth of counts, so
it is far less than Laplace's one."""


def left_out_naive_bayes(
    weights: Any, labels: np.ndarray, *, classes: int, smoothing: float = SMOOTHING
) -> np.ndarray:
    """log p(c) + sum over terms x_j log p(j | c), normalised, with p from all texts but the one judged.

    A class has (m + 1) / (n - 1 + C) of the texts, m those of the n - 1 others that are labelled so; a term
    has (F_cj + s) / (F_c + s J) of a class, F sums of the others' weights.

    Args:
        weights: x (n, J), a ``scipy.sparse.csr_array`` of numbers >= 0.
        labels: (n,) integers in 0 … ``classes`` - 1.
        smoothing: s.

    Returns:
        (n, C) float32; rows sum to one. Holds two arrays (C, J) and two (n, C) of float64.
    """
    n, terms = weights.shape
    rows, x = np.repeat(np.arange(n), np.diff(weights.indptr)), weights.data.astype(np.float64)
    own, sizes = labels[rows], np.bincount(rows, x, n)
    sums = np.bincount(own * terms + weights.indices, x, classes * terms).reshape(classes, terms)
    texts, totals = np.bincount(labels, minlength=classes), sums.sum(1)
    joint = np.asarray(weights @ np.log(sums + smoothing).T, dtype=np.float64)
    joint -= sizes[:, None] * np.log(totals + smoothing * terms)
    joint += np.log((texts + 1) / (n - 1 + classes))
    others = np.log(np.maximum(sums[own, weights.indices] - x, 0) + smoothing)  # below 0 is rounding
    joint[np.arange(n), labels] = (
        np.bincount(rows, x * others, n)
        - sizes * np.log(totals[labels] - sizes + smoothing * terms)
        + np.log(texts[labels] / (n - 1 + classes))
    )
    joint -= joint.max(1, keepdims=True)
    np.exp(joint, out=joint)
    return np.asarray(joint / joint.sum(1, keepdims=True), dtype=np.float32)
