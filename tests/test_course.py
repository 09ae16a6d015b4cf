"""Scores of the course of a training, against counts by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from swaypoint import InputError
from swaypoint.scorers import scores
from swaypoint.scoring.trained_model import Course, TrainedModel

MARGINS = np.array([[1.0, -1.0, 2.0, -1.0], [-1.0, -1.0, 1.0, 1.0], [-1.0, -2.0, -1.0, -3.0]])


def trained(course):
    return TrainedModel(nn.Linear(2, 2), (torch.randn(3, 2), torch.tensor([0, 1, 1])), course=course)


def test_forgetting_counts_falls():
    score = scores["forgetting"].score(trained(Course(MARGINS, np.abs(MARGINS))))
    assert score.tolist() == [2.0, 0.0, 4.0]


def test_area_under_margin_puts_the_smallest_first():
    score = scores["area_under_margin"].score(trained(Course(MARGINS.astype(np.float32), MARGINS)))
    assert score.tolist() == [-0.25, 0.0, 1.75]


@pytest.mark.parametrize("name", ["forgetting", "area_under_margin"])
def test_a_training_that_was_not_recorded_is_said(name):
    with pytest.raises(InputError, match=f"{name} needs the course"):
        scores[name].score(trained(None))
