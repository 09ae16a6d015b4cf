"""A score: the length of a point's features."""

import numpy as np
import torch

from swaypoint.scorers import Score, TrainedModel


def length(trained: TrainedModel) -> np.ndarray:
    """(n,) float64, in the order of the training data; large: look at it first."""
    return torch.cat([chunk.features.norm(dim=0) for chunk in trained.points()]).cpu().numpy()


toy = Score("toy", "this package", "length of the features", score=length)
