"""K models, each trained without one fold of the points: what the models say that hold a point, and the one
that has not seen it.

Influence is a question to a model that holds the point, and K - 1 do. Whether its label is wrong is one to a
model that has not learnt it, and one has not (so are wrong labels filtered by Brodley & Friedl, 1999, and by
Northcutt, Jiang & Chuang, 2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from swaypoint.auditing.ensemble import Ensemble
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.scored import prediction
from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.models.out_of_fold import dealt, with_absent_classes
from swaypoint.models.predictor import Rows
from swaypoint.models.pretrained.base import is_pretrained
from swaypoint.scoring.agreement import combine
from swaypoint.scoring.fitness import Check
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.scores import Scores

_RELATIVE = "relative error"
_UNSEEN = ("loo_loss", "margin", "suggested_label", "label", "probabilities")


def check_folds(dataset: Dataset, model: str, options: AuditOptions) -> None:
    """Refuse what cannot be trained without a fold.

    Args:
        model: its name, resolved.

    Raises:
        InputError: a model of the user's own, or a regression.
    """
    if (":" in model and not is_pretrained(model)) or options.model.weights is not None:
        raise InputError(
            "folds train the model several times, and yours is trained already; leave folds out, or pass"
            " out-of-fold probabilities of yours to swaypoint.wrong_labels"
        )
    if not dataset.classes:
        raise InputError(
            f"{dataset.name}: its labels are real values, and folds are for classes; leave folds out: the"
            " studentised residuals of a regression leave each point out already"
        )


@dataclass(frozen=True, eq=False)
class Folds:
    """Which points each of K models is trained without.

    Attributes:
        rows: all points to train on, and the others, which no model is trained on.
        fold: of each of the former, from 0, that of the model that is trained without it, (n,) int64.
    """

    rows: Rows
    fold: np.ndarray

    @classmethod
    def dealt(cls, rows: Rows, labels: np.ndarray, folds: int, seed: int) -> Folds:
        """Folds in which each class has its share, see :func:`~swaypoint.models.out_of_fold.dealt`.

        Args:
            labels: of the points to train on, class indices (n,).

        Raises:
            InputError: there are fewer points than folds.
        """
        if folds > len(labels):
            raise InputError(
                f"folds is {folds}, and there are {len(labels):,} points to train on; use at most as many"
            )
        return cls(rows, dealt(labels, folds, seed))

    def __len__(self) -> int:
        return int(self.fold.max()) + 1

    def column(self, trained: np.ndarray) -> np.ndarray:
        """The fold of each of all points, from 1, int64; 0 of those that no model is trained on. ``trained``:
        which those are not, bool, in dataset order."""
        found = np.zeros(len(trained), dtype=np.int64)
        found[trained] = self.fold + 1
        return found

    def parts(self) -> list[Rows]:
        """What each model is trained on, and what it has not seen: its fold, and the others."""
        found = []
        for number in range(len(self)):
            train, held = self.rows.train[self.fold != number], self.rows.train[self.fold == number]
            found.append(Rows(train, np.sort(np.concatenate([held, self.rows.validation]))))
        return found


@dataclass(frozen=True, eq=False)
class CrossFit:
    """What K models say of all points, gathered one after the other, in the order of :meth:`Folds.parts`."""

    folds: Folds
    _cooks: list[np.ndarray] = field(default_factory=list)
    _sums: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def rows(self) -> Rows:
        return self.folds.rows

    def add(
        self, parts: Rows, said: Sequence[Ranking | Scores], further: Mapping[str, Sequence[np.ndarray]]
    ) -> None:
        """What the next model says.

        Args:
            parts: its points.
            said: scores of those that it was trained on, and of those that it has not seen.
            further: likewise, other scores by name.
        """
        seen, unseen = said[0], _with_absent_classes(said[1], said[0].label)
        others = np.isin(parts.validation, self.rows.validation)
        cooks = [_cook(seen), _cook(unseen)]
        cook = np.full(len(parts.train) + len(parts.validation), np.nan)
        cook[parts.train], cook[parts.validation[others]] = cooks[0], cooks[1][others]
        self._cooks.append(cook)
        held = {name: [getattr(part, name) for part in (seen, unseen)] for name in ("loss", "leverage")}
        if seen.standard_error is not None and unseen.standard_error is not None:
            errors = (seen.standard_error, unseen.standard_error)
            held[_RELATIVE] = [
                error / np.maximum(of, 1e-300) for error, of in zip(errors, cooks, strict=True)
            ]
        held |= {_of(name): list(values) for name, values in further.items()}
        for name, (of_seen, of_unseen) in held.items():
            self._add(name, parts.train, of_seen)
            self._add(name, parts.validation[others], of_unseen[others])
        for name in _UNSEEN:
            if (values := getattr(unseen, name)) is not None:
                self._add(name, parts.validation, values)

    def _add(self, name: str, rows: np.ndarray, values: np.ndarray) -> None:
        if name not in self._sums:
            kind = values.dtype if values.dtype.kind == "f" else np.float64
            self._sums[name] = np.zeros((len(self._cooks[0]), *values.shape[1:]), kind)
        self._sums[name][rows] += values

    def scores(self) -> tuple[Scores, ...]:
        """Of the points to train on: by the models that hold them the geometric mean of Cook's distance, as
        of an :class:`~swaypoint.auditing.ensemble.Ensemble`, the mean loss and leverage; by the one that has
        not seen them leave-one-out loss, probabilities, margin and suggested label. Of the others, where
        there are any: the means over all models, margin and suggested label by the mean probabilities."""
        trained = self._scores(self.rows.train, self._held(), unseen=1)
        if not len(self.rows.validation):
            return (trained,)
        cooks = [cook[self.rows.validation] for cook in self._cooks]
        return (trained, self._scores(self.rows.validation, cooks, unseen=len(self.folds)))

    def further(self, name: str) -> list[np.ndarray]:
        """The mean of another score, likewise, by the models that hold a point."""
        sums = self._sums[_of(name)]
        found = [sums[self.rows.train] / (len(self.folds) - 1)]
        if len(self.rows.validation):
            found.append(sums[self.rows.validation] / len(self.folds))
        return found

    def agreement(self) -> tuple[Check, ...]:
        """How far the models agree that hold a point, where two or more do."""
        return (Ensemble(self._held()).check(),) if len(self.folds) > 2 else ()

    def _held(self) -> list[np.ndarray]:
        """Cook's distances of the points to train on, (n,) each: by the first model that holds each, by the
        second, …"""
        every = np.stack([cook[self.rows.train] for cook in self._cooks], 1)
        holds = self.folds.fold[:, None] != np.arange(len(self.folds))
        return list(every[holds].reshape(len(every), len(self.folds) - 1).T)

    def _scores(self, rows: np.ndarray, cooks: Sequence[np.ndarray], *, unseen: int) -> Scores:
        """``cooks``: by each model that is asked for it; ``unseen``: how many have not seen a point."""
        said = {name: self._sums[name][rows] / unseen for name in _UNSEEN if name in self._sums}
        held = {
            name: self._sums[name][rows] / len(cooks)
            for name in ("loss", "leverage", _RELATIVE)
            if name in self._sums
        }
        p, label = said.pop("probabilities", None), said["label"]
        cook = np.exp(combine(cooks))
        if p is not None:
            label = label.astype(np.int64)
            said["suggested_label"] = said["suggested_label"].astype(np.int64)
            if unseen > 1:
                said |= prediction(p, label)
        error = cook * held.pop(_RELATIVE) if _RELATIVE in held else None
        return Scores(cook=cook, standard_error=error, probabilities=p, **(held | said | {"label": label}))


def _of(name: str) -> str:
    """Another score's own name, which none of the usual columns has."""
    return f"score {name}"


def _cook(part: Ranking | Scores) -> np.ndarray:
    return part.values if isinstance(part, Ranking) else part.cook


def _with_absent_classes(unseen: Ranking | Scores, trained_on: np.ndarray) -> Ranking | Scores:
    """A class that a fold holds all points of is rare to the model without it, not impossible."""
    p = unseen.probabilities
    if p is None:
        return unseen
    present = np.bincount(trained_on.astype(np.int64), minlength=p.shape[1]) > 0
    if present.all():
        return unseen
    p, label = with_absent_classes(p, present, len(trained_on)), unseen.label.astype(np.int64)
    loss = -np.log(p[np.arange(len(p)), label].astype(np.float64))
    said = prediction(p, label)
    margin, suggested = said["margin"], said["suggested_label"]
    return replace(unseen, probabilities=p, loo_loss=loss, margin=margin, suggested_label=suggested)
