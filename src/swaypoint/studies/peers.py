"""What others do with the same labels: cleanlab, on probabilities of models that have not seen a point."""

from __future__ import annotations

import numpy as np

from swaypoint.errors import require


def cleanlab_order(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """cleanlab's own ranking (Northcutt, Jiang & Chuang, 2021): the issues that it finds first, each part
    by its label quality.

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    found = require("cleanlab.filter", "study").find_label_issues(labels, probabilities, n_jobs=1)
    quality = require("cleanlab.rank", "study").get_label_quality_scores(labels, probabilities)
    return found.astype(np.float64) - quality


def cleanlab_margin(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """cleanlab's normalised margin, large: look at it first.

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    rank = require("cleanlab.rank", "study")
    return -rank.get_label_quality_scores(labels, probabilities, method="normalized_margin")
