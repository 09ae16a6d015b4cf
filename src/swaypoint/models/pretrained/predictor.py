"""From a pretrained backbone and a dataset to an audit's predictor: features, and a convex head on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.models.predictor import (
    ModelOptions,
    Objective,
    Predictor,
    Rows,
    Training,
    with_chosen_ridge,
    with_features,
)
from swaypoint.models.pretrained.base import Encoder, find
from swaypoint.models.pretrained.features import Told, features
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.refit import ridges_of
from swaypoint.scoring.risks.head import HeadWeights


def pretrained(
    dataset: Dataset,
    parts: Rows,
    options: ModelOptions,
    objective: Objective,
    *,
    training: Training,
    whole: bool = False,
) -> Predictor:
    """The features of ``dataset`` by the backbone that ``options`` name, and a head that is to be fitted to
    them: by the ridge that is asked for, else by that which predicts left-out points best.

    Args:
        whole: also the model itself, for influence by any of its parameters.

    Raises:
        InputError: the backbone and the data do not fit, or it has no gradients where they are needed.
    """
    backbone = find(options.name, options.transform)
    told = Told(training.records, training.note)
    made = features(backbone, _records(dataset), device=training.device, told=told)
    found = with_features(backbone.name, made, dataset, parts, objective)
    found = replace(found, fingerprint=backbone.fingerprint)
    if objective.l2 is None:
        found = with_chosen_ridge(found, ridges_of(found.train), training)
    if not whole:
        return found
    encoder = backbone.load(training.device)
    head = replace(classifier(backbone.name, encoder, found.head.weights), layer="head")
    inputs, others = (
        _Prepared(encoder, _records(dataset), dataset.labels, rows, backbone.batch)
        for rows in (parts.train, parts.validation)
    )
    return replace(found, head=head, inputs=inputs, other_inputs=others)


def _records(dataset: Dataset) -> np.ndarray:
    """What an encoder reads of each record, ``(n, …)``."""
    return np.array(dataset.texts, dtype=object) if dataset.kind == "texts" else dataset.inputs


def check(options: ModelOptions, dataset: Dataset) -> None:
    """Whether a pretrained model takes such data.

    Raises:
        InputError: it does not, or brings itself what was passed for it.
    """
    backbone = find(options.name, options.transform)
    for name in ("weights", "layer"):
        if getattr(options, name) is not None:
            raise InputError(f"{backbone.name} is a model of its own; leave --{name} out")
    if dataset.kind not in backbone.takes:
        raise InputError(
            f"{backbone.name} takes {' or '.join(sorted(backbone.takes))}, and {dataset.name} holds"
            f" {dataset.kind}; leave --model out for the default"
        )


def classifier(name: str, encoder: Encoder, weights: HeadWeights) -> LinearHead:
    """The whole model with a head on it, and that head.

    Raises:
        InputError: the encoder has no gradients.
    """
    if encoder.module is None:
        raise InputError(
            f"{name} has no gradients: ONNX and static vectors only give features; leave --params out, or"
            " take the model in its own library's format by hf: or st:"
        )
    return LinearHead(weights, Classifier(encoder.module, weights), "head")


class Classifier(nn.Module):
    """A backbone and a linear head: keyword inputs to logits ``(b, C)``."""

    def __init__(self, backbone: nn.Module, weights: HeadWeights) -> None:
        super().__init__()
        self.backbone = backbone
        like = next(backbone.parameters())
        outputs, width = weights.weight.shape
        self.head = nn.Linear(width, outputs, weights.bias is not None, device=like.device, dtype=like.dtype)
        with torch.no_grad():
            self.head.weight.copy_(weights.weight)
            if weights.bias is not None:
                self.head.bias.copy_(weights.bias)

    def forward(self, **inputs: Tensor) -> Tensor:
        return self.head(self.backbone(**inputs))


@dataclass(frozen=True, eq=False)
class _Prepared:
    """Batches of (keyword inputs, labels) of the given rows, in order, re-iterable."""

    encoder: Encoder
    records: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    batch: int

    def __iter__(self) -> Iterator[tuple[dict[str, Any], Tensor]]:
        for start in range(0, len(self.rows), self.batch):
            rows = self.rows[start : start + self.batch]
            inputs = self.encoder.prepare(self.records[rows])
            yield dict(inputs), torch.from_numpy(self.labels[rows])
