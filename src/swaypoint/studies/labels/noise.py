"""Wrong labels as people make them, and as they do not: uniform, by class, by record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError, require
from swaypoint.models.out_of_fold import dealt

Kind = Literal["uniform", "class", "record"]

_FOLDS, _COMPONENTS, _ALIKE = 5, 15, 8


@dataclass(frozen=True)
class Noise:
    """``share`` of all labels is wrong, by ``kind``.

    - ``"uniform"``: to any other class, with equal chance.
    - ``"class"``: in half of the classes, to the one that a weak model most often takes the class for; two
      classes may be taken for each other (after Patrini et al., 2017).
    - ``"record"``: to the class that a weak model prefers to the true one, more often where it is less sure
      (instance-dependent noise, after Xia et al., 2020).
    """

    kind: Kind
    share: float

    @classmethod
    def of(cls, words: str) -> Noise:
        """Of ``KIND:SHARE``.

        >>> Noise.of("class:0.05")
        Noise(kind='class', share=0.05)

        Raises:
            InputError: no such kind, or no share between 0 and 1/2.
        """
        kind, _, share = words.partition(":")
        try:
            noise = cls(kind, float(share))  # type: ignore[arg-type]  # checked below
        except ValueError:
            noise = cls(kind, -1.0)  # type: ignore[arg-type]
        if kind not in get_args(Kind) or not 0.0 < noise.share < 0.5:
            raise InputError(
                f"noise {words!r}; expected KIND:SHARE, KIND one of {', '.join(get_args(Kind))} and a share"
                " between 0 and 0.5, such as class:0.05"
            )
        return noise

    def __str__(self) -> str:
        return f"{self.kind}:{self.share:g}"

    def given(self, labels: np.ndarray, weak: np.ndarray, seed: int) -> np.ndarray:
        """Labels with the wrong ones in their place, ``(n,)`` int64.

        Args:
            labels: the right ones, ``(n,)`` in 0 … C - 1.
            weak: ``(n, C)``, see :func:`weak_probabilities`.
            seed: of the draw; another of each kind and share.
        """
        n = len(labels)
        generator = np.random.default_rng([seed, sum(map(ord, self.kind)), round(1e6 * self.share)])
        to, weight = self._targets(labels, weak, generator)
        # The mean of the chances is the share, as far as none exceeds 0.9.
        chance = np.minimum(self.share * n * weight / max(weight.sum(), 1e-300), 0.9)
        return np.where(generator.random(n) < chance, to, labels)

    def _targets(
        self, labels: np.ndarray, weak: np.ndarray, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The wrong label that each record would get, and how likely that is beside others."""
        n, classes = weak.shape
        if self.kind == "uniform":
            return (labels + generator.integers(1, classes, n)) % classes, np.ones(n)
        if self.kind == "class":
            taken = np.zeros((classes, classes))
            np.add.at(taken, labels, weak)
            np.fill_diagonal(taken, -1.0)
            some = generator.permutation(classes)[: max(1, classes // 2)]
            return taken.argmax(1)[labels], np.isin(labels, some).astype(np.float64)
        others = weak.copy()
        others[np.arange(n), labels] = -1.0
        second = others.argmax(1)
        ahead = weak[np.arange(n), labels] - weak[np.arange(n), second]
        return second, (1.0 - np.clip(ahead, 0.0, 1.0)) ** 2


def weak_probabilities(dataset: Dataset) -> np.ndarray:
    """``(n, C)`` float64, out of fold, of a model that errs where people might: logistic regression on a
    few principal components of the inputs; of texts on those of their term weights.

    Raises:
        MissingExtra: scikit-learn is not installed.
    """
    linear_model = require("sklearn.linear_model", "study")
    features = _few(dataset)
    p = np.full((len(dataset), len(dataset.classes)), 1e-6)
    fold = dealt(dataset.labels, _FOLDS, seed=0)
    for part in range(_FOLDS):
        held = fold == part
        model = linear_model.LogisticRegression(max_iter=500).fit(features[~held], dataset.labels[~held])
        p[np.ix_(held, model.classes_)] += model.predict_proba(features[held])
    return p / p.sum(1, keepdims=True)


def _few(dataset: Dataset) -> np.ndarray:
    """An eighth of the inputs' principal components, 2 to 15, standardised."""
    decomposition = require("sklearn.decomposition", "study")
    if dataset.kind == "texts":
        text = require("sklearn.feature_extraction.text", "study")
        x = text.TfidfVectorizer(sublinear_tf=True, min_df=2).fit_transform(dataset.texts)
        parts = decomposition.TruncatedSVD(min(_COMPONENTS, x.shape[1] - 1), random_state=0).fit_transform(x)
    else:
        x = dataset.inputs.reshape(len(dataset), -1).astype(np.float64)
        x = (x - x.mean(0)) / (x.std(0) + 1e-9)
        count = int(np.clip(x.shape[1] // _ALIKE, 2, _COMPONENTS))
        parts = decomposition.PCA(min(count, *x.shape), random_state=0).fit_transform(x)
    return (parts - parts.mean(0)) / (parts.std(0) + 1e-9)
