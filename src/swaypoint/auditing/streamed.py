"""The audit of features in parquet files larger than memory: streamed, by the shard, resumable.

What is held is a batch of rows for each worker, the curvature, and the top of the ranking.
"""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

import swaypoint
from swaypoint.auditing.options import BYTES_HELD, AuditOptions, Scale
from swaypoint.auditing.run import AuditRun, Listener, describe_model, head_tensors, write_factor
from swaypoint.auditing.shards import PartScores, ScoreParts, score_parts
from swaypoint.auditing.shown import examples, items
from swaypoint.data.batches import ArrayBatches
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.folds import Durable, Fold, engine
from swaypoint.data.folds.engines import IN_PROCESS
from swaypoint.data.neighbours import neighbours
from swaypoint.data.readers.parquet import ParquetPoints, ParquetTable, open_parquet, read_classes
from swaypoint.data.readers.sources import image_column, image_pixels, is_saved, parquet_inside, readable
from swaypoint.data.readers.tables import vector_column
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.folder import audit_folder as files
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.documents import read_json
from swaypoint.models.predictor import stored_head
from swaypoint.scoring.blank_head import zero_head
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import Spread, diagnose, memorisation
from swaypoint.scoring.kinds import suggest_kinds
from swaypoint.scoring.rank import EXACT_LIMIT, factorises
from swaypoint.scoring.ranking import COLUMNS, positions
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import as_loss

_SAMPLE = 131_072
_NEIGHBOURS = 50_000


def table_to_stream(source: object, read: ReadOptions, scale: Scale) -> ParquetTable | None:
    """The table of an audit that is to be streamed, None where the data are to be held in memory.

    Parquet files with a column of features are streamed when they are at a URL, when another engine than
    this process is asked for, or when their features, at :data:`BYTES_HELD` each, exceed
    ``scale.max_memory``.

    Raises:
        InputError: an engine for data that cannot be streamed; or as :func:`open_parquet`.
    """
    elsewhere = scale.engine != IN_PROCESS
    if read.features is None or not isinstance(source, str | Path) or not _is_parquet(str(source)):
        if elsewhere or (isinstance(source, str) and "://" in source):
            raise InputError(
                f"{source} cannot be streamed: engines and URLs are for parquet files with a column of"
                " feature vectors; name it with --features"
            )
        return None
    table = open_parquet(source, read)
    rows = table.files.rows if read.limit is None else min(table.files.rows, read.limit)
    if elsewhere or "://" in str(source) or rows * table.width * BYTES_HELD > scale.bytes:
        return table
    return None


def _is_parquet(source: str) -> bool:
    path = Path(source)
    if "://" in source or path.suffix.lower() == ".parquet":
        return True
    return path.is_dir() and not is_saved(path) and bool(parquet_inside(path))


def streamed_audit(
    table: ParquetTable, out: Path, options: AuditOptions, scale: Scale, listener: Listener
) -> AuditFolder:
    """Rank every training point of ``table`` and write an audit folder; see :func:`swaypoint.audit`.

    The folder has ``scores/part-NNNNN.parquet``, a file a shard, and ``top.parquet`` in place of
    ``scores.parquet``; examples, items and features are those of the top.

    Raises:
        InputError: options that need the data in memory, bad data, or ``out`` holds another audit.
    """
    _check(options, table)
    run = AuditRun(out, listener)
    partial = out / "partial"
    if run.begin(_described(table), options):
        _clear(out, partial)
        return AuditFolder(out)
    with engine(scale.engine, options.device) as inner:  # first, so that it is known early if there is none
        with run.stage("reading"):
            points = ParquetPoints(table, read_classes(table), Split(options.seed, options.validation))
            if not len(points):
                raise InputError(f"{table.name}: no points to train on; expected at least one per class")
            run.record(data=_described(table, points))
        with run.stage("training"):
            head, refit = _head(partial, points, options)
        with run.stage("scoring"):
            fold = Durable(
                partial,
                f"{swaypoint.__version__}-{run.key}-{_digest(head)}",
                inner=inner,
                on_shard=lambda name, done, of: listener.records and listener.records(done, of),
            )
            influence, scores = _scored(out, head, points, options, fold)
            write_factor(out, influence)
            cook = Spread(scores.points, scores.mean, scores.effective)
            run.record(
                model=_model(head, options, scores),
                diagnostics=diagnose(influence.facts(), cook, refit=refit)
                .beside(memorisation(*scores.accuracy, scores.held_out))
                .to_dict(),
                streamed={
                    "points": scores.points,
                    "leverage": scores.mean_leverage,
                    "parts": scores.parts,
                },
            )
    with run.stage("explaining"):
        _explain(out, points, scores, options)
        run.record(ranked_by="cooks_distance", flipped=None)
    run.finish()
    _clear(out, partial)
    return AuditFolder(out)


def _clear(out: Path, partial: Path) -> None:
    """Remove what a finished audit does not need: its steps, and what killed workers left half written."""
    shutil.rmtree(partial, ignore_errors=True)
    for place in (out, out / "scores"):
        for file in place.glob(".*.*"):
            file.unlink(missing_ok=True)


def _check(options: AuditOptions, table: ParquetTable) -> None:
    held = {
        "--flip": bool(options.flip),
        "--params": options.params is not None,
        "--score": bool(options.scores),
        "--limit": table.options.limit is not None,
        "--model": options.model.name not in ("none", "head"),
        "--models": options.model.models > 1,
        "--refit-ridge": options.refit == "ridge",
        "--solver sketch": options.solver not in ("auto", "exact"),
        "--top beyond 100,000": options.top > 100_000,
    }
    for option, given in held.items():
        if given:
            raise InputError(
                f"{table.name} is streamed, and {option} needs the data in memory; leave it out, or raise"
                " --max-memory where the data fit"
            )


def _described(table: ParquetTable, points: ParquetPoints | None = None) -> dict[str, Any]:
    train = 0 if points is None else len(points)
    usable = table.files.rows if points is None else train + len(points.others())
    return {
        "name": table.name,
        "origin": None,
        "kind": "features",
        "points": table.files.rows,
        "train": train,
        "validation": usable - train,
        "classes": [] if points is None else list(points.classes.names),
        "columns": [f"{table.features}[{i}]" for i in range(table.width)],
        "fingerprint": table.fingerprint,
        "skipped": [],
        "left_out": table.files.rows - usable,
        "read": asdict(table.options),
    }


# -- the head -------------------------------------------------------------------------------------


def _head(folder: Path, points: ParquetPoints, options: AuditOptions) -> tuple[HeadWeights, str]:
    """The head and, where it was fitted, how that went; fitted once, whatever interrupts."""
    given, loss = options.model.weights, as_loss(options.objective.loss)
    if given is not None:
        start = stored_head(given, loss, options.objective.l2 or 0.0)
    else:
        l2 = 1.0 / len(points) if options.objective.l2 is None else options.objective.l2
        start = zero_head(loss.outputs(len(points.classes.names)), points.table.width, loss, l2)
    _check_size(start, points)
    if given is not None and not options.refit:
        return start, ""
    saved, outcome = folder / "head.safetensors", folder / "fit.json"
    if outcome.is_file():
        kept = stored_head(saved, loss, start.l2)
        return replace(start, weight=kept.weight, bias=kept.bias), read_json(
            outcome, {"outcome": str}, files.REMEDY
        )["outcome"]
    if given is None and len(points) > _SAMPLE:  # most of the way on a sample: few passes over the whole
        start = refit_head(start, ArrayBatches(*points.sample(_SAMPLE)), device=options.device).head
    fitted = refit_head(start, points, device=options.device)
    folder.mkdir(exist_ok=True)
    files.write_tensors(saved, head_tensors(fitted.head))
    files.write_json(outcome, {"outcome": fitted.outcome})
    return fitted.head, fitted.outcome


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


def _digest(head: HeadWeights) -> str:
    return hashlib.sha256(head.matrix.numpy().tobytes()).hexdigest()


# -- the two passes -------------------------------------------------------------------------------


def _scored(
    out: Path, head: HeadWeights, points: ParquetPoints, options: AuditOptions, fold: Fold
) -> tuple[Influence, PartScores]:
    influence = Influence(head, points, damping=options.damping, device=options.device, fold=fold)
    pass_two = ScoreParts(influence, (out / "scores").absolute(), options.removal, options.top)
    return influence, score_parts(pass_two, points, fold)


def _model(head: HeadWeights, options: AuditOptions, scores: PartScores) -> dict[str, Any]:
    fitted = options.refit or options.model.weights is None
    entries = describe_model(head, options, scores.accuracy, refit=bool(fitted))
    return {"name": "linear head", "hash": "", "layer": "", **entries}


# -- explaining -----------------------------------------------------------------------------------


def _explain(out: Path, points: ParquetPoints, scores: PartScores, options: AuditOptions) -> None:
    """What is shown of the top of the ranking, which is held as a small dataset."""
    top = scores.top
    index = top["index"]
    dataset = _records(points, index, top["label"])
    order = np.argsort(-top["cook"], kind="stable")
    near_index, near_features, near_targets = points.numbered_sample(_NEIGHBOURS)
    apart = ~np.isin(near_index, index)
    features = torch.cat([torch.from_numpy(dataset.inputs), near_features[apart]])
    labels = np.concatenate([dataset.labels, near_targets.numpy()[apart]])
    near = neighbours(features, labels, order, reference=len(features))
    agreement = np.full(len(index), np.nan)
    if dataset.classes:
        agreement[order] = near.agreement
    kinds = suggest_kinds(
        top["margin"], top["leverage"], agreement=agreement, mean_leverage=scores.mean_leverage
    )
    columns: dict[str, Any] = {"index": index, "split": ["train"] * len(index)}
    columns |= {name: top[name] for name in COLUMNS}
    table = pa.table(columns | {"kind": kinds, "rank": positions(order)})
    held = torch.from_numpy(dataset.inputs)
    if options.keep_features:
        files.write_tensors(out / "features.safetensors", {"features": held})
    files.write_arrow(out / "items.arrow", items(dataset, np.arange(len(index)), held))
    files.write_table(out / "examples.parquet", examples(dataset, order, near, agreement[order]))
    files.write_table(out / "top.parquet", table)


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
