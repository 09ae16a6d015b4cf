"""A second view of the labels, beside the model for influence: of tables randomised trees, out of bag; of
texts naive Bayes without the text.

docs/tables.md and docs/texts.md have what they add to the recommended score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np

from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import AuditRun
from swaypoint.data.dataset import Dataset
from swaypoint.folder.manifest import SecondModel
from swaypoint.models.naive_bayes import left_out_naive_bayes
from swaypoint.models.out_of_bag import out_of_bag
from swaypoint.models.predictor import Rows, resolve
from swaypoint.models.text_features import TextFeatures
from swaypoint.scorers.recommended import Part, expecting, geometric_mean, recommended, temperature, tempered
from swaypoint.scoring.wrong_labels import WrongLabels

TREES, BAYES = "randomised trees", "naive Bayes"
_FEW = 50
"""Points below which there is too little of each class to split and to learn from."""
_MANY = 50_000_000
"""Probabilities, or sums of naive Bayes, beyond which there is no second view."""
_BETTER = 0.98
"""Of the loss of the first alone: what that of both together must be below."""


@dataclass(frozen=True, eq=False)
class Joined:
    """Of each part, trained on and held out: the probabilities (n, C) that two models come to, at the
    temperature at which they predict the labels best, and which labels are wrong."""

    probabilities: list[np.ndarray]
    wrong: list[WrongLabels]


Join = Callable[[Sequence[Part], Sequence[Part]], Joined | None]


@dataclass(frozen=True, eq=False)
class SecondView:
    """What a second model says of the labels.

    Attributes:
        parts: its probabilities of the points trained on, and of those held out, where there are any, with
            the labels as given; none has seen the label that it judges.
        model: which, and its accuracy on the latter.
        join: of the same parts of the first model and these, what they come to; None: the first is better
            alone.
    """

    parts: Sequence[Part]
    model: SecondModel
    join: Join


def trees_first(first: Sequence[Part], trees: Sequence[Part]) -> Joined | None:
    """By the trees alone where they are right on as many of the points held out as the first model; else by
    the geometric mean of the two, unless the first alone predicts those better: then None. How many are wrong
    the trees say, as they have learnt none of the labels that they judge."""
    own = recommended(trees)
    if len(first) > 1 and _right(trees[1]) >= _right(first[1]):
        return Joined([_warm(*part) for part in trees], own)
    mean = [(geometric_mean((p, q)), labels) for (p, labels), (q, _) in zip(first, trees, strict=True)]
    if len(first) > 1 and _loss(mean[1]) > _loss(first[1]):
        return None
    return Joined([_warm(*part) for part in mean], expecting(mean, own))


def side_by_side(first: Sequence[Part], second: Sequence[Part]) -> Joined | None:
    """By the geometric mean of both, each at the temperature at which it predicts the labels best, where that
    predicts the points held out (all, where none are) clearly better than the first alone does; else None."""
    mean = [
        (geometric_mean((_warm(*one), _warm(*other))), one[1])
        for one, other in zip(first, second, strict=True)
    ]
    if _loss(mean[-1]) > _BETTER * _loss(first[-1]):
        return None
    return Joined([_warm(*part) for part in mean], recommended(mean))


def _right(part: Part) -> int:
    probabilities, labels = part
    return int((probabilities.argmax(1) == labels).sum())


def _warm(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return tempered(probabilities, temperature(probabilities, labels))


def _loss(part: Part) -> float:
    """Mean negative log likelihood of the labels, at the temperature where it is the least."""
    p, labels = _warm(*part), part[1]
    return -float(np.log(np.maximum(p[np.arange(len(labels)), labels], 1e-9)).mean())


def second_view(dataset: Dataset, rows: Rows, options: AuditOptions, run: AuditRun) -> SecondView | None:
    """Of a table or texts of classes that a default model is trained on; None of other data, without
    scikit-learn, of few points, and where the probabilities would not fit in memory."""
    default, ways = {"rows": "mlp", "texts": "tfidf"}, {"rows": _trees, "texts": _bayes}
    if not dataset.classes or dataset.kind not in ways or find_spec("sklearn") is None:
        return None
    if any(resolve(one, dataset) != default[dataset.kind] for one in options.model.each()):
        return None
    if len(rows.train) < _FEW or len(dataset) * len(dataset.classes) > _MANY:
        return None
    return ways[dataset.kind](dataset, rows, options, run)


def _trees(dataset: Dataset, rows: Rows, options: AuditOptions, run: AuditRun) -> SecondView:
    with run.stage(TREES):
        found = out_of_bag(
            dataset.inputs[rows.train],
            dataset.labels[rows.train],
            dataset.inputs[rows.validation],
            classes=len(dataset.classes),
            seed=options.seed,
            on_tree=run.listener.records,
        )
    return _view(dataset, rows, found, TREES, trees_first)


def _bayes(dataset: Dataset, rows: Rows, options: AuditOptions, run: AuditRun) -> SecondView | None:
    """Of words, those of the points held out too: each is judged by all others."""
    features = TextFeatures.load(run.path)
    if features is None or features.words * len(dataset.classes) > _MANY:
        return None
    with run.stage(BAYES):
        weights = features.word_weights(dataset.texts, on_progress=run.listener.records)
        p = left_out_naive_bayes(weights, dataset.labels.astype(np.int64), classes=len(dataset.classes))
    return _view(dataset, rows, (p[rows.train], p[rows.validation]), BAYES, side_by_side)


def _view(
    dataset: Dataset, rows: Rows, found: tuple[np.ndarray, np.ndarray], name: str, join: Join
) -> SecondView:
    together = join is side_by_side
    trained, held = (
        (p, dataset.labels[of]) for p, of in zip(found, (rows.train, rows.validation), strict=True)
    )
    if not len(rows.validation):
        return SecondView([trained], SecondModel(name, None, together), join)
    return SecondView([trained, held], SecondModel(name, _right(held) / len(rows.validation), together), join)
