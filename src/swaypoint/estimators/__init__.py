"""Estimators, one related family a file; importing the package registers them all."""

from swaypoint.estimators import (
    baselines,
    boundary,
    course,
    discriminative_jackknife,
    groups,
    influence,
    jackknife,
    leave_one_out,
    relatif,
    representer,
    tracin,
    vae_tracin,
)
from swaypoint.estimators.base import Checkpoint, Course, Method, TrainedModel, methods, register

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
    "register",
    "relatif",
    "representer",
    "tracin",
    "vae_tracin",
]
