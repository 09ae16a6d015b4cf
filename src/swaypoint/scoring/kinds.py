"""Why a point is influential: mislabeled, on the boundary, in a sparse region, or none of these.

Cook's distance is large for all three (Picard et al., 2022); leave-one-out margin, leverage and the
neighbours in feature space tell them apart. A suggestion: the person decides.
"""

from __future__ import annotations

import numpy as np

KINDS = ("mislabeled", "boundary", "under-represented", "typical")
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
    if mean_leverage is None:
        mean_leverage = float(leverage.mean()) if len(leverage) > 4 else 0.5 / SPARSE
    sparse = leverage > SPARSE * mean_leverage
    kinds = np.where(sparse, "under-represented", "typical").astype("<U17")
    near = np.abs(margin) < BOUNDARY  # False for NaN
    kinds[near] = "boundary"
    wrong = margin <= -BOUNDARY
    contradicted = wrong & (agreement > 0.5) if agreement is not None else np.zeros_like(wrong)
    kinds[wrong] = "mislabeled"
    kinds[contradicted] = "boundary"
    return kinds
