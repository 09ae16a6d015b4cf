"""Training a surrogate on a sample of a table."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from swaypoint.data.splitting import Split
from swaypoint.data.tensors import write_tensors
from swaypoint.errors import InputError
from swaypoint.folder.documents import read_json
from swaypoint.folder.writing import write_json
from swaypoint.models.loop import Plan, Progress, train
from swaypoint.models.loop import SplitData as Parts
from swaypoint.models.recipes import Recipe
from swaypoint.models.yours import load_weights
from swaypoint.studies.acas.surrogate import Surrogate
from swaypoint.studies.acas.tables import Table

_REMEDY = "remove it, and run the same command again"

_START = "name the surrogate.safetensors of a study of the same --width and table"

_HELD_OUT = 200_000


@dataclass(frozen=True)
class Learning:
    """How the surrogate is trained, at a rate that rises and then falls to nothing.

    Attributes:
        width: of its six hidden layers; 50, or 390 for the paper's 3 MB.
        sample: points drawn from the table; four fifths of them train.
        epochs, batch: passes over the sample, and points a step (the paper: 200, 8096).
        rate: peak learning rate; products are in bfloat16 where that is faster.
        optimizer: ``"adam"``, or ``"muon"`` (Jordan et al., 2024), which learns more from each point, and
            whose steps are dear beside those of a narrow network.
        seed: of sample, weights and order.
        start: another training's ``surrogate.safetensors`` of this width, to go on from; the split is that
            of the seed and the table alone, so with the same seed no held-out point has been trained on.
    """

    width: int = 50
    sample: int = 4_000_000
    epochs: int = 20
    batch: int = 8096
    rate: float = 5e-3
    seed: int = 0
    device: str = "cpu"
    optimizer: Literal["adam", "muon"] = "adam"
    start: Path | None = None

    def described(self) -> dict[str, Any]:
        """As JSON; the weights to go on from by what they hold.

        Raises:
            InputError: there are none.
        """
        settings = asdict(self)
        del settings["start"]  # which earlier trainings did not have
        if self.start is None:
            return settings
        if not self.start.is_file():
            raise InputError(f"weights file {self.start} does not exist; {_START}")
        return settings | {"start": hashlib.sha256(self.start.read_bytes()).hexdigest()}


@dataclass(frozen=True)
class Learned:
    """A trained surrogate, its accuracy on the held-out points after each epoch, and how it was trained, as
    :meth:`Learning.described`."""

    surrogate: Surrogate
    curve: tuple[float, ...]
    learning: dict[str, Any]


def learn(
    table: Table, split: Split, learning: Learning, folder: Path, *, report: Progress | None = None
) -> Learned:
    """Train, or return what was trained before; an interrupted training goes on after its last epoch.

    Args:
        folder: gets ``surrogate.safetensors`` and ``training.json``.
        report: told of each epoch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    surrogate = build(learning, len(table.actions))
    weights, record = folder / "surrogate.safetensors", folder / "training.json"
    described = learning.described()
    if learning.start is not None:
        if learning.start.resolve() == weights.resolve():
            raise InputError(
                f"{weights} is what this study writes; give it another --out, or leave out --start"
            )
        load_weights(surrogate, learning.start, remedy=_START)
    asked = {"table": table.name, "shape": list(table.shape), "split": asdict(split)} | described
    shape = {"asked": {}, "curve": [float]}
    stored: dict[str, Any] = read_json(record, shape, _REMEDY) if record.is_file() else {}
    if stored.get("asked") != asked:
        stored = {"asked": asked, "curve": []}
        for stale in (weights, folder / "last.ckpt"):
            stale.unlink(missing_ok=True)
        write_json(record, stored)
    if not weights.is_file():

        def note(epoch: int, epochs: int, loss: float, accuracy: float) -> None:
            curve = [*stored["curve"][: epoch - 1], accuracy]
            stored["curve"] = curve
            write_json(record, stored)
            if report is not None:
                report(epoch, epochs, loss, accuracy)

        index = draw(table, learning.sample, learning.seed)
        train_on(surrogate, table, index, split.held_out(index), learning, folder, report=note)
        write_tensors(weights, surrogate.state_dict())
        (folder / "last.ckpt").unlink(missing_ok=True)
    load_weights(surrogate, weights, remedy=_REMEDY)
    return Learned(surrogate.eval(), tuple(stored["curve"]), described)


def build(learning: Learning, outputs: int) -> Surrogate:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(learning.seed)
        return Surrogate(learning.width, outputs)


def draw(table: Table, size: int, seed: int) -> np.ndarray:
    """Flat indices of about ``size`` different points, ascending."""
    if size >= table.size:
        return np.arange(table.size)
    return np.unique(np.random.default_rng(seed).integers(0, table.size, size))


def spread(rows: np.ndarray, size: int) -> np.ndarray:
    """At most ``2 * size`` of them, evenly."""
    return rows[:: max(1, len(rows) // size)]


def train_on(
    surrogate: Surrogate,
    table: Table,
    index: np.ndarray,
    held_out: np.ndarray,
    learning: Learning,
    folder: Path,
    *,
    report: Callable[[int, int, float, float], None] | None = None,
) -> None:
    """Train in place on the points ``index`` of which ``held_out`` only measure."""
    recipe = Recipe(
        name=f"6 × {learning.width}",
        build=lambda _, outputs: Surrogate(learning.width, outputs),
        epochs=learning.epochs,
        batch_size=learning.batch,
        optimizer=learning.optimizer,
        rate=learning.rate,
        decay=0.0,
        augment=False,
        mixed=True,
        schedule="triangle" if learning.optimizer == "muon" else "cycle",
    )
    parts = Parts(
        torch.from_numpy(table.points(index)),
        torch.from_numpy(table.decisions(index)).long(),
        train=torch.from_numpy(np.flatnonzero(~held_out)),
        validation=torch.from_numpy(spread(np.flatnonzero(held_out), _HELD_OUT)),
    )
    plan = Plan(learning.epochs, learning.seed, folder, learning.device)
    train(surrogate, parts, recipe, plan, report=report)
