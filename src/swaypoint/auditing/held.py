"""The records of an audit in memory: one shard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swaypoint.auditing.cross_fit import CrossFit, Folds, check_folds
from swaypoint.auditing.ensemble import Ensemble
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.records import Records, Shown
from swaypoint.auditing.room import check_room
from swaypoint.auditing.run import AuditRun
from swaypoint.auditing.scored import Pairs, Scored, accuracies_of, columns_of, lead, prediction
from swaypoint.auditing.second import second_view
from swaypoint.auditing.splits import check_classes, counted, splits_of
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.planting import plant
from swaypoint.errors import InputError
from swaypoint.folder.manifest import (
    TRAIN,
    AuditedData,
    RegressionFit,
    SecondModel,
    SkippedRecord,
)
from swaypoint.models.predictor import FITTED, ModelOptions, Predictor, Rows, Training, check, prepare
from swaypoint.scorers.base import of_points, scores
from swaypoint.scorers.recommended import Part, as_others, averaged, geometric, recommended
from swaypoint.scoring.fitness import (
    Diagnostics,
    accuracy_of,
    against_the_most_frequent,
    baseline,
    by_heart,
    examine,
    memorisation,
)
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.rank import SAID, choose, rank, rank_parameters, unseen_parameters
from swaypoint.scoring.ranking import COLUMNS, Ranking
from swaypoint.scoring.regression import Statistics, goodness, of_parts, predicted, suspicion
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.scores import Scores
from swaypoint.scoring.trained_model import TrainedModel
from swaypoint.scoring.wrong_labels import WrongLabels

_NEIGHBOURS = 50_000


@dataclass(frozen=True, eq=False)
class _Modelled:
    """One model, solved, or several together.

    Attributes:
        parts: what ranks the points trained on, and the others, where there are any.
        diagnostics, solution: of the first.
        accuracy: on either; None without classes or such points.
        known: of either the probabilities (n, C) that the recommended score is made of; without one class a
            point that score itself, the leave-one-out loss (n,).
        by_heart: whether it knows the points that it was trained on by heart.
        without: (n, C), of these what is asked where no noise channel is told, if there is.
        further: other scores by name, of either.
    """

    parts: tuple[Ranking | Scores, ...]
    diagnostics: Diagnostics
    solution: HeadSolution
    accuracy: tuple[float | None, float | None]
    known: list[np.ndarray]
    by_heart: bool
    without: np.ndarray | None
    further: dict[str, list[np.ndarray]]


class HeldRecords(Records):
    """A dataset in memory.

    Args:
        given: as read; wrong labels are planted in a copy.
        origin: what it takes to read it again.
        room: see :attr:`~swaypoint.auditing.options.Scale.room`.
    """

    def __init__(
        self,
        given: Dataset,
        origin: dict[str, Any] | None,
        options: AuditOptions,
        room: float | None = None,
    ) -> None:
        self.options, self._given, self._room = options, given, room
        self.dataset, self._flipped = plant(given, options.flip, options.seed)
        self._split = splits_of(given, options)
        trained = self._split == TRAIN
        self.rows = Rows(np.flatnonzero(trained), np.flatnonzero(~trained))
        self._order = _order(self.rows)
        self._folds: Folds | None = None
        if options.folds is not None:
            labels = self.dataset.labels[self.rows.train]
            self._folds = Folds.dealt(self.rows, labels, options.folds, options.seed)
        self.about = AuditedData(
            name=given.name,
            kind=given.kind,
            points=len(given),
            train=len(self.rows.train),
            validation=len(self.rows.validation),
            classes=given.classes,
            columns=given.columns,
            fingerprint=given.fingerprint,
            skipped=tuple(SkippedRecord(**asdict(record)) for record in given.skipped),
            origin=origin,
            treatments=dict(given.treatments),
            splits=counted(self._split),
            of=given.of,
        )

    def check(self) -> None:
        options = self.options
        check_classes(self._given)
        name, *_ = [check(self.dataset, one, options.objective) for one in options.model.each()]
        check_room(self.dataset, name, options, self._room)
        if options.folds is not None:
            check_folds(self._given, name, options)
        loss, trains = as_loss(options.objective.loss), name not in FITTED and ":" not in name
        for score in options.scores:
            if scores[score].classes and not loss.classifies:
                raise InputError(
                    f"the score {score!r} needs classes, and {loss.name} is a loss of real values; leave it"
                    " out, or use the score 'loss'"
                )
            if scores[score].course and not trains:
                raise InputError(
                    f"the score {score!r} needs the course of a training, and {name} is not trained here;"
                    " leave it out"
                )

    def predictor(self, run: AuditRun) -> Predictor:
        first, *others = self._members()
        if self._folds is None:
            return self._prepared(run, run.path, *first)
        with run.stage(self._told(1)):
            return self._prepared(run, run.path, *first, times=1 + len(others))

    def _told(self, number: int) -> str:
        """The stage in which a model is trained, from 1."""
        return f"model {number}" if self._folds is None else f"fold {number} of {len(self._folds)}"

    def _members(self) -> list[tuple[ModelOptions, int, Rows]]:
        """The models that are ranked together, the seed of each, and what it is trained on."""
        model, seed = self.options.model, self.options.seed
        if self._folds is not None:
            return [(model, seed + number, rows) for number, rows in enumerate(self._folds.parts())]
        named = [(one, seed, self.rows) for one in model.each()]
        return named + [(model, seed + number, self.rows) for number in range(1, model.models)]

    def _prepared(
        self, run: AuditRun, folder: Path, model: ModelOptions, seed: int, rows: Rows, *, times: int = 1
    ) -> Predictor:
        listener = run.listener
        told = (listener.epoch, listener.records, listener.note)
        training = Training(folder, seed, self.options.device, *told, times=times)
        whole, objective = self.options.params is not None, self.options.objective
        made = prepare(self.dataset, rows, model, objective, training=training, whole=whole)
        (folder / "last.ckpt").unlink(missing_ok=True)
        return made

    def scored(self, run: AuditRun, predictor: Predictor) -> Scored:
        options = self.options
        done = {name: one for name, one in run.known.items() if len(one) == len(self._order)}
        asked = [name for name in options.scores if name != "auto" and name not in done]
        first = self._modelled(run, predictor, asked)
        solution = first.solution
        run.write_factor(solution)
        if self._folds is not None:
            first = self._cross_fitted(run, first, asked)
        parts, accuracy = first.parts, first.accuracy
        diagnostics = first.diagnostics
        if self._folds is None:
            diagnostics = diagnostics.beside(memorisation(*accuracy, len(self.rows.validation)))
            labels = self.dataset.labels[self.rows.train]
            measured = predictor.train if predictor.validation is None else predictor.validation
            diagnostics = diagnostics.beside(baseline(solution.risk, measured, labels, self.dataset.classes))
        if options.params is None:
            diagnostics = diagnostics.beside(examine(solution))
        further = {name: self._in_order(values) for name, values in first.further.items()} | done
        if self._folds is None and len(self._members()) > 1:
            first, cooks = self._several(run, first)
            trained_on = Ensemble([part[: len(self.rows.train)] for part in cooks])
            diagnostics = diagnostics.beside((trained_on.check(),))
            further["models"] = Ensemble(cooks).combined()[self._order]
        suspect, pairs, second = self._suspected(run, first)
        statistics = _statistics(self.dataset, solution.head, predictor)
        if statistics:  # which value is wrong, the residual tells best
            further["auto"] = self._in_order([suspicion(one) for one in statistics])
        elif not suspect:
            further["auto"] = self._in_order(first.known)
        columns = {"index": self.dataset.index, "split": self._split}
        if self._folds is not None:
            columns["fold"] = self._folds.column(self._split == TRAIN)
        columns |= self._columns(parts, statistics)
        accuracies = accuracies_of(columns) if accuracy[1] is not None else {}
        columns |= self._joined(suspect) if suspect else {}
        columns |= {name: one for name, one in further.items() if name not in columns}
        return Scored(
            head=solution.head,
            refit=bool(options.refit) or predictor.fit,
            points=len(self._order),
            accuracy=accuracy,
            diagnostics=diagnostics,
            columns=columns,
            every=lambda: iter((columns,)),
            ranked_by=lead(options.scores, 1 if self._folds is not None else len(self._members())),
            regression=_regression(solution, predictor, statistics[0]) if statistics else None,
            pairs=pairs,
            second=second,
            accuracies=accuracies,
            folds=None if self._folds is None else len(self._folds),
        )

    def _suspected(
        self, run: AuditRun, first: _Modelled
    ) -> tuple[list[dict[str, np.ndarray]], Pairs | None, SecondModel | None]:
        """Columns of the labels of points trained on, and of the others, with what two models predict where a
        second has a say; the expected pairs of classes; the second."""
        second, learnt = second_view(self.dataset, self.rows, self.options, run), first.by_heart
        joined = None if second is None else second.join(self._labelled(first.known), second.parts)
        if second is None or joined is None:
            wrong, model, both = self._wrong(first), None, []
        else:
            wrong, model, learnt = joined.wrong, second.model, False
            both = [prediction(p, y) for p, y in self._labelled(joined.probabilities)]
        found = list(map(columns_of, wrong))
        if learnt and len(found) == 2:
            found[0]["auto"] = as_others(found[0]["auto"], found[1]["auto"])
        for part, said in zip(found, both, strict=False):
            part |= said
        return found, Pairs.of(wrong) if wrong else None, model

    def _wrong(self, found: _Modelled) -> list[WrongLabels]:
        """Which labels are wrong among the points trained on, and among the others; empty without classes."""
        if any(part.ndim == 1 for part in found.known):
            return []
        return recommended(self._labelled(found.known), by_heart=found.by_heart, without=found.without)

    def _labelled(self, known: Sequence[np.ndarray]) -> list[Part]:
        given = [self.dataset.labels[rows] for rows in (self.rows.train, self.rows.validation)]
        return list(zip(known, given, strict=False))

    def _joined(self, parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Columns of the points trained on, and of the others, in dataset order."""
        return {name: self._in_order([part[name] for part in parts]) for name in parts[0]}

    def _in_order(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Of the points trained on, then of the others: in dataset order."""
        return np.concatenate(parts)[self._order]

    def _columns(
        self, parts: Sequence[Ranking | Scores], statistics: Sequence[Statistics]
    ) -> dict[str, np.ndarray]:
        """Those that every audit has, in dataset order."""
        found = {"cook": _cooks(parts)[self._order]}
        names = [name for name in COLUMNS if name != "cook"]
        if all(part.standard_error is not None for part in parts):
            names.append("standard_error")
        found |= {name: self._in_order([getattr(part, name) for part in parts]) for name in names}
        for name, of in (
            ("residual", "residual"),
            ("studentised", "studentised"),
            ("suggested_error", "error"),
        ):
            if statistics:
                found[name] = self._in_order([getattr(one, of) for one in statistics])
        return found

    def _modelled(self, run: AuditRun, predictor: Predictor, further: Sequence[str] = ()) -> _Modelled:
        """One model's last layer, solved, with what it says of all points; ``further``: names of scores."""
        options, head = self.options.of_the_head(fit=predictor.fit), predictor.head.weights
        method = choose(head, options, memory=self._room)
        if method != "dense" and run.listener.note is not None:
            run.listener.note(f"{head.outputs * head.width:,} parameters of the last layer: {SAID[method]}")
        progress = run.listener.records
        ranking, solution = rank(
            head, predictor.train, options, probabilities=True, progress=progress, memory=self._room
        )
        others: tuple[Scores, ...] = ()
        unseen = 0
        if predictor.validation is not None:
            unseen, solved = len(predictor.validation), solution.unseen(predictor.validation)
            others = (solved.scores(removal=options.removal, probabilities=True),)
        sides = (predictor.train, predictor.validation)
        train, held_out = (accuracy_of(solution.risk, part) for part in sides)
        known = [ranking.loo_loss, *(part.loo_loss for part in others)]
        # A head alone is left out of its points in closed form; what a training learnt is not.
        learnt = predictor.course is not None and by_heart(train, held_out, unseen)
        without = None
        if ranking.probabilities is not None:
            labels = ranking.label.astype(np.int64)
            without = None if learnt else geometric(ranking.probabilities, labels, predictor.course)
            known[0] = averaged(ranking.probabilities, labels, predictor.course, by_heart=learnt)
            known[1:] = [part.probabilities for part in others if part.probabilities is not None]
        trained = predictor.trained(solution.head, self.options, solution=solution)
        points = (trained, predictor.unseen(trained))
        if self.options.params is not None:
            ranking, others = (
                rank_parameters(trained, ranking, progress=progress),
                _by_parameters(points[1], others),
            )
        asked = {name: _score(name, points, unseen) for name in further}
        accuracy, diagnostics = (train, held_out), ranking.diagnostics
        return _Modelled((ranking, *others), diagnostics, solution, accuracy, known, learnt, without, asked)

    def _others(self, run: AuditRun, further: Sequence[str] = ()) -> Iterator[_Modelled]:
        """The models after the first, each trained in a folder of its own."""
        for number, member in enumerate(self._members()[1:], 2):
            folder = run.path / "models" / str(number)
            folder.mkdir(parents=True, exist_ok=True)
            with run.stage(self._told(number)):
                found = self._modelled(run, self._prepared(run, folder, *member), further)
            yield found

    def _several(self, run: AuditRun, first: _Modelled) -> tuple[_Modelled, list[np.ndarray]]:
        """The first model with the mean of what all know, and Cook's distances of each, of the points trained
        on and then of the others."""
        found, cooks = first, [_cooks(first.parts)]
        for number, one in enumerate(self._others(run), 2):
            cooks.append(_cooks(one.parts))
            pairs, without = zip(found.known, one.known, strict=True), None
            if found.without is not None and one.without is not None:
                without = found.without + (one.without - found.without) / number
            found = replace(
                found,
                known=[mean + (more - mean) / number for mean, more in pairs],
                by_heart=found.by_heart or one.by_heart,
                without=without,
            )
        return found, cooks

    def _cross_fitted(self, run: AuditRun, first: _Modelled, further: Sequence[str]) -> _Modelled:
        """The ``first`` fold's model and those of the others, together."""
        assert self._folds is not None
        fit, shares = CrossFit(self._folds), list[float]()
        for rows, found in zip(self._folds.parts(), chain([first], self._others(run, further)), strict=True):
            fit.add(rows, found.parts, found.further)
            shares.append(found.accuracy[0] or 0.0)
        parts = fit.scores()
        known, given = [part.probabilities for part in parts], self.dataset.labels[self.rows.train]
        accuracy: tuple[float | None, float | None] = (None, None)
        checks = fit.agreement()
        if known[0] is not None:
            right = parts[0].suggested_label == given
            accuracy = float(np.mean(shares)), float(right.mean())
            checks = (
                *memorisation(*accuracy, len(right)),
                *against_the_most_frequent(right, given, given, self.dataset.classes),
                *checks,
            )
        return replace(
            first,
            parts=parts,
            diagnostics=first.diagnostics.beside(checks),
            accuracy=accuracy,
            known=[part.loo_loss if p is None else p for p, part in zip(known, parts, strict=True)],
            by_heart=False,
            without=None,
            further={name: fit.further(name) for name in further},
        )

    def shown(self, predictor: Predictor, scored: Scored) -> Shown:
        parts = [part for part in (predictor.train, predictor.validation) if part is not None]
        features = torch.cat([batch.float().cpu() for part in parts for batch, _ in part])
        ordered = features[torch.from_numpy(_order(self._members()[0][2]))]
        return Shown(self.dataset, np.arange(len(ordered)), ordered, self.dataset.labels, _NEIGHBOURS)

    def inputs(self, predictor: Predictor) -> np.ndarray | None:
        # Where there is no model, the features are the inputs.
        kind = self.dataset.kind
        if kind == "rows" or (kind == "features" and predictor.inputs is not None):
            return self.dataset.inputs
        return None

    def planted(self, index: np.ndarray) -> np.ndarray:
        return self._flipped[np.searchsorted(self.dataset.index, index)]

    @property
    def wrong(self) -> int:
        return int(self._flipped.sum())


def origin(source: str | Path, read: ReadOptions, test: str | Path | None = None) -> dict[str, Any]:
    """What it takes to read the source again, and what was audited beside it."""
    found = {"path": _place(source), "read": asdict(read)}
    return found if test is None else {**found, "test": _place(test)}


def _place(source: str | Path) -> str:
    path = Path(source)
    return str(path.absolute() if path.exists() else source)


def _order(rows: Rows) -> np.ndarray:
    """What brings the points of both parts into dataset order."""
    return np.argsort(np.concatenate([rows.train, rows.validation]))


def _score(name: str, points: tuple[TrainedModel, TrainedModel | None], others: int) -> list[np.ndarray]:
    """A further score of the points trained on and of the ``others``, NaN where it says nothing of such."""
    of, (trained, unseen) = of_points(name), points
    found = [of(trained)]
    if unseen is not None:
        found.append(of(unseen) if scores[name].pointwise else np.full(others, np.nan))
    return found


def _cooks(parts: Sequence[Ranking | Scores]) -> np.ndarray:
    return np.concatenate([part.values if isinstance(part, Ranking) else part.cook for part in parts])


def _by_parameters(unseen: TrainedModel | None, last: Sequence[Scores]) -> tuple[Scores, ...]:
    return tuple(unseen_parameters(unseen, scores) for scores in last if unseen is not None)


def _statistics(dataset: Dataset, head: HeadWeights, predictor: Predictor) -> list[Statistics]:
    """Of a regression's points, those trained on first, then the others; empty without such statistics."""
    return [] if dataset.classes else of_parts(head, predictor.train, predictor.validation)


def _regression(solution: HeadSolution, predictor: Predictor, statistics: Statistics) -> RegressionFit:
    held = predictor.validation
    return RegressionFit(
        train=goodness(*predicted(solution.head, predictor.train)),
        validation=None if held is None else goodness(*predicted(solution.head, held)),
        scale=statistics.scale,
        parameters=statistics.parameters,
    )
