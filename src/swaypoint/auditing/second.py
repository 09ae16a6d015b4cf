"""A second view of a table's labels: boosted trees, out of fold, beside the perceptron that gives influence.

docs/tables.md has what they add to the recommended score, and why by the geometric mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import AuditRun
from swaypoint.data.dataset import Dataset
from swaypoint.folder.manifest import SecondModel
from swaypoint.models.out_of_fold import accuracy, grown, out_of_fold_probabilities, predicted, worthwhile
from swaypoint.models.predictor import Rows, resolve

NAME = "boosted trees"


@dataclass(frozen=True, eq=False)
class SecondView:
    """What a second model says of the labels.

    Attributes:
        known: probabilities (n, C) of the points trained on, out of fold, and of the others, where there are.
        model: which, and its accuracy on the others.
    """

    known: Sequence[np.ndarray]
    model: SecondModel

    def joined(self, known: Sequence[np.ndarray]) -> list[np.ndarray]:
        """The geometric mean with the probabilities of the first model, normalised, (n, C) float32 each."""
        return [_geometric_mean(p, q) for p, q in zip(known, self.known, strict=True)]


def second_view(dataset: Dataset, rows: Rows, options: AuditOptions, run: AuditRun) -> SecondView | None:
    """Of a table of classes that a default perceptron is trained on; None of other data, without
    scikit-learn, and where trees are not worth their time."""
    if dataset.kind != "rows" or not dataset.classes or find_spec("sklearn") is None:
        return None
    classes, labels = len(dataset.classes), dataset.labels
    if any(resolve(one, dataset) != "mlp" for one in options.model.each()):
        return None
    if not worthwhile(len(rows.train), dataset.inputs.shape[1], classes):
        return None
    x, y = dataset.inputs[rows.train], labels[rows.train]
    if np.bincount(y).max() >= len(y) - 1:  # out of fold there is nothing to learn
        return None
    with run.stage(NAME):
        known = [
            out_of_fold_probabilities(x, y, seed=options.seed, classes=classes, on_fold=run.listener.records)
        ]
        if not len(rows.validation):
            return SecondView(known, SecondModel(NAME, None))
        trees = grown(x, y, seed=options.seed)
        others = dataset.inputs[rows.validation]
        known.append(predicted(trees, others, classes, len(y)))
    return SecondView(known, SecondModel(NAME, accuracy(trees, others, labels[rows.validation])))


def _geometric_mean(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    tiny = np.finfo(np.float32).tiny
    logs = 0.5 * (np.log(np.maximum(p, tiny, dtype=np.float32)) + np.log(np.maximum(q, tiny)))
    mean = np.exp(logs - logs.max(1, keepdims=True))
    return np.asarray(mean / mean.sum(1, keepdims=True), dtype=np.float32)
