"""Every score of the comparison, of one trained model or of several that see the same labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.batches import ArrayBatches
from swaypoint.scorers.base import of_points
from swaypoint.scorers.recommended import of_training
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import by_heart
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.scores import Scores
from swaypoint.scoring.trained_model import TrainedModel
from swaypoint.studies.cifar10.learning import Learned
from swaypoint.studies.cifar10.trainings import fold_of
from swaypoint.studies.peers import cleanlab_order

_NAMES = (
    "loss",
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
    """As the scores take it: features in place of images."""
    features = ArrayBatches(learned.features, learned.given)
    return TrainedModel(
        LinearHead(head_of(learned)),
        (learned.features, learned.given),
        features=features,
        course=learned.course,
    )


def solved(learned: Learned) -> tuple[TrainedModel, Scores]:
    """The model, and what one pass says of its points: of wide features a pass is most of the work."""
    trained = trained_model(learned)
    return trained, trained.influence.scores(removal="finite", probabilities=True)


def scores_of(learned: Learned, trained: TrainedModel, left_out: Scores) -> dict[str, np.ndarray]:
    """Each ``(n,)`` float64, large: look at it first. A model without a ridge has no representer values."""
    assert left_out.first_order is not None
    assert left_out.probabilities is not None
    found = {
        "cooks_distance": left_out.first_order,
        "finite_removal": left_out.cook,
        "auto": recommended_of(learned, left_out),
        "leave_one_out_loss": left_out.loo_loss,
        "cleanlab_left_out": cleanlab_order(learned.given, left_out.probabilities),
    }
    # Its tables call the margin of the logits so from the first.
    found["margin"] = of_points("logit_margin")(trained)
    for name in _NAMES:
        if name == "representer_l2" and not trained.head.weights.l2:
            continue
        found[name] = of_points(name)(trained)
    if learned.tracin is not None:
        found["tracin"] = learned.tracin.astype(np.float64)
    return found


def recommended_of(learned: Learned, left_out: Scores) -> np.ndarray:
    """The recommended score as an audit has it, which checks the gap to the points held out, a quarter as
    many; of a snapshot, to the test images."""
    accuracy = learned.facts["accuracy"]
    held = accuracy.get("held", accuracy["test"])
    known = by_heart(accuracy["training"], held, len(learned.given) // 4)
    assert left_out.probabilities is not None
    return of_training(left_out.probabilities, learned.given, learned.course, by_heart=known).score


def logits_of(learned: Learned) -> Tensor:
    """The model's logits of each point, ``(n, 10)`` float64."""
    head = head_of(learned)
    return torch.nn.functional.linear(learned.features.double(), head.weight, head.bias)


def cross_validated(folds: Sequence[Learned]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Scores and class of each point by the model that was not trained on it; ``folds`` in order."""
    labels, fold = folds[0].given, fold_of(len(folds[0].given))
    logits, cook = torch.empty_like(logits_of(folds[0])), np.empty(len(labels))
    for number, learned in enumerate(folds):
        out, kept = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        logits[out] = logits_of(learned)[out]
        training = ArrayBatches(learned.features[kept], labels[kept])
        influence = Influence(head_of(learned), training, dtype=torch.float64)
        parts = [part for _, part in influence.cook(ArrayBatches(learned.features[out], labels[out]))]
        cook[out] = torch.cat(parts).numpy()
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels), reduction="none")
    scores = {
        "cleanlab": cleanlab_order(labels, logits.softmax(1).numpy()),
        "out_of_fold_loss": loss.numpy(),
        "out_of_fold_cook": cook,
    }
    return scores, logits.argmax(1).numpy()
