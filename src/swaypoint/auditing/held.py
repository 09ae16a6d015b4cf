"""The records of an audit in memory: one shard."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from swaypoint.auditing.ensemble import Ensemble
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.records import Records, Shown
from swaypoint.auditing.run import AuditRun
from swaypoint.auditing.scored import Columns, Pairs, Scored, columns_of, lead
from swaypoint.data.batches import FeatureBatches
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.planting import plant
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.folder.manifest import AuditedData, RegressionFit, SkippedRecord
from swaypoint.models.predictor import Predictor, Rows, Training, check, prepare
from swaypoint.scorers.base import of_points, scores
from swaypoint.scorers.recommended import averaged, recommended
from swaypoint.scoring.fitness import accuracy_of, baseline, by_heart, examine, memorisation
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.rank import rank, rank_parameters
from swaypoint.scoring.ranking import COLUMNS, Ranking
from swaypoint.scoring.regression import Statistics, goodness, of_head, predicted
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.wrong_labels import WrongLabels

_NEIGHBOURS = 50_000


class HeldRecords(Records):
    """A dataset in memory.

    Args:
        given: as read; wrong labels are planted in a copy.
        origin: what it takes to read it again.
    """

    def __init__(self, given: Dataset, origin: dict[str, Any] | None, options: AuditOptions) -> None:
        self.options = options
        self.dataset, self._flipped = plant(given, options.flip, options.seed)
        everyone = np.arange(len(given))
        held = Split.of(len(given), seed=options.seed, share=options.validation).held_out(everyone)
        self.rows = Rows(everyone[~held], everyone[held])
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
        )

    def check(self) -> None:
        options = self.options
        name = check(self.dataset, options.model, options.objective)
        loss, trains = as_loss(options.objective.loss), name != "head" and ":" not in name
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
        return self._prepared(run, run.path, self.options.seed)

    def _prepared(self, run: AuditRun, folder: Path, seed: int) -> Predictor:
        training = Training(folder, seed, self.options.device, run.listener.epoch)
        made = prepare(self.dataset, self.rows, self.options.model, self.options.objective, training=training)
        (folder / "last.ckpt").unlink(missing_ok=True)
        return made

    def scored(self, run: AuditRun, predictor: Predictor) -> Scored:
        options, held_out = self.options, len(self.rows.validation)
        ranking, solution, accuracy, known = self._ranked(predictor)
        trained = predictor.trained(solution.head, options)
        if options.params is not None:
            ranking = rank_parameters(trained, ranking)
        run.write_factor(solution)
        diagnostics = ranking.diagnostics.beside(memorisation(*accuracy, held_out))
        labels = self.dataset.labels[self.rows.train]
        measured = predictor.train if predictor.validation is None else predictor.validation
        diagnostics = diagnostics.beside(baseline(solution.risk, measured, labels, self.dataset.classes))
        if options.params is None:
            diagnostics = diagnostics.beside(examine(solution))
        further: dict[str, np.ndarray] = {}
        if options.model.models > 1:
            ensemble, known = self._ensemble(run, ranking.values, known)
            diagnostics = diagnostics.beside((ensemble.check(),))
            further["models"] = ensemble.combined()
        wrong = self._wrong(known)
        further |= {"auto": known.seen} if wrong is None else columns_of(wrong)
        done = run.known | further
        further |= {name: done[name] if name in done else of_points(name)(trained) for name in options.scores}
        statistics = None if self.dataset.classes else of_head(solution.head, predictor.train)
        columns = _columns(self.dataset.index[self.rows.train], ranking, further, statistics)
        return Scored(
            head=solution.head,
            refit=bool(options.refit) or predictor.fit,
            points=len(ranking),
            accuracy=accuracy,
            diagnostics=diagnostics,
            columns=columns,
            every=lambda: iter((columns,)),
            ranked_by=lead(options.scores, options.model.models),
            regression=None if statistics is None else _regression(solution, predictor, statistics),
            pairs=None if wrong is None else Pairs.of([wrong]),
        )

    def _ranked(
        self, predictor: Predictor
    ) -> tuple[Ranking, HeadSolution, tuple[float | None, float | None], _Known]:
        """Cook's distances of the last layer, what was solved for them, the accuracies on the training points
        and on those held out, and what the recommended score is made of."""
        options = self.options.of_the_head(fit=predictor.fit)
        ranking, solution = rank(predictor.head.weights, predictor.train, options, probabilities=True)
        parts = (predictor.train, predictor.validation)
        train, held_out = (accuracy_of(solution.risk, part) for part in parts)
        # A head alone is left out of its points in closed form; what a training learnt is not.
        learnt = predictor.course is not None and by_heart(train, held_out, len(self.rows.validation))
        known = _Known(ranking.loo_loss, None, learnt)
        if ranking.probabilities is not None:
            labels = ranking.label.astype(np.int64)
            seen = averaged(ranking.probabilities, labels, predictor.course, by_heart=learnt)
            known = _Known(seen, _probabilities(solution, predictor.validation), learnt)
        return ranking, solution, (train, held_out), known

    def _wrong(self, known: _Known) -> WrongLabels | None:
        """Which labels are wrong among the ranked points; None of data without classes."""
        if known.seen.ndim == 1:
            return None
        labels = self.dataset.labels
        parts = [(known.seen, labels[self.rows.train])]
        if known.by_heart and known.unseen is not None:  # they tell how many are wrong
            parts.append((known.unseen, labels[self.rows.validation]))
        return recommended(parts, by_heart=known.by_heart)[0]

    def _ensemble(self, run: AuditRun, cook: np.ndarray, known: _Known) -> tuple[Ensemble, _Known]:
        """Cook's distances of all models and the mean of what :meth:`_ranked` knows: ``cook`` and ``known``
        of the first, and of the others, each trained in a folder of its own."""
        cooks = [cook]
        for number in range(1, self.options.model.models):
            folder = run.path / "models" / str(number + 1)
            folder.mkdir(parents=True, exist_ok=True)
            with run.stage(f"model {number + 1}"):
                ranking, *_, more = self._ranked(self._prepared(run, folder, self.options.seed + number))
                cooks.append(ranking.values)
                known = known.mean_with(more, number)
        return Ensemble(cooks), known

    def shown(self, predictor: Predictor, scored: Scored) -> Shown:
        features = torch.cat([part.float().cpu() for part, _ in predictor.train])
        train = self.rows.train
        return Shown(self.dataset, train, features, self.dataset.labels[train], _NEIGHBOURS)

    def inputs(self, predictor: Predictor) -> np.ndarray | None:
        # Where there is no model, the features are the inputs.
        kind = self.dataset.kind
        if kind == "rows" or (kind == "features" and predictor.inputs is not None):
            return self.dataset.inputs[self.rows.train]
        return None

    def planted(self, index: np.ndarray) -> np.ndarray:
        return self._flipped[np.searchsorted(self.dataset.index, index)]

    @property
    def wrong(self) -> int:
        return int(self._flipped.sum())


@dataclass(frozen=True, eq=False)
class _Known:
    """What the recommended score is made of.

    Attributes:
        seen: of the ranked points the probabilities (n, C) that have not seen the labels; without one class a
            point the score itself, the leave-one-out loss (n,).
        unseen: probabilities of the points held out, (m, C); None without classes or such points.
        by_heart: whether the model knows the ranked points by heart.
    """

    seen: np.ndarray
    unseen: np.ndarray | None
    by_heart: bool

    def mean_with(self, other: _Known, count: int) -> _Known:
        """The mean of ``count`` models and an ``other``."""

        def mean(one: np.ndarray, more: np.ndarray) -> np.ndarray:
            return np.asarray(one + (more - one) / (count + 1))

        both = self.unseen is not None and other.unseen is not None
        unseen = mean(self.unseen, other.unseen) if both else None  # type: ignore[arg-type]  # seen above
        return _Known(mean(self.seen, other.seen), unseen, self.by_heart or other.by_heart)


def _probabilities(solution: HeadSolution, data: FeatureBatches | None) -> np.ndarray | None:
    """What the head says of other points, (m, C) float32."""
    found = [chunk.terms.probabilities for chunk in solution.risk.chunks(data)] if data is not None else []
    known = [p.float().cpu() for p in found if p is not None]
    return torch.cat(known).numpy() if known else None


def origin(source: str | Path, read: ReadOptions) -> dict[str, Any]:
    """What it takes to read the source again."""
    path = Path(source)
    return {"path": str(path.absolute() if path.exists() else source), "read": asdict(read)}


def _columns(
    index: np.ndarray, ranking: Ranking, scores: dict[str, np.ndarray], statistics: Statistics | None
) -> Columns:
    columns = {name: getattr(ranking, "values" if name == "cook" else name) for name in COLUMNS}
    if statistics is not None:
        columns |= {"residual": statistics.residual, "studentised": statistics.studentised}
        columns["suggested_error"] = statistics.error
    if ranking.standard_error is not None:
        columns["standard_error"] = ranking.standard_error
    return {"index": index, **columns, **{name: one for name, one in scores.items() if name not in columns}}


def _regression(solution: HeadSolution, predictor: Predictor, statistics: Statistics) -> RegressionFit:
    held = predictor.validation
    return RegressionFit(
        train=goodness(*predicted(solution.head, predictor.train)),
        validation=None if held is None else goodness(*predicted(solution.head, held)),
        scale=statistics.scale,
        parameters=statistics.parameters,
    )
