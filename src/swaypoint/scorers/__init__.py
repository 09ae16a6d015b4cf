"""Scores beside Cook's distance, one related family a file; importing the package registers them all."""

from swaypoint.scorers import (
    baselines,
    boundary,
    course,
    discriminative_jackknife,
    groups,
    influence,
    jackknife,
    leave_one_out,
    recommended,
    relatif,
    representer,
    tracin,
    vae_tracin,
)
from swaypoint.scorers.base import Score, register, scores
from swaypoint.scoring.trained_model import Checkpoint, Course, TrainedModel

methods = scores  # the earlier name

__all__ = [
    "Checkpoint",
    "Course",
    "Score",
    "TrainedModel",
    "baselines",
    "boundary",
    "course",
    "discriminative_jackknife",
    "groups",
    "influence",
    "jackknife",
    "leave_one_out",
    "methods",
    "recommended",
    "register",
    "relatif",
    "representer",
    "scores",
    "tracin",
    "vae_tracin",
]
