"""Pretrained backbones: records in, features out. A family is one file; all in :data:`families`."""

from swaypoint.models.pretrained import hf, m2v, onnx, st, timm
from swaypoint.models.pretrained.base import Backbone, Encoder, Family, families, find, is_pretrained
from swaypoint.models.pretrained.features import features

__all__ = [
    "Backbone",
    "Encoder",
    "Family",
    "families",
    "features",
    "find",
    "hf",
    "is_pretrained",
    "m2v",
    "onnx",
    "st",
    "timm",
]
