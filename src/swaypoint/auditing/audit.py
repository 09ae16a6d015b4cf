"""The audit: from a dataset on disk to a ranked, explained folder. One function, readable in order."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from swaypoint.auditing.ensemble import Members
from swaypoint.auditing.options import AuditOptions as AuditOptions
from swaypoint.auditing.options import Scale as Scale
from swaypoint.auditing.run import AuditRun, describe_model, write_factor
from swaypoint.auditing.run import Listener as Listener
from swaypoint.auditing.shown import examples, items
from swaypoint.auditing.streamed import streamed_audit, table_to_stream
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.neighbours import neighbours
from swaypoint.data.planting import plant
from swaypoint.data.readers.builtin import PREFIX, read_builtin
from swaypoint.errors import InputError
from swaypoint.folder import audit_folder as files
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import Parts, Predictor, Training, prepare
from swaypoint.scorers import methods
from swaypoint.scorers.recommended import recommended
from swaypoint.scoring.fitness import accuracy_of, by_heart, examine, memorisation
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.kinds import suggest_kinds
from swaypoint.scoring.rank import rank, rank_parameters
from swaypoint.scoring.ranking import Ranking, positions
from swaypoint.scoring.risks.losses import regression
from swaypoint.scoring.trained_model import TrainedModel

INSPECTED = (0.01, 0.05, 0.10)


def audit(
    source: str | Path | Dataset,
    out: str | Path | None = None,
    *,
    options: AuditOptions | None = None,
    read: ReadOptions | None = None,
    listener: Listener | None = None,
    scale: Scale | None = None,
) -> AuditFolder:
    """Rank every training point of ``source`` and write an audit folder; the command line's audit.

    A second call with the same inputs returns the finished folder, or resumes an interrupted one.

    Args:
        source: an image folder, a table, an ``.npz``, a Hugging Face dataset (see
            :func:`~swaypoint.data.readers.sources.read_dataset`), ``sklearn:digits`` and its like, or a
            :class:`~swaypoint.data.dataset.Dataset`.
        out: the folder; default: the source's name with ``-audit``.
        scale: how much may be held in memory, beyond which parquet files of features are streamed, and
            where that runs.

    Returns:
        The folder: ``manifest.json``, ``scores.parquet``, ``examples.parquet``, ``report.html``, and
        the head, its factor and the model as safetensors.

    Raises:
        InputError: bad data, a model that does not fit, or ``out`` holds another audit.
    """
    options, listener = options or AuditOptions(), listener or Listener()
    _check(options)
    read = replace(read or ReadOptions(), regression=regression(options.objective.loss))
    table = table_to_stream(source, read, scale or Scale())
    if table is not None:
        return streamed_audit(table, _folder_for(source, out), options, scale or Scale(), listener)
    run = AuditRun(_folder_for(source, out), listener)
    with run.stage("reading"):
        given = _read(source, read, listener)
        dataset, flipped = plant(given, options.flip, options.seed)
    if run.begin(_described(given, options, _origin(source, read)), options):
        return AuditFolder(run.path)
    parts = _split(len(dataset), options)
    with run.stage("training"):
        training = Training(run.path, options.seed, options.device, listener.epoch)
        predictor = prepare(dataset, parts, options.model, options.objective, training=training)
        run.record(model={"name": predictor.name, "hash": predictor.hash})
    with run.stage("scoring"):
        head_options = options.of_the_head(fit=predictor.fit)
        ranking, influence = rank(predictor.head.weights, predictor.train, head_options)
        trained = _trained(predictor, influence, options)
        if options.params is not None:
            ranking = rank_parameters(trained, ranking)
        accuracy = _accuracies(influence, predictor)
        known = by_heart(*accuracy, len(parts.validation))
        auto = recommended(ranking.loo_loss, predictor.course, by_heart=known)
        scores = _scores(trained, auto, options)
        write_factor(run.path, influence)
        diagnostics = ranking.diagnostics.beside(memorisation(*accuracy, len(parts.validation)))
        if options.params is None:
            diagnostics = diagnostics.beside(examine(influence))
    if options.model.models > 1:
        members = _members(run, dataset, parts, options, first=(ranking.values, auto), listener=listener)
        diagnostics = diagnostics.beside((members.check(),))
        scores |= {name: score for name, score in members.columns().items() if name in (*scores, "models")}
    with run.stage("explaining"):
        run.record(
            model=_describe(predictor, influence, accuracy, options),
            diagnostics=diagnostics.to_dict(),
        )
        _explain(run.path, dataset, parts, predictor, ranking, scores, options)
        run.record(ranked_by=_lead(scores))
        run.record(flipped=_found(ranking, scores, parts, flipped, options))
    (run.path / "last.ckpt").unlink(missing_ok=True)
    run.finish()
    return AuditFolder(run.path)


# -- reading --------------------------------------------------------------------------------------


def _check(options: AuditOptions) -> None:
    if not 0.0 <= options.validation < 1.0:
        raise InputError(f"validation is {options.validation}; expected a share, 0 <= share < 1")
    if not 0.0 <= options.flip < 1.0:
        raise InputError(f"flip is {options.flip}; expected a share, 0 <= share < 1")
    if options.model.models < 1:
        raise InputError(f"models is {options.model.models}; expected a positive number")
    if options.model.models > 1 and (":" in options.model.name or options.params is not None):
        raise InputError("models > 1 trains the default model from several seeds; leave model and params out")
    if options.top < 1:
        raise InputError(f"top is {options.top}; expected a positive number")
    options.check()
    known = sorted(name for name, method in methods.items() if method.score is not None)
    for name in options.scores:
        if name not in known:
            raise InputError(f"there is no score {name!r}; expected {', '.join(known)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise InputError("device is cuda, but this torch sees no GPU; leave --device out for the CPU")


def _folder_for(source: str | Path | Dataset, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out)
    name = source.name if isinstance(source, Dataset) else str(source)
    return Path(f"{Path(name.removeprefix(PREFIX)).stem}-audit")


def _read(source: str | Path | Dataset, read: ReadOptions, listener: Listener) -> Dataset:
    if isinstance(source, Dataset):
        return source
    if str(source).startswith(PREFIX):
        return read_builtin(str(source))
    from swaypoint.data.readers.sources import read_dataset

    return read_dataset(source, options=read, on_progress=listener.records)


def _origin(source: str | Path | Dataset, read: ReadOptions) -> dict[str, Any] | None:
    """What it takes to read the source again; None of a dataset in memory."""
    if isinstance(source, Dataset):
        return None
    path = Path(source)
    return {"path": str(path.absolute() if path.exists() else source), "read": asdict(read)}


def _described(dataset: Dataset, options: AuditOptions, origin: dict[str, Any] | None) -> dict[str, Any]:
    held = round(options.validation * len(dataset))
    return {
        "name": dataset.name,
        "origin": origin,
        "kind": dataset.kind,
        "points": len(dataset),
        "train": len(dataset) - held,
        "validation": held,
        "classes": list(dataset.classes),
        "columns": list(dataset.columns),
        "fingerprint": dataset.fingerprint,
        "skipped": [asdict(record) for record in dataset.skipped],
    }


def _split(n: int, options: AuditOptions) -> Parts:
    held = round(options.validation * n)
    order = np.random.default_rng(options.seed).permutation(n)
    return Parts(np.sort(order[held:]), np.sort(order[:held]))


# -- scoring --------------------------------------------------------------------------------------


def _trained(predictor: Predictor, influence: HeadSolution, options: AuditOptions) -> TrainedModel:
    """What the audit scored, for the estimators: a refitted head stands in a copy of its model."""
    head = predictor.head.with_weights(influence.head)
    if options.refit:
        head = head.installed()
    return TrainedModel(
        head,
        predictor.train if predictor.inputs is None else predictor.inputs,
        params=options.params,
        damping=options.damping,
        curvature=options.curvature,
        solver=options.solver,
        features=predictor.train,
        course=predictor.course,
        held_out=predictor.validation,
    )


def _members(
    run: AuditRun,
    dataset: Dataset,
    parts: Parts,
    options: AuditOptions,
    *,
    first: tuple[np.ndarray, np.ndarray],
    listener: Listener,
) -> Members:
    """The first model's Cook's distances and recommended scores, and those of the others, each trained in a
    folder of its own."""
    scored = [first]
    for number in range(1, options.model.models):
        folder = run.path / "models" / str(number + 1)
        folder.mkdir(parents=True, exist_ok=True)
        with run.stage(f"model {number + 1}"):
            training = Training(folder, options.seed + number, options.device, listener.epoch)
            other = prepare(dataset, parts, options.model, options.objective, training=training)
            ranking, influence = rank(other.head.weights, other.train, options.of_the_head(fit=other.fit))
            known = by_heart(*_accuracies(influence, other), len(parts.validation))
            scored.append((ranking.values, recommended(ranking.loo_loss, other.course, by_heart=known)))
        (folder / "last.ckpt").unlink(missing_ok=True)
    cooks, autos = zip(*scored, strict=True)
    return Members(cooks, autos)


def _scores(trained: TrainedModel, auto: np.ndarray, options: AuditOptions) -> dict[str, np.ndarray]:
    scores = {}
    for name in options.scores:
        if name == "auto":  # its leave-one-out losses are known already, of large heads too
            scores[name] = auto
            continue
        score = methods[name].score
        assert score is not None  # checked at the start
        scores[name] = score(trained)
    return scores


def _describe(
    predictor: Predictor,
    influence: HeadSolution,
    accuracy: tuple[float | None, float | None],
    options: AuditOptions,
) -> dict[str, Any]:
    entries = describe_model(influence.head, options, accuracy, refit=bool(options.refit) or predictor.fit)
    return {"name": predictor.name, "hash": predictor.hash, "layer": predictor.head.layer, **entries}


def _accuracies(influence: HeadSolution, predictor: Predictor) -> tuple[float | None, float | None]:
    """On the training points, and on those held out."""
    held_out = predictor.validation
    return accuracy_of(influence.risk, predictor.train), accuracy_of(influence.risk, held_out)


# -- explaining -----------------------------------------------------------------------------------


def _explain(
    path: Path,
    dataset: Dataset,
    parts: Parts,
    predictor: Predictor,
    ranking: Ranking,
    scores: dict[str, np.ndarray],
    options: AuditOptions,
) -> None:
    features = torch.cat([part.float().cpu() for part, _ in predictor.train])
    labels = dataset.labels[parts.train]
    order = _order(ranking, scores)
    top = order[: options.top]
    near = neighbours(features, labels, top)
    agreement = np.full(len(ranking), np.nan)
    if dataset.classes:
        agreement[top] = near.agreement
    kinds = suggest_kinds(ranking.margin, ranking.leverage, agreement=agreement)
    table = ranking.to_arrow()
    index = dataset.index[parts.train]
    table = table.set_column(0, "index", pa.array(index))
    table = table.add_column(1, "split", pa.array(["train"] * len(table)))
    table = table.drop_columns("rank").append_column("kind", pa.array(kinds))
    table = table.append_column("rank", pa.array(positions(order)))
    for name, values in scores.items():
        if name not in table.column_names:  # the loss and the margin are there already
            table = table.append_column(name, pa.array(values))
    if options.keep_features:
        files.write_tensors(path / "features.safetensors", {"features": features})
        # Where there is no model, the features are the inputs.
        if dataset.kind == "rows" or (dataset.kind == "features" and predictor.inputs is not None):
            inputs = torch.from_numpy(dataset.inputs[parts.train])
            files.write_tensors(path / "inputs.safetensors", {"inputs": inputs})
    files.write_arrow(path / "items.arrow", items(dataset, parts.train, features))
    files.write_table(path / "examples.parquet", examples(dataset, parts.train[top], near, agreement[top]))
    files.write_table(path / "scores.parquet", table)


def _lead(scores: dict[str, np.ndarray]) -> str:
    """What ranks: the recommended score where it was asked for, several models together where there are."""
    return next((name for name in ("auto", "models") if name in scores), "cooks_distance")


def _order(ranking: Ranking, scores: dict[str, np.ndarray]) -> np.ndarray:
    lead = _lead(scores)
    return np.argsort(-scores[lead], kind="stable") if lead in scores else ranking.order


def _found(
    ranking: Ranking,
    scores: dict[str, np.ndarray],
    parts: Parts,
    flipped: np.ndarray,
    options: AuditOptions,
) -> dict[str, Any] | None:
    """How many planted errors stand in the first shares of several orders."""
    planted = flipped[parts.train]
    if not planted.any():
        return None
    orders = {_lead(scores): _order(ranking, scores)} if _lead(scores) in scores else {}
    orders |= {"cook": ranking.order, "loss": np.argsort(-ranking.loss, kind="stable")}
    orders["random"] = np.random.default_rng(options.seed + 1).permutation(len(planted))
    rows = []
    for share in INSPECTED:
        count = int(np.ceil(share * len(planted)))
        hits = {name: int(planted[order[:count]].sum()) for name, order in orders.items()}
        rows.append(
            {
                "inspected": share,
                **{name: hit / int(planted.sum()) for name, hit in hits.items()},
                "hits": hits,
            }
        )
    return {
        "share": options.flip,
        "seed": options.seed,
        "planted": int(flipped.sum()),
        "in_training": int(planted.sum()),
        "found": rows,
    }
