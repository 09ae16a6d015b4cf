"""Closing the loop: data gathered where the regions say, against as much data from anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from swaypoint.data.batches import ArrayBatches
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.findings.regions import Points, propose, regions
from swaypoint.findings.regions import Table as Rows
from swaypoint.folder.documents import read_json
from swaypoint.folder.writing import write_json
from swaypoint.scoring.closed_form import Influence
from swaypoint.studies.acas.findings import surroundings
from swaypoint.studies.acas.learning import Learning, build, draw, train_on
from swaypoint.studies.acas.scoring import head_of
from swaypoint.studies.acas.surrogate import Surrogate
from swaypoint.studies.acas.tables import Table
from swaypoint.studies.intervals import interval

ARMS = ("none", "random", "regions")
_MEASURED = 400_000
_BATCH = 65_536


@dataclass(frozen=True)
class Gathering:
    """How the loop is closed.

    Attributes:
        start: training points that the first surrogate learns from.
        added: points gathered on top, by each way of choosing.
        top: share of the influence whose points make the regions.
        seeds: repetitions, each with its own sample and weights.
        learning: of all surrogates alike; its sample and seed do not count.
    """

    start: int = 60_000
    added: int = 12_000
    top: float = 0.9
    seeds: int = 5
    learning: Learning = field(default_factory=lambda: Learning(epochs=40, batch=512, rate=4e-3))


@dataclass(frozen=True)
class Gain:
    """Accuracy on held-out points with no more data, with random data and with the regions'; ``gain`` is the
    last minus the one before, mean over seeds and 95 % interval (Student's t of the paired differences)."""

    where: str
    nothing: float
    random: float
    regions: float
    gain: float
    low: float
    high: float


def gather(
    table: Table,
    gathering: Gathering,
    folder: Path,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> list[Gain]:
    """Train on a small sample, gather more by two ways, train again on each, and compare.

    The regions of the most influential training points propose inputs on the table's grid; the table, the
    oracle here, labels them. Each finished training is kept in ``folder``, and not repeated.

    Raises:
        InputError: fewer than two seeds.
        MissingExtra: scikit-learn or scipy is not installed.
    """
    if gathering.seeds < 2:
        raise InputError(f"seeds is {gathering.seeds}; expected at least 2, for an interval")
    folder.mkdir(parents=True, exist_ok=True)
    settings = asdict(gathering) | {"learning": gathering.learning.described()}
    asked = json.loads(json.dumps({"table": table.name, "shape": table.shape} | settings))
    measured: list[dict[str, dict[str, float]]] = []
    for seed in range(gathering.seeds):
        path = folder / f"seed-{seed}.json"
        remedy = "remove it, and run the same command again"
        stored = read_json(path, {"asked": {}, "accuracy": {}}, remedy) if path.is_file() else {}
        if stored.get("asked") != asked:
            stored = {"asked": asked, "accuracy": _repetition(table, gathering, seed, folder)}
            write_json(path, stored)
        measured.append(stored["accuracy"])
        if on_progress is not None:
            on_progress(seed + 1, gathering.seeds)
    gains = [_gain(where, measured) for where in measured[0]["none"]]
    write_json(folder.with_suffix(".json"), {"asked": asked, "gains": [asdict(gain) for gain in gains]})
    return gains


def _repetition(table: Table, gathering: Gathering, seed: int, folder: Path) -> dict[str, dict[str, float]]:
    """Accuracy by arm and by where it is measured."""
    split = Split(seed)
    rng = np.random.default_rng(seed)
    start = _training(table, split, gathering.start, rng)
    test = draw(table, _MEASURED, seed=10_000 + seed)
    test = test[split.held_out(test)]
    first = _trained(table, start, gathering, seed, folder)
    added = {
        "random": np.setdiff1d(_training(table, split, gathering.added, rng), start),
        "regions": proposals(table, first, start, gathering, split, seed),
    }
    # As many of each, so that only the choice differs.
    count = min(map(len, added.values()))
    models = {"none": first}
    for arm, index in added.items():
        chosen = np.union1d(start, rng.permutation(index)[:count])
        models[arm] = _trained(table, chosen, gathering, seed, folder)
    around = surroundings(table, test)
    right = {arm: _predicted(model, table, test) == table.decisions(test) for arm, model in models.items()}
    places = {
        "everywhere": np.ones(len(test), bool),
        "beside a boundary in theta or rho": around.differs,
        "beside a turn to the other side": around.opposite,
    }
    return {
        arm: {name: float(hit[where].mean()) for name, where in places.items()} for arm, hit in right.items()
    }


def _training(table: Table, split: Split, count: int, rng: np.random.Generator) -> np.ndarray:
    """Flat indices of about ``count`` random points that are not held out, ascending."""
    index = np.unique(rng.integers(0, table.size, int(count / (1 - split.share))))
    return index[~split.held_out(index)]


def _trained(table: Table, index: np.ndarray, gathering: Gathering, seed: int, folder: Path) -> Surrogate:
    learning = replace(gathering.learning, seed=seed)
    surrogate = build(learning, len(table.actions))
    (folder / "last.ckpt").unlink(missing_ok=True)
    train_on(surrogate, table, index, np.zeros(len(index), bool), learning, folder)
    (folder / "last.ckpt").unlink(missing_ok=True)
    return surrogate


def proposals(
    table: Table, surrogate: Surrogate, start: np.ndarray, gathering: Gathering, split: Split, seed: int
) -> np.ndarray:
    """Flat indices of grid points inside the regions, in proportion to their influence; none held out."""
    rows = rows_of(table, start)
    states, labels = rows.inputs, rows.labels
    with torch.no_grad():
        features = surrogate.features(torch.from_numpy(states))
    scores = Influence(head_of(surrogate), ArrayBatches(features, labels)).scores(leave_one_out=False)
    points = Points(states, scores.cook, labels, scores.suggested_label)
    found = regions(points, rows, top=gathering.top)
    whole = sum(region.influence for region in found)
    chosen = []
    for region in found:
        # A quarter more than its share: some of them are held out, or in another region already.
        k = int(np.ceil(1.25 / (1 - split.share) * gathering.added * region.influence / whole))
        chosen.append(place(table, propose(region, points, rows, k=k, seed=seed)))
    index = np.unique(np.concatenate(chosen))
    return np.setdiff1d(index[~split.held_out(index)], start)


def rows_of(table: Table, index: np.ndarray) -> Rows:
    """The points of a flat index as the rows that regions are measured against."""
    return Rows(
        table.points(index),
        table.decisions(index).astype(np.int64),
        tuple(axis.name for axis in table.axes),
        table.actions,
        tuple(axis.values for axis in table.axes),
    )


def place(table: Table, inputs: np.ndarray) -> np.ndarray:
    """Flat indices of the grid points nearest to ``(k, axes)`` inputs, axis by axis."""
    places = []
    for axis, values in zip(table.axes, inputs.T, strict=True):
        middles = (axis.values[1:] + axis.values[:-1]) / 2
        places.append(np.searchsorted(middles, values))
    return np.ravel_multi_index(places, table.shape)


def _predicted(surrogate: Surrogate, table: Table, index: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        parts = [
            surrogate(torch.from_numpy(table.points(index[i : i + _BATCH]))).argmax(1)
            for i in range(0, len(index), _BATCH)
        ]
    return torch.cat(parts).numpy()


def _gain(where: str, measured: list[dict[str, dict[str, float]]]) -> Gain:
    values = {arm: np.array([accuracy[arm][where] for accuracy in measured]) for arm in ARMS}
    difference = interval(values["regions"] - values["random"])
    none, random, chosen = (float(values[arm].mean()) for arm in ARMS)
    return Gain(where, none, random, chosen, gain=difference.mean, low=difference.low, high=difference.high)
