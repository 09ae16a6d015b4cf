"""The records of an audit larger than memory: features in parquet files, by the shard, resumable.

What is held is a batch of rows for each worker, the curvature, and the top of the ranking.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from swaypoint.auditing.options import BYTES_HELD, AuditOptions, Scale
from swaypoint.auditing.records import Records, Shown
from swaypoint.auditing.run import VERSION, AuditRun, head_key, head_tensors
from swaypoint.auditing.scored import Columns, Scored, lead
from swaypoint.auditing.shards import ScoreShards, score_shards
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.folds import Durable, Fold, engine
from swaypoint.data.folds.engines import IN_PROCESS
from swaypoint.data.planting import Flips, flips
from swaypoint.data.readers.image_columns import image_column, image_pixels
from swaypoint.data.readers.labelled_tables import readable
from swaypoint.data.readers.parquet import ParquetPoints, ParquetTable, open_parquet, read_classes
from swaypoint.data.readers.parquet_in_memory import is_parquet
from swaypoint.data.readers.tables import vector_column
from swaypoint.data.splitting import Split
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import score_files
from swaypoint.folder.documents import REMEDY, read_json
from swaypoint.folder.manifest import (
    HELD_OUT,
    TRAIN,
    AuditedData,
    RegressionFit,
    StreamedScores,
    ranking_column,
)
from swaypoint.folder.writing import write_json
from swaypoint.models.predictor import Predictor, stored_head
from swaypoint.scorers import scores
from swaypoint.scorers.recommended import OneScale
from swaypoint.scoring.blank_head import zero_head
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import Spread, baseline, diagnose, examine, memorisation
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.rank import EXACT_LIMIT, choose, factorises
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.regression import Fit, Sums, family_of, goodness_of
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss

_SAMPLE, _SAMPLED = 131_072, 1 << 26  # points of a sample; probabilities of one
_NEIGHBOURS = 50_000
_TOP = 100_000


def table_to_stream(source: object, read: ReadOptions, scale: Scale) -> ParquetTable | None:
    """The table of an audit that is to be streamed, None where the data are to be held in memory.

    Parquet files with a column of features are streamed when they are at a URL, when another engine than
    this process is asked for, or when their features, at :data:`BYTES_HELD` each, exceed
    ``scale.max_memory``.

    Raises:
        InputError: an engine for data that cannot be streamed; or as :func:`open_parquet`.
    """
    elsewhere = scale.engine != IN_PROCESS
    if read.features is None or not isinstance(source, str | Path) or not is_parquet(str(source)):
        if elsewhere or (isinstance(source, str) and "://" in source):
            raise InputError(
                f"{source} cannot be streamed: engines and URLs are for parquet files with a column of"
                " feature vectors; name it with --features"
            )
        return None
    table = open_parquet(source, read)
    if elsewhere or "://" in str(source) or table.files.rows * table.width * BYTES_HELD > scale.bytes:
        return table
    return None


class StreamedRecords(Records):
    """The points of parquet files.

    Args:
        engine_name: see :func:`~swaypoint.data.folds.engines.engine`.
        room: see :attr:`~swaypoint.auditing.options.Scale.room`.

    Raises:
        InputError: an option needs the data in memory.
    """

    def __init__(
        self, table: ParquetTable, options: AuditOptions, engine_name: str, room: float | None = None
    ) -> None:
        _refuse(table, options)
        self.table, self.options, self._engine, self._room = table, options, engine_name, room
        self._flips: Flips | None = None
        self.about = self._described(None)

    def _described(self, points: ParquetPoints | None) -> AuditedData:
        train = 0 if points is None else len(points)
        usable = self.table.files.rows if points is None else train + len(points.others())
        return AuditedData(
            name=self.table.name,
            kind="features",
            points=self.table.files.rows,
            train=train,
            validation=usable - train,
            classes=() if points is None else points.classes.names,
            columns=tuple(f"{self.table.features}[{i}]" for i in range(self.table.width)),
            fingerprint=self.table.fingerprint,
            skipped=(),
            read=asdict(self.table.options),
            left_out=self.table.files.rows - usable,
            splits={TRAIN: train} | ({HELD_OUT: usable - train} if usable > train else {}),
        )

    @contextmanager
    def at_work(self, run: AuditRun) -> Iterator[None]:
        options, rows = self.options, self.table.files.rows
        # First, so that it is known early if there is none.
        with engine(self._engine, options.device) as inner:
            self._inner: Fold = inner
            with run.stage("reading"):
                classes = read_classes(self.table)
                self._flips = flips(rows, options.flip, options.seed, len(classes.names))
                split = Split.of(rows, seed=options.seed, share=options.held_out(splits=False))
                self.points = ParquetPoints(self.table, classes, split, flips=self._flips)
                if not len(self.points):
                    raise InputError(
                        f"{self.table.name}: no points to train on; expected at least one per class"
                    )
                self.about = self._described(self.points)
            yield

    def tidy(self, run: AuditRun) -> None:
        _clear(run.path)

    def predictor(self, run: AuditRun) -> Predictor:
        head, refit = _head(_partial(run), self.points, self.options, self._room)
        return Predictor("linear head", LinearHead(head), self.points, self.points.others(), fit=refit)

    def scored(self, run: AuditRun, predictor: Predictor) -> Scored:
        options, head = self.options, predictor.head.weights
        fold = Durable(
            _partial(run),
            f"{VERSION}-{run.key}-{head_key(head)}",
            inner=self._inner,
            on_shard=lambda name, done, of: run.listener.records and run.listener.records(done, of),
        )
        solution = Influence(head, self.points, damping=options.damping, device=options.device, fold=fold)
        ranked_by = lead(options.scores)
        among, regression = self._regression(solution, fold)
        scoring = ScoreShards(
            solution,
            (run.path / "scores").absolute(),
            options.removal,
            options.top,
            ranking_column(ranked_by),
            options.scores,
            self._scale(solution),
            among,
        )
        found = score_shards(scoring, self.points, fold)
        run.write_factor(solution)
        fitted = _fitted(_partial(run)) if predictor.fit else ""
        diagnostics = diagnose(
            solution.facts(), Spread(found.points, found.mean, found.effective), refit=fitted
        ).beside(memorisation(*found.accuracy, found.held_out))
        sample = ArrayBatches(*self.points.sample(_SAMPLE))
        others = self.points.others()
        held = ArrayBatches(*others.sample(_SAMPLE)) if self.about.validation else sample
        labels = torch.cat([targets for _, targets in sample]).numpy()
        diagnostics = diagnostics.beside(baseline(solution.risk, held, labels, self.about.classes))
        return Scored(
            head=head,
            refit=predictor.fit,
            points=found.points + found.held_out,
            accuracy=found.accuracy,
            diagnostics=diagnostics.beside(examine(solution, sample)),
            columns=found.top,
            every=lambda: _every(run.path / "scores"),
            ranked_by=ranked_by,
            streamed=StreamedScores(found.points, found.mean_leverage, found.parts),
            regression=regression,
            pairs=found.pairs,
            accuracies={} if found.accuracy[1] is None else {HELD_OUT: found.accuracy[1]},
        )

    def _regression(self, solution: Influence, fold: Fold) -> tuple[Fit | None, RegressionFit | None]:
        """What the statistics of single points are taken among, and how well the head predicts, by a pass
        over all of them and those held out; None of classes."""
        head = solution.head
        if head.loss.classifies or family_of(head) is None:
            return None, None
        sample = ArrayBatches(*self.points.sample(_SAMPLE))
        around = float(torch.cat([targets for _, targets in sample]).double().mean())
        asked = Sums(solution.risk, solution.risk.coordinates()["features"].cpu().double(), around)
        sums = fold.total("regression", asked, self.points.shards())
        assert sums is not None  # checked: there are points
        others = self.points.others()
        held = fold.total("regression-held-out", asked, others.shards()) if self.about.validation else None
        fit = Fit.of_sums(asked, sums, sample)
        return fit, RegressionFit(
            train=goodness_of(sums),
            validation=None if held is None else goodness_of(held),
            scale=fit.among.dispersion**0.5,
            parameters=fit.among.parameters,
        )

    def _scale(self, solution: Influence) -> OneScale | None:
        """Of the wrong labels, from a sample of either part; None where the loss has not one class."""
        size = max(1, min(_SAMPLE, _SAMPLED // max(len(self.about.classes), 1)))
        sides = [solution.of(ArrayBatches(*self.points.sample(size)))]
        if self.about.validation:
            share = max(1, round(size * self.about.validation / self.about.train))
            sides.append(solution.unseen(ArrayBatches(*self.points.others().sample(share))))
        found = [side.scores(probabilities=True) for side in sides]
        parts = [(one.probabilities, one.label.astype(np.int64)) for one in found]
        known = [(p, y) for p, y in parts if p is not None]
        return OneScale.of(known) if known else None

    def shown(self, predictor: Predictor, scored: Scored) -> Shown:
        index = scored.columns["index"]
        dataset = _records(self.points, index, scored.columns["label"])
        near_index, near_features, near_targets = self.points.numbered_sample(_NEIGHBOURS)
        apart = ~np.isin(near_index, index)
        features = torch.cat([torch.from_numpy(dataset.inputs), near_features[apart]])
        labels = np.concatenate([dataset.labels, near_targets.numpy()[apart]])
        return Shown(dataset, np.arange(len(index)), features, labels, len(features))

    def planted(self, index: np.ndarray) -> np.ndarray:
        assert self._flips is not None  # at work
        return self._flips.among(index)

    @property
    def wrong(self) -> int:
        return 0 if self._flips is None else len(self._flips.rows)


def _refuse(table: ParquetTable, options: AuditOptions) -> None:
    """The one place that says what needs the whole dataset in memory."""
    whole = [name for name in options.scores if name != "auto" and not scores[name].pointwise]
    held = {
        "--params": options.params is not None,
        f"--score {','.join(whole)}": bool(whole),
        "--model": options.model.name not in ("none", "head"),
        "--models": options.model.models > 1,
        "--folds": options.folds is not None,
        "--refit-ridge": options.refit == "ridge",
        "--solver sketch": options.solver not in ("auto", "exact"),
        f"--top beyond {_TOP:,}": options.top > _TOP,
    }
    for option, given in held.items():
        if given:
            raise InputError(
                f"{table.name} is streamed, and {option} needs the data in memory; leave it out, or raise"
                " --max-memory where the data fit"
            )


def _partial(run: AuditRun) -> Path:
    return run.path / "partial"


def _clear(out: Path) -> None:
    """Remove what a finished scoring does not need: its steps, and what killed workers left half written."""
    shutil.rmtree(out / "partial", ignore_errors=True)
    for place in (out, out / "scores"):
        for file in place.glob(".*.*"):
            file.unlink(missing_ok=True)


def _every(folder: Path) -> Iterator[Columns]:
    """The columns of all points, a batch at a time."""
    for batch in score_files(sorted(folder.glob("part-*.parquet"))).to_batches():
        if len(batch):
            names = [name for name in batch.schema.names if name not in ("split", "kind")]
            found = {name: batch[name].to_numpy(zero_copy_only=False) for name in names}
            split = batch["split"].cast(pa.string()).to_numpy(zero_copy_only=False).astype(str)
            yield {**found, "split": split}


# -- the head -------------------------------------------------------------------------------------


def _head(
    folder: Path, points: ParquetPoints, options: AuditOptions, room: float | None
) -> tuple[HeadWeights, bool]:
    """The head, and whether it was fitted here; fitted once, whatever interrupts."""
    given, loss = options.model.weights, as_loss(options.objective.loss)
    if given is not None:
        start = stored_head(given, loss, options.objective.l2 or 0.0)
    else:
        l2 = 1.0 / len(points) if options.objective.l2 is None else options.objective.l2
        start = zero_head(loss.outputs(len(points.classes.names)), points.table.width, loss, l2)
    _check_size(start, points)
    choose(start, replace(options.of_the_head(), solver="exact"), torch.float64, memory=room)
    if given is not None and not options.refit:
        return start, False
    saved = folder / "head.safetensors"
    if (folder / "fit.json").is_file():
        kept = stored_head(saved, loss, start.l2)
        return replace(start, weight=kept.weight, bias=kept.bias), True
    if given is None and len(points) > _SAMPLE:  # most of the way on a sample: few passes over the whole
        start = refit_head(start, ArrayBatches(*points.sample(_SAMPLE)), device=options.device).head
    fitted = refit_head(start, points, device=options.device)
    folder.mkdir(exist_ok=True)
    write_tensors(saved, head_tensors(fitted.head))
    write_json(folder / "fit.json", {"outcome": fitted.outcome})
    return fitted.head, True


def _fitted(folder: Path) -> str:
    """How the fit of the head went."""
    return str(read_json(folder / "fit.json", {"outcome": str}, REMEDY)["outcome"])


def _check_size(head: HeadWeights, points: ParquetPoints) -> None:
    wide = points.table.width
    if head.weight.shape[1] != wide:
        raise InputError(f"the head takes {head.weight.shape[1]} features, the table has {wide}")
    if not factorises(head):
        raise InputError(
            f"a head of {head.outputs:,} outputs and {head.width:,} weights each is too large for a streamed"
            f" audit, which takes at most {EXACT_LIMIT:,} that interact; use fewer features or classes, or"
            " raise --max-memory where the data fit"
        )


# -- what is shown --------------------------------------------------------------------------------


def _records(points: ParquetPoints, index: np.ndarray, labels: np.ndarray) -> Dataset:
    """The records at ``index`` as a dataset in memory."""
    table, classes = points.table, points.classes
    records = table.files.take(index)
    vectors = vector_column(table.name, records, table.features)
    return Dataset(
        name=table.name,
        kind="features",
        inputs=vectors.values,
        labels=labels,
        classes=classes.names,
        columns=vectors.names,
        index=index,
        names=(),
        skipped=(),
        fingerprint=table.fingerprint,
        raw=readable(records, table.label),
        pictures=_pictures(table, records),
    )


def _pictures(table: ParquetTable, records: pa.Table) -> np.ndarray | None:
    """(n, H, W, 3) uint8, black where one is bad; None where there is no column of them."""
    image = image_column(table.name, records, table.options.image)
    if image is None:
        return None
    return image_pixels(table.name, records[image], table.options)[0]
