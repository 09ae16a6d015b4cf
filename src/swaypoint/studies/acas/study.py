"""The ACAS Xu study of Picard et al. (2022): from a decision table to its influential regions."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa

from swaypoint.auditing.run import Listener, head_key
from swaypoint.data.folds import Durable, Fold
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.findings.regions import Exploration, Points, described, regions, write_proposals
from swaypoint.findings.regions.finding import Action
from swaypoint.folder.writing import write_json, write_table
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.studies.acas import scoring
from swaypoint.studies.acas.decoded import decode
from swaypoint.studies.acas.findings import Finding, findings, surroundings
from swaypoint.studies.acas.gathering import rows_of
from swaypoint.studies.acas.hcas import solve_all
from swaypoint.studies.acas.learning import Learned, Learning, draw, learn
from swaypoint.studies.acas.optimum import at_optimum
from swaypoint.studies.acas.pictures import draw_cuts
from swaypoint.studies.acas.scoring import CUT_AXES, TableScores, cut_size
from swaypoint.studies.acas.surrogate import Surrogate
from swaypoint.studies.acas.tables import Table

_AXES = (*CUT_AXES, "theta", "rho")
_PICTURED = 3
_REFERENCE = 100_000


@dataclass(frozen=True)
class AcasOptions:
    """How the study is made.

    Attributes:
        table: ``"hcas"`` (solved here), ``"decoded"`` (of the published networks), or an HDF5 file.
        networks: folder of the published ``.nnet`` files, for ``"decoded"``.
        learning: of the surrogate.
        damping: added to the Hessian's diagonal; another one costs the second pass alone.
        ridge: at whose optimum on all training points the last layer is taken, by some passes more; None:
            as it was trained, without one.
        top: how many of the most influential points are kept.
        propose: new inputs to propose for each region.
    """

    table: str = "hcas"
    networks: Path | None = None
    learning: Learning = field(default_factory=Learning)
    damping: float = 0.0
    ridge: float | None = None
    top: int = 10_000
    propose: int = 10


@dataclass(frozen=True)
class AcasStudy:
    """What :func:`study` found; the same is in its folder."""

    table: Table
    learned: Learned
    scores: TableScores
    findings: tuple[Finding, ...]
    explored: Exploration
    seconds: dict[str, float]


def study(options: AcasOptions, out: Path, listener: Listener | None = None) -> AcasStudy:
    """Read or solve the table, train the surrogate, score every training point, and look at the top.

    A run that was interrupted goes on where it was. ``out`` gets ``table.h5``, ``surrogate.safetensors``,
    ``training.json``, ``top.parquet`` (the most influential points), ``cuts.parquet`` (every cut and its
    summed influence), ``cuts.png``, ``regions.json``, ``proposals.csv`` and ``findings.json``; with a ridge
    also ``optimum/head.safetensors``.

    Raises:
        InputError: no such table or networks, a table without the axes of an encounter, a damping that
            is negative, or a ridge that is not more than 0 or so small that no optimum was found.
        MissingExtra: h5py, matplotlib or scikit-learn is not installed.
    """
    if not options.damping >= 0:
        raise InputError(f"damping is {options.damping}; expected 0 or more")
    if options.ridge is not None and not 0 < options.ridge < math.inf:
        raise InputError(
            f"ridge is {options.ridge}; expected more than 0, without which there may be no optimum"
        )
    listener = listener or Listener()
    out.mkdir(parents=True, exist_ok=True)
    clock = _Clock(listener)
    split = Split(options.learning.seed)
    with clock.stage("table"):
        table = open_table(options, out, listener)
    with clock.stage("surrogate"):
        learned = learn(table, split, options.learning, out, report=listener.epoch)
    with clock.stage("curvature"):
        influence, fold = _first_pass(options, table, learned.surrogate, split, out, listener)
    with clock.stage("scores"):
        influence = influence.damped(options.damping) if options.damping else influence
        scores = scoring.score(influence, fold, top=options.top)
    with clock.stage("explaining"):
        found = tuple(findings(table, split, scores))
        write_table(out / "top.parquet", _points_table(table, scores))
        write_table(out / "cuts.parquet", _cuts_table(table, scores))
        cuts = [scoring.cut(influence, split, number) for number in apart(table, scores.cut_sum, _PICTURED)]
        draw_cuts(table, cuts, out / "cuts.png")
        explored = explore(table, split, scores)
        write_json(out / "regions.json", described(explored))
        # A table is right by definition: labels need no check, any region can be asked about.
        write_proposals(explored, out / "proposals.csv", k=options.propose, actions=get_args(Action))
    result = AcasStudy(table, learned, scores, found, explored, clock.seconds)
    write_json(out / "findings.json", _summary(result))
    return result


def _first_pass(
    options: AcasOptions, table: Table, surrogate: Surrogate, split: Split, out: Path, listener: Listener
) -> tuple[Influence, Fold]:
    """The Hessian of the last layer as it was trained, or at its optimum; and where the second pass runs."""

    def fold(folder: str, among: Split, *further: float | str) -> Fold:
        return Durable(
            out / folder,
            scoring.key_of(table, surrogate, among, options.top, *further),
            on_shard=lambda _, done, shards: listener.records and listener.records(done, shards),
        )

    def fold_of(head: HeadWeights, among: Split) -> Fold:
        return fold("optimum", among, head.l2, head_key(head))

    if options.ridge is None:
        own = fold("shards", split)
        return scoring.factorize(table, surrogate, split, own), own
    kept = out / "optimum" / "head.safetensors"
    influence = at_optimum(table, surrogate, split, options.ridge, fold_of, kept)
    return influence, fold_of(influence.head, split)


class _Clock:
    """Times stages, and tells the listener of them."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self.seconds = listener, dict[str, float]()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        self._listener.stage(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 2)


def open_table(options: AcasOptions, out: Path, listener: Listener) -> Table:
    """The table for the previous advisory COC, its decisions in memory.

    Raises:
        InputError: see :func:`study`.
    """
    if options.table == "decoded":
        if options.networks is None:
            raise InputError(
                "the decoded table needs the published networks: pass --networks DIR with the 45 files"
                " ACASXU_run2a_*.nnet (Katz et al., 2017; folder nnet/ of the Reluplex repository), or take"
                " --table hcas, which needs none"
            )
        table = decode(options.networks, out / "table.h5", on_progress=listener.records)
    elif options.table == "hcas":
        table = solve_all(out / "table.h5", on_progress=listener.records)
    else:
        table = Table.open(options.table)
    names = [axis.name for axis in table.axes]
    if "previous" in names:
        table = table.select(previous=0)
        names.remove("previous")
    if tuple(names) != _AXES:
        raise InputError(
            f"the table has the axes {', '.join(names)}; expected {', '.join(_AXES)}, the slowest first"
        )
    return table.load()


def apart(table: Table, cut_sum: np.ndarray, count: int) -> list[int]:
    """The first cuts of which none is beside another on the grid."""
    shape = table.shape[: len(CUT_AXES)]
    chosen: list[int] = []
    places: list[np.ndarray] = []
    for number in np.argsort(-cut_sum, kind="stable"):
        place = np.array(np.unravel_index(number, shape))
        if all(np.abs(place - other).max() > 1 for other in places):
            chosen.append(int(number))
            places.append(place)
        if len(chosen) == count:
            break
    return chosen


def explore(table: Table, split: Split, scores: TableScores) -> Exploration:
    """Regions of the most influential points, measured against a sample of the training points."""
    sample = draw(table, _REFERENCE, seed=1)
    sample = sample[~split.held_out(sample)]
    rows = rows_of(table, sample)
    labels = table.decisions(scores.index).astype(np.int64)
    points = Points(table.points(scores.index), scores.cook, labels, scores.predicted.astype(np.int64))
    top = 0.5
    return Exploration(regions(points, rows, top=top, total=scores.total), points, rows, top)


def _points_table(table: Table, scores: TableScores) -> pa.Table:
    around = surroundings(table, scores.index)
    names = np.array(table.actions)
    columns: dict[str, Any] = {"rank": np.arange(1, len(scores.index) + 1), "index": scores.index}
    columns |= dict(zip(_AXES, table.points(scores.index).T, strict=True))
    columns |= {
        "advisory": names[table.decisions(scores.index)],
        "predicted": names[scores.predicted],
        "cook": scores.cook,
        "neighbour_differs": around.differs,
        "neighbour_opposite": around.opposite,
        "spacing_ft": around.spacing,
    }
    return pa.table(columns)


def _cuts_table(table: Table, scores: TableScores) -> pa.Table:
    order = np.argsort(-scores.cut_sum, kind="stable")
    states = table.points(order * cut_size(table))[:, : len(CUT_AXES)]
    columns: dict[str, Any] = {"rank": np.arange(1, len(order) + 1), "cut": order}
    columns |= dict(zip(CUT_AXES, states.T, strict=True))
    columns |= {
        "influence": scores.cut_sum[order],
        "largest": scores.cut_max[order],
        "points": scores.cut_points[order],
    }
    return pa.table(columns)


def _summary(result: AcasStudy) -> dict[str, Any]:
    scores = result.scores
    first = np.sort(scores.cut_sum)[::-1]
    return {
        "table": {"name": result.table.name, "shape": result.table.shape, "points": result.table.size},
        "learning": result.learned.learning,
        "accuracy": {"train": scores.accuracy, "validation": result.learned.curve},
        "scored": scores.points,
        "ridge": scores.ridge,
        "damping": scores.damping,
        "solve": asdict(scores.facts),
        "influence": {
            "total": scores.total,
            "effective_points": scores.effective,
            "share_of_kept_points": float(scores.cook.sum() / scores.total),
            "share_of_first_hundred_cuts": float(first[:100].sum() / scores.total),
        },
        "findings": [asdict(finding) | {"ratio": finding.ratio} for finding in result.findings],
        "seconds": result.seconds,
    }
