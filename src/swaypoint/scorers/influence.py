"""Influence functions: Cook's distance and the influence on test points (Koh & Liang, 2017; Picard et
al., 2022)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from swaypoint.scorers.base import Score, register
from swaypoint.scoring.trained_model import TrainedModel


def cooks_distance(trained: TrainedModel) -> np.ndarray:
    """g_i^T H^-1 g_i."""
    inverse = trained.inverse
    return torch.cat([inverse.quadratic(rows).value for rows in trained.gradients()]).cpu().numpy()


def influence(trained: TrainedModel, test: Any) -> np.ndarray:
    """g(z')^T H^-1 g(z), the paper's Eq. 1 and sign."""
    solved = trained.inverse.solve(torch.cat(list(trained.gradients(test))).T).value
    return torch.cat([rows @ solved for rows in trained.gradients()]).T.double().cpu().numpy()


register(
    Score(
        "cooks_distance",
        "Picard et al., ERTS 2022, Eq. 1",
        "influence of a point on its own loss, g^T H^-1 g",
        score=cooks_distance,
        pointwise=True,
        on=influence,
    )
)
