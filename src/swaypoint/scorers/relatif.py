"""RelatIF: influence relative to what a point does to the whole model (Barshan, Brunet & Dziugaite,
AISTATS 2020).

Plain influence finds outliers, whatever the test point: they move everything. Relative influence asks
for the effect on the test loss per unit of movement, and finds points that bear on this test point.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scorers.base import Score, register
from swaypoint.scorers.influence import influence
from swaypoint.scoring.trained_model import TrainedModel


def relatif_theta(trained: TrainedModel, test: Any) -> np.ndarray:
    """g(z')^T H^-1 g(z) / ||H^-1 g(z)||: the effect per unit of change of the parameters.

    The theta-relative influence of Barshan et al., 2020, with :attr:`Score.on`'s sign: positive for
    proponents. A point without a gradient has no influence: 0.

    Args:
        test: points to explain, in the form of the training data.

    Returns:
        ``(n_test, n)`` float64.
    """
    queries = torch.cat(list(trained.gradients(test)))
    columns = []
    for rows in trained.gradients():
        solved = trained.inverse.solve(rows.T).value
        columns.append(_relative((queries @ solved).double(), solved.double().norm(dim=0)))
    return torch.cat(columns, 1).cpu().numpy()


def relatif_loss(trained: TrainedModel, test: Any) -> np.ndarray:
    """g(z')^T H^-1 g(z) / sqrt(g(z)^T H^-1 g(z)): the effect per unit of change of the training losses.

    The l-relative influence of Barshan et al., 2020, with :attr:`Score.on`'s sign: positive for
    proponents. A point without a gradient has no influence: 0.

    Args:
        test: points to explain, in the form of the training data.

    Returns:
        ``(n_test, n)`` float64.

    Raises:
        InputError: a point's self-influence is negative, as with an indefinite curvature.
    """
    squares = torch.cat([trained.inverse.quadratic(rows).value for rows in trained.gradients()])
    if bool((squares < 0).any()):
        row = int((squares < 0).nonzero()[0])
        raise InputError(
            f"the self-influence of row {row} is negative ({float(squares[row]):.3g}) and has no root; use"
            " curvature='ggn', solver='exact' or more damping"
        )
    return _relative(torch.from_numpy(influence(trained, test)), squares.sqrt().cpu()).numpy()


def _relative(effects: Tensor, sizes: Tensor) -> Tensor:
    return torch.where(sizes > 0, effects / sizes, 0.0)


register(
    Score(
        "relatif_theta",
        "Barshan, Brunet & Dziugaite, AISTATS 2020",
        "influence per unit of change of the parameters",
        on=relatif_theta,
    )
)
register(
    Score(
        "relatif_loss",
        "Barshan, Brunet & Dziugaite, AISTATS 2020",
        "influence per unit of change of the training losses",
        on=relatif_loss,
    )
)
