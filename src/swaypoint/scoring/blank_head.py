"""The head that a fit starts from: zeros, as many outputs as the targets need."""

from __future__ import annotations

import torch

from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import Loss


def zero_head(outputs: int, width: int, loss: Loss, l2: float) -> HeadWeights:
    """A head of zeros of ``width`` features, with a bias that the ridge leaves free."""
    zeros = torch.zeros(outputs, width, dtype=torch.float64)
    return HeadWeights(zeros, zeros[:, 0].clone(), loss, l2, penalize_bias=False)


def blank_head(batches: FeatureBatches, loss: Loss, l2: float, *, classes: int = 0) -> HeadWeights:
    """:func:`zero_head` for these points, its outputs counted from their targets.

    Args:
        classes: known to be there, those without a point included.

    Raises:
        InputError: of a loss with an output a class, one class only, or fewer points than classes.
    """
    count, outputs, width = 0, 1, 0
    for features, targets in batches:
        width = features.shape[1]
        count += len(features)
        if targets.ndim == 2:
            outputs = targets.shape[1]
        elif loss.output_per_class and len(targets):
            outputs = max(outputs, int(targets.max()) + 1)
    if loss.output_per_class:
        if outputs < 2:
            raise InputError("every label is the same class; influence needs at least two classes")
        if count < outputs:
            raise InputError(f"{count} points for {outputs} classes; expected at least one point per class")
    return zero_head(max(outputs, loss.outputs(classes)), width, loss, l2)
