"""The ridge of a refitted head, chosen by what it predicts of left-out points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from swaypoint.data.batches import FeatureBatches
from swaypoint.refit import Refit, refit_head
from swaypoint.risks.linear_head import HeadWeights
from swaypoint.scoring import Influence

RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def refit_ridge(
    head: HeadWeights,
    data: FeatureBatches,
    *,
    ridges: Sequence[float] = RIDGES,
    device: torch.device | str = "cpu",
) -> Refit:
    """The head at the optimum of its mean loss plus that ridge of ``ridges`` whose left-out points have the
    least mean loss, each by one Newton step from the optimum (approximate leave-one-out: Rad & Maleki,
    2020).

    The cost is a refit and an exact curvature a ridge.

    Raises:
        InputError: the data cannot be used.
    """
    best, least, start = None, torch.inf, head
    for ridge in sorted(ridges, reverse=True):
        fitted = refit_head(replace(start, l2=ridge), data, device=device)
        start = fitted.head
        influence = Influence(fitted.head, data, dtype=torch.float64, device=device)
        loss = float(influence.scores().loo_loss.mean())
        if loss < least:
            best, least = fitted, loss
    assert best is not None
    return best
