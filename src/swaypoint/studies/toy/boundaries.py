"""One problem of known boundary: train, rank, count what stands at the top. Picard et al. (2022), Fig. 1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from swaypoint.studies.pieces import Cell
from swaypoint.studies.toy.measures import among_first, enrichment
from swaypoint.studies.toy.problems import Problem, Sample, draw
from swaypoint.studies.toy.training import converge, perceptron, rank

_HELD_OUT = 0.2


@dataclass(frozen=True)
class BoundaryOptions:
    """The data and the training.

    Attributes:
        points: drawn, the fifth that is held out included.
        hidden: widths of the two hidden layers.
        l2: ridge on all parameters: without one the loss of separable classes has no minimum.
        steps, tolerance: of L-BFGS-B; see :func:`~swaypoint.studies.toy.training.converge`.
        top: share of the ranking that is looked at.
        near: share of the points, the closest ones, that count as near the boundary.
    """

    points: int = 1500
    hidden: tuple[int, ...] = (24, 24)
    l2: float = 1e-4
    steps: int = 4000
    tolerance: float = 1e-5
    top: float = 0.05
    near: float = 0.1


def boundary_cell(
    problem: Problem,
    options: BoundaryOptions,
    seed: int,
    *,
    on_steps: Callable[[int, int], None] | None = None,
) -> Cell:
    """Train on four fifths and rank them by Cook's distance of the last layer.

    ``points`` has the columns x, y, label, distance, stretch, noisy, cook, loss of the training points.
    """
    sample = draw(problem, options.points, np.random.default_rng([seed, *problem.name.encode()]))
    held_out = round(_HELD_OUT * options.points)
    test, train = sample.take(np.arange(held_out)), sample.take(np.arange(held_out, options.points))
    inputs, labels = torch.from_numpy(train.points), torch.from_numpy(train.labels).double()
    model = perceptron(options.hidden, torch.Generator().manual_seed(seed))
    fit = converge(
        model,
        inputs,
        labels,
        l2=options.l2,
        steps=options.steps,
        tolerance=options.tolerance,
        on_steps=on_steps,
    )
    ranking = rank(model, train.points, train.labels, options.l2)
    diagnostics = ranking.diagnostics
    measured = {
        "train_accuracy": _accuracy(model, train),
        "validation_accuracy": _accuracy(model, test),
        **asdict(fit),
        "verdict": diagnostics.verdict,
        "checks": {check.name: [check.verdict, check.value] for check in diagnostics.checks},
        "found": counts(train, ranking.values, ranking.loss, top=options.top, near=options.near),
    }
    columns = {
        "x": train.points[:, 0],
        "y": train.points[:, 1],
        "label": train.labels,
        "distance": train.distance,
        "stretch": train.stretch,
        "noisy": train.noisy,
        "cook": ranking.values,
        "loss": ranking.loss,
    }
    return Cell(measured, pa.table(columns))


def counts(
    sample: Sample, cook: np.ndarray, loss: np.ndarray, *, top: float, near: float
) -> dict[str, float]:
    """Shares of the top of a ranking, their base rates and ratios; by Cook's distance and by the loss.

    Keys: ``near``, ``stretch``, ``noisy``, ``wrong`` followed by ``_top``, ``_base``, ``_ratio``,
    ``_ratio_by_loss``; ``stretch_against_near``: the median Cook's distance of points near the boundary in
    the stretch, over that of points near the boundary elsewhere: as near, so that only the sampling differs.
    """
    close = among_first(-sample.distance, near)
    groups = (
        ("near", close), ("stretch", sample.stretch), ("noisy", sample.noisy), ("wrong", sample.wrong)
    )  # fmt: skip
    found: dict[str, float] = {}
    for name, wanted in groups:
        if not wanted.any():
            continue
        by_cook, by_loss = enrichment(cook, wanted, top), enrichment(loss, wanted, top)
        found |= {f"{name}_top": by_cook.top, f"{name}_base": by_cook.base}
        found |= {f"{name}_ratio": by_cook.ratio, f"{name}_ratio_by_loss": by_loss.ratio}
    inside, outside = close & sample.stretch, close & ~sample.stretch
    if inside.any() and outside.any():
        found["stretch_against_near"] = float(np.median(cook[inside]) / np.median(cook[outside]))
    return found


def _accuracy(model: nn.Module, sample: Sample) -> float:
    with torch.no_grad():
        logits = model(torch.from_numpy(sample.points)).squeeze(1)
    return float(((logits > 0).numpy() == sample.labels).mean())
