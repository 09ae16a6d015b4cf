"""Why a point is influential: mislabeled, on the boundary, in a sparse region, an outlier, or none of these.

Cook's distance is large for all three (Picard et al., 2022); leave-one-out margin, leverage and the
neighbours in feature space tell them apart. A suggestion: the person decides.
"""

from __future__ import annotations

import numpy as np

KINDS = ("mislabeled", "boundary", "under-represented", "typical")
REGRESSION_KINDS = ("outlier", "high-leverage", "bad-leverage", "typical")
"""Of a regression's points, after Rousseeuw & van Zomeren (1990); ``bad-leverage`` is both."""
SUSPECT = frozenset({"mislabeled", "outlier", "bad-leverage"})
"""Kinds that doubt the label."""
OUTLIER = 3.0
"""Studentised residuals beyond this, either way, are outliers: 0.3 % of normal ones."""
BOUNDARY = 0.5
"""A leave-one-out margin this small, either way, is close to the decision boundary."""
SPARSE = 3.0
"""Leverage beyond this multiple of its mean (which is p / n): Velleman & Welsch (1981) use 3."""


def suggest_kinds(
    margin: np.ndarray,
    leverage: np.ndarray,
    *,
    agreement: np.ndarray | None = None,
    mean_leverage: float | None = None,
) -> np.ndarray:
    """One of :data:`KINDS` per point.

    Mislabeled: left out, the point gets another class with a clear margin, and (where known) most
    neighbours carry another label. Boundary: the margin is small, or the neighbours contradict the
    model. Under-represented: high leverage. Else typical.

    Args:
        margin: leave-one-out margins ``(n,)``; NaN for losses without classes.
        leverage: ``(n,)``.
        agreement: share of neighbours with the same label ``(n,)``, NaN where unknown.
        mean_leverage: of all points, where these are not all.

    >>> suggest_kinds(np.array([-0.9, 0.1, 1.0, 1.0]), np.array([0.1, 0.1, 0.9, 0.1])).tolist()
    ['mislabeled', 'boundary', 'under-represented', 'typical']
    """
    sparse = _sparse(leverage, mean_leverage)
    kinds = np.where(sparse, "under-represented", "typical").astype("<U17")
    near = np.abs(margin) < BOUNDARY  # False for NaN
    kinds[near] = "boundary"
    wrong = margin <= -BOUNDARY
    contradicted = wrong & (agreement > 0.5) if agreement is not None else np.zeros_like(wrong)
    kinds[wrong] = "mislabeled"
    kinds[contradicted] = "boundary"
    return kinds


def suggest_regression_kinds(
    studentised: np.ndarray, leverage: np.ndarray, *, mean_leverage: float | None = None
) -> np.ndarray:
    """One of :data:`REGRESSION_KINDS` per point.

    Args:
        studentised: residuals ``(n,)``; NaN at leverage one, where nothing can be said.
        leverage, mean_leverage: as for :func:`suggest_kinds`.

    >>> residuals, leverage = np.array([-4.0, 0.1, 5.0, 1.0, 0.0]), np.array([0.1, 0.9, 0.9, 0.1, 0.1])
    >>> suggest_regression_kinds(residuals, leverage, mean_leverage=0.2).tolist()
    ['outlier', 'high-leverage', 'bad-leverage', 'typical', 'typical']
    """
    outlier, sparse = np.abs(studentised) > OUTLIER, _sparse(leverage, mean_leverage)
    return np.select(
        [outlier & sparse, outlier, sparse], ["bad-leverage", "outlier", "high-leverage"], "typical"
    )


def _sparse(leverage: np.ndarray, mean: float | None) -> np.ndarray:
    if mean is None:
        mean = float(leverage.mean()) if len(leverage) > 4 else 0.5 / SPARSE
    return leverage > SPARSE * mean
