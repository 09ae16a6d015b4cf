"""Estimators, one related family a file; importing the package registers them all."""

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
from swaypoint.scorers.base import Method, methods, register
from swaypoint.scoring.trained_model import Checkpoint, Course, TrainedModel

__all__ = [
    "Checkpoint",
    "Course",
    "Method",
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
    "tracin",
    "vae_tracin",
]
