"""From a head and its batches to a ranking: solved, scored, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, cast, get_args

import torch
from torch import nn

from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.fitness import Spread, diagnose
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.panels import TiledInfluence
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.refit import refit_head, refit_ridge
from swaypoint.scoring.regression import Statistics, of_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.risks.model import Ridge
from swaypoint.scoring.scores import Facts, Removal, Scores
from swaypoint.scoring.sketched import SketchedInfluence
from swaypoint.scoring.trained_model import TrainedModel

HeadSolver = Literal["auto", "exact", "sketch"]


EXACT_LIMIT = 12_000
"""Parameters that interact, up to which ``solver="auto"`` factorises: 1.2 GB in float64, a minute. Outputs
that do not interact are factorised one by one, and may have as many entries together."""


Refitting = bool | Literal["ridge"]


Solved = Influence | TiledInfluence | SketchedInfluence


LossLike = str | Loss | Callable[..., Any]


@dataclass(frozen=True)
class Options:
    """How to score a head; see :func:`cooks_distance`."""

    damping: float = 0.0
    removal: Removal = "infinitesimal"
    refit: Refitting = False
    device: torch.device = torch.device("cpu")  # noqa: RUF009
    dtype: torch.dtype | None = None
    progress: bool = False
    solver: HeadSolver = "auto"


def rank_parameters(trained: TrainedModel, last: Ranking, *, progress: bool = False) -> Ranking:
    """The ranking by the parameters of ``trained``, with the by-products of the ``last`` layer's.

    Raises:
        InputError: as :func:`cooks_distance`.
    """
    risk, inverse = trained.risk, trained.inverse
    mean, values = torch.zeros_like(risk.theta), []
    with _bar("scoring", progress, risk.size) as advance:
        for rows in risk.gradients():
            mean += rows.sum(0)
            values.append(inverse.quadratic(rows))
            if advance is not None:
                advance(len(rows))
    cook = torch.cat(values).cpu().numpy()
    slope = mean / risk.size + risk.penalty * risk.theta
    precision = torch.finfo(risk.theta.dtype)
    facts = Facts(
        solver=f"{risk.dimension:,} parameters of {len(risk.names)} tensors",
        outcome=inverse.outcome,
        precision=str(risk.theta.dtype).removeprefix("torch."),
        estimated_error=float("nan") if inverse.error is None else inverse.error or precision.eps,
        decrement=0.5 * float(inverse.quadratic(slope.unsqueeze(0))),
        saturated=None,
        dropped=0,
    )
    error = None if not inverse.error else inverse.error * cook
    checked = diagnose(facts, Spread.of(cook))
    return replace(last, values=cook, standard_error=error, diagnostics=checked, statistics=None)


def head_solver(solver: str) -> HeadSolver:
    """``solver`` if it is one for the last layer.

    Raises:
        InputError: it is not.
    """
    if solver not in get_args(HeadSolver):
        known = ", ".join(map(repr, get_args(HeadSolver)))
        raise InputError(f"solver is {solver!r}; the last layer takes {known}; others go with params")
    return cast(HeadSolver, solver)


def rank(head: HeadWeights, batches: FeatureBatches, options: Options) -> tuple[Ranking, Solved]:
    """Solve, score and check one head.

    Raises:
        InputError: as :func:`cooks_distance`.
    """
    refit = ""
    if options.refit:
        head, refit = _refitted(head, batches, options)
    statistics = partial(of_head, head, batches)
    method = _method(head, options)
    if method == "sketch":
        sketched = SketchedInfluence(head, batches, damping=options.damping, device=options.device)
        with _bar("scoring", options.progress, sketched.points) as advance:
            scores = sketched.scores(on_chunk=advance)
        return _ranking(scores, sketched.facts(), refit, statistics), sketched
    if method == "tiled":
        with _bar("factorising", options.progress, head.outputs - 1) as advance:
            tiled = TiledInfluence(
                head, batches, damping=options.damping, device=options.device, on_panel=advance
            )
        with _bar("scoring", options.progress, tiled.points) as advance:
            scores = tiled.scores(on_chunk=advance)
        return _ranking(scores, tiled.facts(), refit, statistics), tiled
    solved = Influence(head, batches, damping=options.damping, dtype=options.dtype, device=options.device)
    with _bar("scoring", options.progress, solved.summary.points) as advance:
        scores = solved.scores(removal=options.removal, on_chunk=advance)
    return _ranking(scores, solved.facts(), refit, statistics), solved


def _refitted(head: HeadWeights, batches: FeatureBatches, options: Options) -> tuple[HeadWeights, str]:
    if options.refit != "ridge":
        fitted = refit_head(head, batches, device=options.device)
        return fitted.head, fitted.outcome
    if _method(head, options) != "dense":
        raise InputError("refit='ridge' needs the closed form, for which this head is too large; pass l2")
    fitted = refit_ridge(head, batches, device=options.device)
    return fitted.head, f"{fitted.outcome}, ridge {fitted.head.l2:g} chosen by the loss of left-out points"


def factorises(head: HeadWeights) -> bool:
    """Whether the head's Hessian is within :data:`EXACT_LIMIT`."""
    groups = head.outputs if head.loss.separable else 1
    return groups * (head.width * head.outputs // groups) ** 2 <= EXACT_LIMIT**2


def _method(head: HeadWeights, options: Options) -> Literal["dense", "tiled", "sketch"]:
    small = factorises(head)
    if options.solver != "sketch" and small:
        return "dense"
    plain = options.removal == "infinitesimal" and head.loss.convex
    if options.solver == "exact":
        tiles = plain and not head.loss.separable and options.dtype != torch.float64
        return "tiled" if tiles else "dense"
    if not plain:
        raise InputError(
            f"a head of {head.outputs * head.width:,} parameters is sketched, which gives"
            " removal='infinitesimal' of a named loss only; pass solver='exact' if memory allows"
        )
    return "sketch"


def _ranking(
    scores: Scores, facts: Facts, refit: str, statistics: Callable[[], Statistics | None]
) -> Ranking:
    return Ranking(
        values=scores.cook,
        loss=scores.loss,
        loo_loss=scores.loo_loss,
        leverage=scores.leverage,
        margin=scores.margin,
        suggested_label=scores.suggested_label,
        label=scores.label,
        standard_error=scores.standard_error,
        diagnostics=diagnose(facts, Spread.of(scores.cook, scores.first_order), refit=refit),
        statistics=statistics,
    )


def as_head(
    model_or_head: nn.Module | LinearHead, *, layer: str | None, loss: LossLike, l2: Ridge
) -> LinearHead:
    """A :class:`LinearHead` as it is, or that of a model.

    Raises:
        InputError: neither.
    """
    if isinstance(model_or_head, LinearHead):
        return model_or_head
    if isinstance(model_or_head, nn.Module):
        return LinearHead.from_module(model_or_head, layer, loss, l2)
    raise InputError(
        f"the model is a {type(model_or_head).__name__}; expected a torch.nn.Module or a LinearHead"
    )


def as_device(device: torch.device | str | None, head: LinearHead) -> torch.device:
    return head.weights.weight.device if device is None else torch.device(device)


def blank_head(batches: FeatureBatches, loss: Loss, l2: float) -> HeadWeights:
    """A head of zeros with a free bias, its outputs counted from the targets.

    Raises:
        InputError: one class only, or fewer points than classes.
    """
    count, classes, width = 0, 1, 0
    for features, targets in batches:
        width = features.shape[1]
        count += len(features)
        if targets.ndim == 2:
            classes = targets.shape[1]
        elif loss.name == "cross_entropy" and len(targets):
            classes = max(classes, int(targets.max()) + 1)
    if loss.name == "cross_entropy":
        if classes < 2:
            raise InputError("every label is the same class; influence needs at least two classes")
        if count < classes:
            raise InputError(f"{count} points for {classes} classes; expected at least one point per class")
    zeros = torch.zeros(classes, width, dtype=torch.float64)
    return HeadWeights(zeros, zeros[:, 0].clone(), loss, l2, penalize_bias=False)


@contextmanager
def _bar(name: str, show: bool, total: int) -> Iterator[Callable[[int], None] | None]:
    if not show:
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name, total=total)
        yield lambda points: bar.advance(task, points)
