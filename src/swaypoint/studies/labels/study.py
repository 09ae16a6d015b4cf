"""The study of wrong labels: sets times kinds of noise times draws, each cell kept on disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from swaypoint.auditing.run import Listener
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.data.readers.builtin import PREFIX
from swaypoint.errors import InputError, require
from swaypoint.folder.writing import write_json, write_text
from swaypoint.studies import pieces
from swaypoint.studies.detection import Found, calibration_error
from swaypoint.studies.labels.noise import Noise, weak_probabilities
from swaypoint.studies.labels.scored import scored
from swaypoint.studies.labels.summary import Row, tables

SOURCES = ("sklearn:digits", "sklearn:breast_cancer", "sklearn:wine")
NOISES = ("uniform:0.005", "uniform:0.05", "class:0.005", "class:0.05", "class:0.2", "record:0.05")
FEWEST = 4
"""Wrong labels below which a draw says nothing."""
_FIRST = 100
_FACTS = ("true", "given", "p_wrong")


@dataclass(frozen=True)
class LabelsOptions:
    """What is planted where.

    Attributes:
        sources: of :func:`~swaypoint.data.readers.read_dataset`; their labels are taken for right.
        noises: see :class:`~swaypoint.studies.labels.noise.Noise`.
        draws: seeds of the wrong labels and of the trainings.
        rows: of each source at most so many records, at random.
        read: how the sources are read.
    """

    sources: tuple[str, ...] = SOURCES
    noises: tuple[Noise, ...] = tuple(map(Noise.of, NOISES))
    draws: tuple[int, ...] = (0, 1, 2)
    rows: int = 2000
    read: ReadOptions = field(default_factory=ReadOptions)


def study(options: LabelsOptions, out: Path, listener: Listener | None = None) -> list[Row]:
    """Score the cells that are missing, and sum up all that ``out`` holds: ``cells/`` (a parquet a cell),
    ``labels.json`` (every measure) and ``labels.md`` (tables). Interrupted, it goes on after the last cell.

    Raises:
        InputError: a source that cannot be read, or has no classes.
        MissingExtra: cleanlab or scikit-learn is not installed.
    """
    listener = listener or Listener()
    for module in ("cleanlab", "sklearn"):
        require(module, "study")
    if options.rows < 1 or not options.draws:
        raise InputError(f"rows is {options.rows}, draws are {options.draws}; expected one or more of each")
    (out / "cells").mkdir(parents=True, exist_ok=True)
    for source in options.sources:
        listener.stage(f"reading {source}")
        dataset = _chosen(read_dataset(source, options=options.read), options.rows)
        weak = weak_probabilities(dataset)
        for noise in options.noises:
            for draw in options.draws:
                _cell(_name(source), dataset, weak, noise, draw, out, listener)
    listener.stage("summing up")
    return summarise(out)


def summarise(out: Path) -> list[Row]:
    """Of all cells in ``out``."""
    rows = [row for path in sorted((out / "cells").glob("*.parquet")) for row in _measured(path)]
    write_json(out / "labels.json", [asdict(row) for row in rows])
    write_text(out / "labels.md", tables(rows) + "\n")
    return rows


def _chosen(dataset: Dataset, rows: int) -> Dataset:
    if len(dataset.classes) < 2:
        raise InputError(f"{dataset.name} has no classes; the study plants wrong labels between classes")
    chosen = np.random.default_rng(0).permutation(len(dataset))[:rows]
    return dataset.subset(np.sort(chosen))


def _name(source: str) -> str:
    return Path(source.removeprefix(PREFIX)).stem


def _cell(
    name: str, dataset: Dataset, weak: np.ndarray, noise: Noise, draw: int, out: Path, listener: Listener
) -> None:
    given = noise.given(dataset.labels, weak, draw)
    if (given != dataset.labels).sum() < FEWEST:
        return
    settings = {
        "set": name,
        "data": dataset.fingerprint,
        "records": len(dataset),
        "classes": len(dataset.classes),
        "kind": dataset.kind,
        "noise": str(noise),
        "draw": draw,
    }
    path = out / "cells" / f"{name}-{noise.kind}-{noise.share:g}-{draw}.parquet"
    listener.stage(f"{name}, {noise}, draw {draw}")
    marked = replace(dataset, fingerprint=f"{dataset.fingerprint}-{noise}-{draw}")
    pieces.cell(path, settings, lambda: scored(marked, given, draw))


def _measured(path: Path) -> Iterator[Row]:
    """A row a score; nothing of a file that is damaged."""
    found = pieces.read(path)
    if found is None:
        return
    settings, cell = found
    points = {name: cell.points[name].to_numpy() for name in cell.points.column_names}
    wrong = points["given"] != points["true"]
    ours = points["auto"]
    for score, values in points.items():
        if score in _FACTS:
            continue
        known = np.isfinite(values)
        one, beside = Found.of(values[known], wrong[known]), Found.of(ours[known], wrong[known])
        yield Row(
            set=settings["set"],
            kind=settings["kind"],
            records=settings["records"],
            classes=settings["classes"],
            noise=settings["noise"],
            draw=settings["draw"],
            score=score,
            wrong=int(wrong.sum()),
            ranked=int(known.sum()),
            measures=one.measures() | {"precision_100": one.precision(_FIRST)},
            recommended=beside.measures()["average_precision"],
            pairs=_by_pair(values[known], wrong[known], points["given"][known], points["true"][known]),
            calibration=calibration_error(points["p_wrong"], wrong) if score == "auto" else None,
            expected=float(points["p_wrong"].sum()) if score == "auto" else None,
            seconds=cell.measured["seconds"],
        )


def _by_pair(score: np.ndarray, wrong: np.ndarray, given: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """Recall of each pair of classes, ``true>given``, of four or more, among as many records as are wrong."""
    first = np.argsort(-score, kind="stable")[: int(wrong.sum())]
    seen = np.zeros(len(score), dtype=bool)
    seen[first] = True
    pairs = np.stack([true, given], axis=1)[wrong]
    recall = {}
    for pair in np.unique(pairs, axis=0):
        of = (pairs == pair).all(1)
        if of.sum() >= FEWEST:
            recall[f"{pair[0]}>{pair[1]}"] = float(seen[wrong][of].mean())
    return recall
