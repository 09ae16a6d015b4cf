"""One flipped label among uniform points, and every point's Cook's distance while a perceptron trains.

Picard et al. (2022), Fig. 4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from swaypoint.studies.pieces import Cell
from swaypoint.studies.toy.measures import among_first, enrichment, rank_of
from swaypoint.studies.toy.problems import MIDDLE, Sample, draw
from swaypoint.studies.toy.training import converge, objective, perceptron, rank

CONVERGED = "converged"
_PLACE = 0.5  # how far from the boundary the flipped point is sought


@dataclass(frozen=True)
class FlipOptions:
    """The data and the training; ``hidden``: width of the one hidden layer.

    Attributes:
        every: epochs between records.
        batch, rate: of Adam, for ``epochs`` epochs; then L-BFGS-B to a stationary point.
        steps, tolerance: of that; see :func:`~swaypoint.studies.toy.training.converge`.
        l2: ridge on all parameters; weak_l2: another, for a second stationary point.
        top, near: shares of the ranking, and of points that count as near the boundary or outermost.
    """

    points: int = 400
    hidden: int = 16
    epochs: int = 60
    every: int = 2
    batch: int = 32
    rate: float = 0.003
    steps: int = 4000
    tolerance: float = 1e-5
    l2: float = 1e-4
    weak_l2: float = 1e-6
    top: float = 0.05
    near: float = 0.1


def flip_cell(options: FlipOptions, seed: int, *, on_epoch: Callable[[int, int], None] | None = None) -> Cell:
    """Train once; records before the first epoch, every few epochs, and at the stationary point.

    ``points`` has the columns x, y, label, distance, flipped, and a column ``cook-EPOCH`` a record.
    """
    random = np.random.default_rng([seed, 4])
    sample, flipped = flipped_sample(options.points, random)
    inputs, labels = torch.from_numpy(sample.points), torch.from_numpy(sample.labels).double()
    generator = torch.Generator().manual_seed(seed)
    model = perceptron((options.hidden,), generator)
    optimizer = torch.optim.Adam(model.parameters(), lr=options.rate)
    records = [_record(model, sample, flipped, options, "0")]
    for epoch in range(1, options.epochs + 1):
        for rows in torch.randperm(len(labels), generator=generator).split(options.batch):
            _step(model, optimizer, inputs[rows], labels[rows], options.l2)
        if epoch % options.every == 0:
            records.append(_record(model, sample, flipped, options, str(epoch)))
        if on_epoch is not None:
            on_epoch(epoch, options.epochs)
    settle = partial(converge, model, inputs, labels, steps=options.steps)
    fit = settle(l2=options.l2, tolerance=options.tolerance)
    records.append(_record(model, sample, flipped, options, CONVERGED))
    # The weaker the ridge, the smaller the gradients that tell where its minimum is.
    settle(l2=options.weak_l2, tolerance=options.tolerance * options.weak_l2 / options.l2)
    weak, _ = _record(model, sample, flipped, replace(options, l2=options.weak_l2), CONVERGED)
    columns: dict[str, Any] = {
        "x": sample.points[:, 0],
        "y": sample.points[:, 1],
        "label": sample.labels,
        "distance": sample.distance,
        "flipped": np.arange(len(sample)) == flipped,
    }
    columns |= {f"cook-{of_epoch['epoch']}": cook for of_epoch, cook in records}
    measured = {"fit": asdict(fit), "records": [of_epoch for of_epoch, _ in records], "weak": weak}
    return Cell(measured, pa.table(columns))


def flipped_sample(count: int, random: np.random.Generator) -> tuple[Sample, int]:
    """Points of :data:`~swaypoint.studies.toy.problems.MIDDLE`, and which one has the wrong label.

    It is the point nearest to a random place half-way between the boundary and an edge: well inside
    the other class, and no corner.
    """
    sample = draw(MIDDLE, count, random)
    place = random.choice([-_PLACE, _PLACE]), random.uniform(-_PLACE, _PLACE)
    flipped = int(np.linalg.norm(sample.points - place, axis=1).argmin())
    sample.labels[flipped] = 1 - sample.labels[flipped]
    sample.wrong[flipped] = True
    return sample, flipped


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, inputs: Tensor, labels: Tensor, l2: float
) -> None:
    optimizer.zero_grad()
    objective(model, inputs, labels, l2).backward()
    optimizer.step()


def _record(
    model: nn.Module, sample: Sample, flipped: int, options: FlipOptions, epoch: str
) -> tuple[dict[str, Any], np.ndarray]:
    ranking = rank(model, sample.points, sample.labels, options.l2)
    cook = ranking.values
    near = among_first(-sample.distance, options.near)
    outermost = among_first(np.linalg.norm(sample.points, axis=1), options.near)
    measured = {
        "epoch": epoch,
        "rank": rank_of(cook, flipped),
        "rank_by_loss": rank_of(ranking.loss, flipped),
        "share": float(cook[flipped] / cook.sum()),
        "near": enrichment(cook, near, options.top).ratio,
        "outermost": enrichment(cook, outermost, options.top).ratio,
        "loss": float(ranking.loss.mean()),
        "verdict": ranking.diagnostics.verdict,
        "doubts": [check.name for check in ranking.diagnostics.checks if check.verdict != "fit"],
    }
    return measured, cook
