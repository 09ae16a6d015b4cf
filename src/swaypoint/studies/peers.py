"""What others do with the same labels: cleanlab, on probabilities of models that have not seen a point, and
the area under the margin by mislabeled."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import numpy as np

from swaypoint.errors import require
from swaypoint.models.out_of_fold import SETTINGS


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


MARGINS = "mislabeled"
"""The package, from github.com/Orange-OpenSource/mislabeled; no index has it."""
_EVERY = 10


def margins_installed() -> bool:
    """Whether :func:`area_under_margin_of_trees` can be had."""
    return find_spec(MARGINS) is not None


def area_under_margin_of_trees(inputs: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """mislabeled's area under the margin (Pleiss et al., 2020) over every tenth round of the boosted trees of
    :mod:`swaypoint.models.out_of_fold`, ``(n,)`` float64, large: look at it first."""
    trees = require("sklearn.ensemble", "study").HistGradientBoostingClassifier(random_state=seed, **SETTINGS)
    detectors = import_module(f"{MARGINS}.detect.detectors")
    return -detectors.AreaUnderMargin(trees, steps=_EVERY).trust_score(inputs, labels)
