"""Estimators, one related family a file; importing the package registers them all."""

from swaypoint.estimators import influence
from swaypoint.estimators.base import Checkpoint, Method, TrainedModel, methods, register

__all__ = ["Checkpoint", "Method", "TrainedModel", "influence", "methods", "register"]
