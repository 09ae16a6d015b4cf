"""Scores without influence, to compare with: what one look at the predictions or at the neighbours says.

All are of the last layer, whatever ``params`` say, and in dataset order; large: look at it first.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from swaypoint.data.neighbours import neighbours
from swaypoint.errors import InputError
from swaypoint.scorers.base import Score, register
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.trained_model import TrainedModel

NEIGHBOURS = 10


def class_logits(logits: Tensor, loss: Loss, name: str) -> Tensor:
    """One logit a class, ``(b, classes)``: those of a softmax as they are, ``(0, z)`` for the single logit
    z of a binary classifier.

    Raises:
        InputError: ``loss`` has no classes, or several labels a point; ``name`` is the score that asked.
    """
    if not loss.classifies or (loss.separable and logits.shape[1] > 1):
        raise InputError(
            f"{name} needs one class a point, and {loss.name!r} with {logits.shape[1]} outputs has none; use"
            " loss='cross_entropy', or the score 'loss' or 'cooks_distance'"
        )
    return torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits


def losses(trained: TrainedModel) -> np.ndarray:
    """The point's loss, without the ridge, ``(n,)`` float64."""
    return trained.of_points(lambda chunk: chunk.terms.value).cpu().numpy()


def logit_margin(trained: TrainedModel) -> np.ndarray:
    """The largest other logit minus the label's, ``(n,)`` float64; positive: the model contradicts.

    Raises:
        InputError: the loss has no classes.
    """

    def of(chunk: Chunk) -> Tensor:
        logits, labels = _labelled(trained, chunk, "logit_margin")
        others = logits.T.scatter(0, labels.T, -torch.inf).amax(0)  # as they lie in memory
        return others - logits.gather(1, labels).squeeze(1)

    return trained.of_points(of).cpu().numpy()


def confidence(trained: TrainedModel) -> np.ndarray:
    """1 - p_y, the model's want of confidence in the label, ``(n,)`` float64.

    Raises:
        InputError: the loss has no classes.
    """

    def of(chunk: Chunk) -> Tensor:
        logits, labels = _labelled(trained, chunk, "confidence")
        # The sum of the others: 1 - p_y has no digits left for a confident point.
        return logits.softmax(1).scatter(1, labels, 0.0).sum(1)

    return trained.of_points(of).cpu().numpy()


def knn(trained: TrainedModel) -> np.ndarray:
    """Share of the 10 nearest other points with another label, ``(n,)`` float64.

    In the last layer's feature space as :class:`swaypoint.data.neighbours.Space` measures it.

    Raises:
        InputError: the loss has no classes.
    """
    width, features, labels = trained.head.weights.weight.shape[1], [], []
    for chunk in trained.points():
        class_logits(chunk.logits, trained.head.weights.loss, "knn")
        features.append(chunk.features[:width].T.float())  # half the memory, and what neighbours computes in
        labels.append(trained.head.weights.loss.labels(chunk.targets))
    given = torch.cat([part for part in labels if part is not None]).cpu().numpy()
    found = neighbours(torch.cat(features).cpu(), given, np.arange(len(given)), k=NEIGHBOURS)
    return 1.0 - found.agreement


def _labelled(trained: TrainedModel, chunk: Chunk, name: str) -> tuple[Tensor, Tensor]:
    """Logits ``(b, classes)`` and labels ``(b, 1)`` of some points; ``name`` is the score that asks."""
    loss = trained.head.weights.loss
    logits, labels = class_logits(chunk.logits, loss, name), loss.labels(chunk.targets)
    assert labels is not None  # class_logits has seen to it
    return logits, labels.unsqueeze(1)


register(Score("loss", "none", "loss of the point", score=losses, pointwise=True))
register(
    Score(
        "logit_margin",
        "none",
        "largest other logit minus the label's",
        score=logit_margin,
        pointwise=True,
        classes=True,
    )
)
register(
    Score(
        "confidence",
        "none",
        "1 - probability of the label",
        score=confidence,
        pointwise=True,
        classes=True,
    )
)
register(Score("knn", "none", "share of the nearest neighbours with another label", score=knn, classes=True))
