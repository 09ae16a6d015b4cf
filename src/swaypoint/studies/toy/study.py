"""The toy study of Picard et al. (2022): what Cook's distance picks out where the truth is known.

Their Fig. 1 (two-dimensional problems in increasing complexity) and Fig. 4 (one flipped label, through
training), with the claims behind them counted over several seeds.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.auditing.run import Listener
from swaypoint.data.parallel import one_core
from swaypoint.errors import InputError, require
from swaypoint.folder.writing import write_json, write_table
from swaypoint.studies.pieces import Cell, cell
from swaypoint.studies.toy.boundaries import BoundaryOptions, boundary_cell
from swaypoint.studies.toy.flip import CONVERGED, FlipOptions, flip_cell
from swaypoint.studies.toy.pictures import draw_animation, draw_problems, draw_strip
from swaypoint.studies.toy.problems import PROBLEMS
from swaypoint.studies.toy.summary import summarise


@dataclass(frozen=True)
class ToyOptions:
    """``seeds`` of them from ``seed`` on, each with other points and other initial weights."""

    seed: int = 0
    seeds: int = 6
    boundaries: BoundaryOptions = field(default_factory=BoundaryOptions)
    flip: FlipOptions = field(default_factory=FlipOptions)


def study(options: ToyOptions, out: Path, listener: Listener | None = None) -> dict[str, Any]:
    """Train and rank every problem and seed, and write what was found to ``out``.

    An interrupted study goes on with the cells that are missing. ``out`` gets ``cells/`` (one parquet file a
    problem and seed), ``toy.json`` (what is returned), ``toy-points.parquet`` (the points in the pictures),
    ``toy-problems.png``, ``toy-flip.png`` and ``toy-flip.webp``.

    Raises:
        InputError: an option out of range, ``out`` is a file, or the disk is full.
        MissingExtra: matplotlib, pillow or scipy is not installed.
    """
    _check(options, out)
    for module in ("matplotlib", "PIL", "scipy"):
        require(module, "study")  # before minutes of training, not after
    listener = listener or Listener()
    (out / "cells").mkdir(parents=True, exist_ok=True)
    problems: dict[str, list[Cell]] = {problem.name: [] for problem in PROBLEMS}
    flips: list[Cell] = []
    with one_core():  # sums in one order: a seed gives the same numbers whatever the number of cores
        for seed in range(options.seed, options.seed + options.seeds):
            for problem in PROBLEMS:
                listener.stage(f"{problem.name}, seed {seed}")
                make = partial(boundary_cell, problem, options.boundaries, seed, on_steps=listener.records)
                key = {"problem": problem.name, "seed": seed, **asdict(options.boundaries)}
                path = out / "cells" / f"{problem.name}-{seed}.parquet"
                problems[problem.name].append(cell(path, key, make))
            listener.stage(f"flipped label, seed {seed}")
            key = {"problem": "flip", "seed": seed, **asdict(options.flip)}
            path = out / "cells" / f"flip-{seed}.parquet"
            flips.append(cell(path, key, partial(flip_cell, options.flip, seed, on_epoch=listener.records)))
    listener.stage("pictures")
    summary = {"settings": asdict(options), **summarise(problems, flips)}
    write_json(out / "toy.json", summary)
    write_table(out / "toy-points.parquet", _pictured(problems, flips[0]))
    draw_problems({name: cells[0] for name, cells in problems.items()}, out / "toy-problems.png")
    draw_strip(flips[0], out / "toy-flip.png")
    draw_animation(flips[0], out / "toy-flip.webp")
    return summary


def _check(options: ToyOptions, out: Path) -> None:
    for name, value, least in (
        ("seed", options.seed, 0),
        ("seeds", options.seeds, 2),  # an interval needs two
        ("points", options.boundaries.points, 50),
        ("steps", options.boundaries.steps, 1),
        ("epochs", options.flip.epochs, 0),
    ):
        if value < least:
            raise InputError(f"{name} is {value}; expected {least} or more")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file; name a folder to write to")


def _pictured(problems: dict[str, list[Cell]], flip: Cell) -> pa.Table:
    """The points of the pictures, one row each; of the flipped label's at the stationary point."""
    last = flip.points.rename_columns(
        ["cook" if name == f"cook-{CONVERGED}" else name for name in flip.points.column_names]
    )
    tables = {**{name: cells[0].points for name, cells in problems.items()}, "flip": last}
    columns = ["x", "y", "label", "distance", "cook"]
    return pa.concat_tables(
        table.select(columns).add_column(0, "problem", pa.array(np.full(len(table), name)))
        for name, table in tables.items()
    )
