"""Find the training points that sway a model: rank every point of a dataset by Cook's distance."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swaypoint.api import TopInfluences, cooks_distance, cooks_distance_from_features, influence
    from swaypoint.auditing.audit import audit
    from swaypoint.auditing.options import AuditOptions, Scale
    from swaypoint.data.dataset import ReadOptions
    from swaypoint.errors import InputError, MissingExtra
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.models.predictor import ModelOptions, Objective
    from swaypoint.models.recording import InfluenceRecorder
    from swaypoint.scorers import methods, scores
    from swaypoint.scoring.last_layer import LinearHead
    from swaypoint.scoring.ranking import Ranking
    from swaypoint.scoring.trained_model import Checkpoint, TrainedModel
    from swaypoint.scoring.wrong_labels import WrongLabels, wrong_labels

__version__ = "0.2.0"

# Loaded on first use, so that `import swaypoint` costs milliseconds.
_HOME = {
    "AuditFolder": "folder.audit_folder",
    "AuditOptions": "auditing.options",
    "Checkpoint": "scoring.trained_model",
    "InfluenceRecorder": "models.recording",
    "InputError": "errors",
    "LinearHead": "scoring.last_layer",
    "MissingExtra": "errors",
    "ModelOptions": "models.predictor",
    "Objective": "models.predictor",
    "Ranking": "scoring.ranking",
    "ReadOptions": "data.dataset",
    "Scale": "auditing.options",
    "TopInfluences": "api",
    "TrainedModel": "scoring.trained_model",
    "WrongLabels": "scoring.wrong_labels",
    "audit": "auditing.audit",
    "cooks_distance": "api",
    "cooks_distance_from_features": "api",
    "influence": "api",
    "methods": "scorers",  # the earlier name of scores
    "scores": "scorers",
    "wrong_labels": "scoring.wrong_labels",
}
__all__ = [
    "AuditFolder",
    "AuditOptions",
    "Checkpoint",
    "InfluenceRecorder",
    "InputError",
    "LinearHead",
    "MissingExtra",
    "ModelOptions",
    "Objective",
    "Ranking",
    "ReadOptions",
    "Scale",
    "TopInfluences",
    "TrainedModel",
    "WrongLabels",
    "__version__",
    "audit",
    "cooks_distance",
    "cooks_distance_from_features",
    "influence",
    "methods",
    "scores",
    "wrong_labels",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'swaypoint' has no attribute {name!r}")
    return getattr(importlib.import_module(f"swaypoint.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
