"""Every score of the comparison, of one trained model or of several that see the same labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from swaypoint.data.batches import ArrayBatches
from swaypoint.errors import require
from swaypoint.estimators import Course, TrainedModel, methods
from swaypoint.heads import LinearHead
from swaypoint.risks.linear_head import HeadWeights
from swaypoint.risks.losses import as_loss
from swaypoint.scoring import Influence
from swaypoint.studies.cifar10.cells import fold_of
from swaypoint.studies.cifar10.learning import Learned

_METHODS = (
    "cooks_distance",
    "finite_removal",
    "loss",
    "leave_one_out_loss",
    "margin",
    "confidence",
    "gradient_norm",
    "representer_l2",
    "knn",
    "area_under_margin",
    "forgetting",
)


def head_of(learned: Learned) -> HeadWeights:
    """The trained head, with the ridge that it was trained with."""
    recipe = learned.cell.recipe()
    # A decoupled decay is no ridge, and neither is the l1 part twice differentiable.
    ridge = recipe.decay if recipe.optimizer != "adamw" else 0.0
    if recipe.elastic is not None:
        ridge += recipe.elastic.l2
    loss = as_loss("cross_entropy")
    return HeadWeights(learned.weight.double(), learned.bias.double(), loss, ridge, penalize_bias=False)


def trained_model(learned: Learned) -> TrainedModel:
    """As the estimators take it: features in place of images."""
    features = ArrayBatches(learned.features, learned.given)
    return TrainedModel(
        LinearHead(head_of(learned)),
        (learned.features, learned.given),
        features=features,
        course=Course(learned.margins, learned.losses),
    )


def scores_of(learned: Learned) -> dict[str, np.ndarray]:
    """Each ``(n,)`` float64, large: look at it first."""
    trained = trained_model(learned)
    found = {}
    for name in _METHODS:
        score = methods[name].score
        assert score is not None
        found[name] = score(trained)
    if learned.tracin is not None:
        found["tracin"] = learned.tracin.astype(np.float64)
    found["cleanlab_left_out"] = cleanlab_order(
        learned.given, softmax(trained.influence.scores(keep_logits=True).loo_logits)
    )
    return found


def softmax(logits: np.ndarray | None) -> np.ndarray:
    assert logits is not None
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def cleanlab_order(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """cleanlab's own ranking (Northcutt, Jiang & Chuang, 2021): the issues that it finds first, each part
    by its label quality.

    Raises:
        MissingExtra: cleanlab is not installed.
    """
    found = require("cleanlab.filter", "study").find_label_issues(labels, probabilities, n_jobs=1)
    quality = require("cleanlab.rank", "study").get_label_quality_scores(labels, probabilities)
    return found.astype(np.float64) - quality


def cross_validated(folds: Sequence[Learned]) -> dict[str, np.ndarray]:
    """Scores of each point by the model that was not trained on it; ``folds`` in order."""
    n = len(folds[0].given)
    fold, labels = fold_of(n), folds[0].given
    logits, cook = np.empty((n, folds[0].weight.shape[0])), np.empty(n)
    for number, learned in enumerate(folds):
        out, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        head = head_of(learned)
        logits[out] = torch.nn.functional.linear(learned.features[out].double(), head.weight, head.bias)
        influence = Influence(head, ArrayBatches(learned.features[kept], labels[kept]), dtype=torch.float64)
        parts = [part for _, part in influence.cook(ArrayBatches(learned.features[out], labels[out]))]
        cook[out] = torch.cat(parts).numpy()
    shifted = logits - logits.max(1, keepdims=True)
    loss = np.log(np.exp(shifted).sum(1)) - shifted[np.arange(n), labels]
    return {
        "cleanlab": cleanlab_order(labels, softmax(logits)),
        "out_of_fold_loss": loss,
        "out_of_fold_cook": cook,
    }
