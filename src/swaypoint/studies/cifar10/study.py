"""The CIFAR-10 study of Picard et al. (2022): wrong labels planted, models trained, every score measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.auditing.run import Listener
from swaypoint.errors import InputError, require
from swaypoint.folder.writing import write_table, write_text
from swaypoint.scoring.agreement import combine
from swaypoint.studies import pieces
from swaypoint.studies.cifar10.images import Images, read_images
from swaypoint.studies.cifar10.learning import Learned, learn, snapshots
from swaypoint.studies.cifar10.measured import fitness_row
from swaypoint.studies.cifar10.pictures import draw_fitness, draw_regime, draw_suspects
from swaypoint.studies.cifar10.scores import cross_validated, logits_of, scores_of, solved
from swaypoint.studies.cifar10.summary import REGIME, Detections, tables
from swaypoint.studies.cifar10.trainings import FOLDS, Cell
from swaypoint.studies.detection import Found

_ALL, _FOLDS = "all", "folds"
_LABELS = ("wrong", "given", "suggested")
_SUSPECTS = 50


@dataclass(frozen=True)
class CifarOptions:
    """What one command trains.

    Attributes:
        cell: the first model; the others differ in their seed alone.
        models: how many.
        folds: also five models that each leave a fifth out, for cleanlab.
        name: what the pictures call the data.
        data, test: the training and the test set, as :func:`~swaypoint.data.readers.sources.read_dataset`
            reads them; no test set: the split of that name of ``data``.
    """

    cell: Cell
    models: int
    folds: bool
    data: str
    test: str | None = None
    name: str = "CIFAR-10"
    device: str = "cpu"


def study(options: CifarOptions, out: Path, listener: Listener | None = None) -> Detections:
    """Train the models that are missing, score the points of each, and sum up all that ``out`` holds.

    ``out`` gets ``cells/`` (a folder a model: weights, features, trajectory), ``scores/`` (a parquet a
    model), ``detections.parquet`` (right labels above each wrong one, by model and score),
    ``wrong.parquet`` (which labels were wrong), ``fitness.parquet``, ``roc-*.png``, ``fitness.png``,
    ``suspects.png`` (untouched labels that the command's models doubt most) and ``cifar10.md``, all of it as
    tables. An interrupted study goes on within the model that it was at.

    Raises:
        InputError: an option out of range, data that are not CIFAR-10, or another recipe's models in ``out``.
        MissingExtra: matplotlib or cleanlab is not installed.
    """
    if options.models < 0 or options.cell.epochs < 1:
        raise InputError(
            f"models is {options.models} and epochs {options.cell.epochs}; expected 0 and 1 or more"
        )
    for module in ("matplotlib", "cleanlab"):
        require(module, "study")  # before hours of training, not after
    listener = listener or Listener()
    (out / "scores").mkdir(parents=True, exist_ok=True)
    listener.stage("reading")
    images = read_images(options.data, options.test)
    for number in range(options.models):
        cell = replace(options.cell, seed=options.cell.seed + number)
        _model(cell, images, out, options.device, listener)
    if options.folds:
        _folds(options.cell, images, out, options.device, listener)
    listener.stage("summing up")
    detections = summarise(out, options.name)
    _suspects(options.cell, images, out)
    return detections


def _model(cell: Cell, images: Images, out: Path, device: str, listener: Listener) -> None:
    def make() -> pieces.Cell:
        learned = learn(cell, images, out / "cells", device=device, report=listener.epoch)
        stages = []
        for stage in (*snapshots(learned, out / "cells"), learned):
            trained, scores = solved(stage)
            stages.append(fitness_row(stage, trained.influence, scores))
        suggested = logits_of(learned).argmax(1).numpy()
        return _scored(scores_of(learned, trained, scores), suggested, learned, {"fitness": stages})

    listener.stage(cell.name)
    pieces.cell(out / "scores" / f"{cell.name}.parquet", {"cell": asdict(cell), "of": "model"}, make)


def _folds(cell: Cell, images: Images, out: Path, device: str, listener: Listener) -> None:
    def make() -> pieces.Cell:
        learned = []
        for fold in range(FOLDS):
            listener.stage(f"fold {fold + 1} of {FOLDS}")
            one = replace(cell, fold=fold)
            learned.append(learn(one, images, out / "cells", device=device, report=listener.epoch))
        return _scored(*cross_validated(learned), learned[0], {"fitness": []})

    path = out / "scores" / f"{cell.name}-folds.parquet"
    pieces.cell(path, {"cell": asdict(cell), "of": _FOLDS}, make)


def _scored(
    scores: dict[str, np.ndarray], suggested: np.ndarray, learned: Learned, measured: dict[str, Any]
) -> pieces.Cell:
    facts = {"accuracy": learned.facts["accuracy"], "seconds": learned.facts["seconds"]}
    columns = {"wrong": learned.wrong, "given": learned.given, "suggested": suggested}
    return pieces.Cell(facts | measured, pa.table(columns | scores))


# -- summing up -------------------------------------------------------------------------------------


def summarise(out: Path, name: str) -> Detections:
    """All that ``out`` holds as tables and pictures; see :func:`study`."""
    models = list(_scored_models(out))
    rows, wrong, fitness = [], {}, []
    for settings, piece in models:
        rows += _detections(settings, piece)
        noise = settings["cell"]["noise"]
        flipped = np.flatnonzero(piece.points["wrong"].to_numpy())
        wrong[tuple(noise.values())] = {**noise, "rows": flipped.tolist()}
        fitness += [_regime(settings) | row for row in piece.measured["fitness"]]
    rows += _together(models)
    write_table(out / "detections.parquet", pa.Table.from_pylist(rows))
    write_table(out / "wrong.parquet", pa.Table.from_pylist(list(wrong.values())))
    write_table(out / "fitness.parquet", pa.Table.from_pylist(fitness))
    detections = Detections.from_rows(rows)
    for regime in detections.regimes():
        draw_regime(detections, regime, out / f"roc-{detections.slug(regime)}.png", name)
    if fitness:
        draw_fitness(fitness, out / "fitness.png", name)
    write_text(out / "cifar10.md", tables(detections, fitness))
    return detections


def _scored_models(out: Path) -> Iterator[tuple[dict[str, Any], pieces.Cell]]:
    for path in sorted((out / "scores").glob("*.parquet")):
        found = pieces.read(path)
        if found is not None:
            yield found


def _regime(settings: dict[str, Any]) -> dict[str, Any]:
    cell = settings["cell"]
    flat = cell | {"kind": cell["noise"]["kind"], "share": cell["noise"]["share"]}
    member = _FOLDS if settings["of"] == _FOLDS else str(cell["seed"])
    regime = {name: flat[name] for name in REGIME}
    return regime | {"noise_seed": cell["noise"]["seed"], "member": member}


def _detections(settings: dict[str, Any], piece: pieces.Cell) -> list[dict[str, Any]]:
    wrong = piece.points["wrong"].to_numpy()
    return [
        _row(
            _regime(settings) | {"accuracy": piece.measured["accuracy"]["test"]},
            name,
            column.to_numpy(),
            wrong,
        )
        for name, column in zip(piece.points.column_names, piece.points.columns, strict=True)
        if name not in _LABELS
    ]


def _row(regime: dict[str, Any], score: str, values: np.ndarray, wrong: np.ndarray) -> dict[str, Any]:
    found = Found.of(values, wrong)
    return regime | {"score": score, "above": found.above.tolist(), "right": found.right}


def _together(models: list[tuple[dict[str, Any], pieces.Cell]]) -> list[dict[str, Any]]:
    """Models that saw the same wrong labels, by mean rank."""
    groups: dict[tuple[Any, ...], list[tuple[dict[str, Any], pieces.Cell]]] = {}
    for settings, piece in models:
        if settings["of"] == "model":
            regime = _regime(settings)
            key = tuple(value for name, value in regime.items() if name != "member")
            groups.setdefault(key, []).append((settings, piece))
    rows = []
    for group in groups.values():
        if len(group) < 2:
            continue
        points = [piece.points for _, piece in group]
        accuracy = float(np.mean([piece.measured["accuracy"]["test"] for _, piece in group]))
        regime = _regime(group[0][0]) | {"member": _ALL, "accuracy": accuracy}
        wrong = points[0]["wrong"].to_numpy()
        for name in points[0].column_names:
            if name not in _LABELS:
                score = together([table[name].to_numpy() for table in points], name)
                rows.append(_row(regime, name, score, wrong))
    return rows


def together(scores: list[np.ndarray], name: str) -> np.ndarray:
    """Of several models: the mean of the recommended score, as the audit has it; of others the mean rank."""
    return np.mean(scores, axis=0) if name == "auto" else combine(scores, "rank")


def _suspects(cell: Cell, images: Images, out: Path) -> None:
    """The most suspicious images whose label was not touched: are those of the dataset itself right?"""
    found = [
        piece
        for settings, piece in _scored_models(out)
        if settings["of"] == "model" and settings["cell"] == asdict(cell) | {"seed": settings["cell"]["seed"]}
    ]
    if not found:
        return
    tables = [piece.points for piece in found]
    score = together([table["auto"].to_numpy() for table in tables], "auto")
    score[tables[0]["wrong"].to_numpy()] = -np.inf
    rows = np.argsort(-score, kind="stable")[:_SUSPECTS]
    suggested = tables[0]["suggested"].to_numpy()[rows]
    places = images.ranked[rows]
    draw_suspects(
        images.training.inputs[places],
        images.training.labels[places],
        suggested,
        places,
        out / "suspects.png",
    )
