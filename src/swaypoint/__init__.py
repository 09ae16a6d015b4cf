"""Find the training points that sway a model: rank every point of a dataset by Cook's distance."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from swaypoint.api import TopInfluences, cooks_distance, cooks_distance_from_features, influence
    from swaypoint.auditing.audit import audit
    from swaypoint.errors import InputError, MissingExtra
    from swaypoint.estimators import Checkpoint, TrainedModel, methods
    from swaypoint.heads import LinearHead
    from swaypoint.ranking import Ranking
    from swaypoint.recording import InfluenceRecorder

__version__ = "0.1.0"

# Loaded on first use, so that `import swaypoint` costs milliseconds.
_HOME = {
    "Checkpoint": "estimators",
    "InfluenceRecorder": "recording",
    "LinearHead": "heads",
    "Ranking": "ranking",
    "TopInfluences": "api",
    "TrainedModel": "estimators",
    "cooks_distance": "api",
    "cooks_distance_from_features": "api",
    "influence": "api",
    "methods": "estimators",
    "audit": "auditing.audit",
    "InputError": "errors",
    "MissingExtra": "errors",
}
__all__ = [
    "Checkpoint",
    "InfluenceRecorder",
    "InputError",
    "LinearHead",
    "MissingExtra",
    "Ranking",
    "TopInfluences",
    "TrainedModel",
    "__version__",
    "audit",
    "cooks_distance",
    "cooks_distance_from_features",
    "influence",
    "methods",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'swaypoint' has no attribute {name!r}")
    return getattr(importlib.import_module(f"swaypoint.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
