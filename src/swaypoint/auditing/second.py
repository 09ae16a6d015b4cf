"""A second view of a table's labels: randomised trees, out of bag, beside the perceptron for influence.

docs/tables.md has what they add to the recommended score.
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
from swaypoint.models.out_of_bag import out_of_bag
from swaypoint.models.predictor import Rows, resolve
from swaypoint.scorers.recommended import Part, expecting, geometric_mean, recommended, temperature, tempered
from swaypoint.scoring.wrong_labels import WrongLabels

NAME = "randomised trees"
_FEW = 50
"""Points below which there is too little of each class to split and to learn from."""
_MANY = 50_000_000
"""Probabilities beyond which there are no trees."""


@dataclass(frozen=True, eq=False)
class SecondView:
    """What a second model says of the labels.

    Attributes:
        parts: its probabilities of the points trained on, out of bag, and of those held out, where there are
            any, with the labels as given.
        model: which, and its accuracy on the latter.
    """

    parts: Sequence[Part]
    model: SecondModel

    def wrong(self, first: Sequence[Part]) -> list[WrongLabels] | None:
        """Which labels are wrong of each part: by this model alone where it is right on as many of the points
        held out as the first model; else by the geometric mean of the two, unless the first alone predicts
        those better: then None. How many are wrong this model says, as it has learnt none of the labels that
        it judges.

        Args:
            first: the same parts by the first model.
        """
        own = recommended(self.parts)
        if len(first) > 1 and _right(self.parts[1]) >= _right(first[1]):
            return own
        pairs = zip(first, self.parts, strict=True)
        mean = [(geometric_mean((p, q)), labels) for (p, labels), (q, _) in pairs]
        if len(first) > 1 and _loss(mean[1]) > _loss(first[1]):
            return None
        return expecting(mean, own)


def _right(part: Part) -> int:
    probabilities, labels = part
    return int((probabilities.argmax(1) == labels).sum())


def _loss(part: Part) -> float:
    """Mean negative log likelihood of the labels, at the temperature where it is the least."""
    probabilities, labels = part
    p = tempered(probabilities, temperature(probabilities, labels))
    return -float(np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-9)).mean())


def second_view(dataset: Dataset, rows: Rows, options: AuditOptions, run: AuditRun) -> SecondView | None:
    """Of a table of classes that a default perceptron is trained on; None of other data, without
    scikit-learn, of few points, and where the probabilities would not fit in memory."""
    if dataset.kind != "rows" or not dataset.classes or find_spec("sklearn") is None:
        return None
    classes, labels = len(dataset.classes), dataset.labels
    if any(resolve(one, dataset) != "mlp" for one in options.model.each()):
        return None
    if len(rows.train) < _FEW or len(dataset) * classes > _MANY:
        return None
    given, held = labels[rows.train], labels[rows.validation]
    with run.stage(NAME):
        known, others = out_of_bag(
            dataset.inputs[rows.train],
            given,
            dataset.inputs[rows.validation],
            classes=classes,
            seed=options.seed,
            on_tree=run.listener.records,
        )
    if not len(held):
        return SecondView([(known, given)], SecondModel(NAME, None))
    parts = [(known, given), (others, held)]
    return SecondView(parts, SecondModel(NAME, _right(parts[1]) / len(held)))
