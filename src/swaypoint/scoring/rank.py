"""From a head and its batches to a ranking: solved, scored, checked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.bars import bar
from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.folder.documents import free_memory
from swaypoint.scoring.closed_form import Influence, closed_form_bytes
from swaypoint.scoring.fitness import Spread, diagnose
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.options import Solving
from swaypoint.scoring.panels import TiledInfluence, panel_bytes
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.refit import refit_head, refit_ridge
from swaypoint.scoring.regression import Statistics, of_head
from swaypoint.scoring.risks.head import HeadWeights
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.risks.model import Ridge
from swaypoint.scoring.scores import Expected, Facts, Scores
from swaypoint.scoring.sketched import ACCURACY as SKETCH_ACCURACY
from swaypoint.scoring.sketched import SketchedInfluence, sketch_bytes
from swaypoint.scoring.solvers.base import Solution
from swaypoint.scoring.trained_model import TrainedModel

EXACT_LIMIT = 12_000
"""Parameters that interact, up to which ``solver="auto"`` factorises: 1.2 GB in float64, a minute. Outputs
that do not interact are factorised one by one, and may have as many entries together."""

LossLike = str | Loss | Callable[..., Any]
Progress = bool | Callable[[int, int], None] | None
"""Whether a :func:`~swaypoint.data.bars.bar` is shown, or who is told of what is done, and of how much."""


def rank(
    head: HeadWeights,
    batches: FeatureBatches,
    solving: Solving,
    *,
    dtype: torch.dtype | None = None,
    progress: Progress = False,
    probabilities: bool = False,
    memory: float | None = None,
) -> tuple[Ranking, HeadSolution]:
    """Solve, score and check one head.

    Args:
        solving: of the last layer, see :meth:`Solving.of_the_head`.
        dtype: of the large products, see :class:`~swaypoint.scoring.closed_form.Influence`.
        progress: show a bar, or call with (points done, points in all).
        probabilities: keep those of leave-one-out, see :class:`~swaypoint.scoring.scores.Scores`.
        memory: bytes that the solution may take; None: what is free.

    Raises:
        InputError: as :func:`swaypoint.cooks_distance`.
    """
    solving.check()
    method = choose(head, solving, dtype, memory=memory)
    refit = ""
    if solving.refit:
        head, refit = _refitted(head, batches, solving)
    solution = _solved(method, head, batches, solving, dtype, progress)
    with _bar("scoring", progress, solution.points) as advance:
        scores = solution.scores(removal=solving.removal, probabilities=probabilities, on_chunk=advance)
    ranking = _ranking(scores, solution.facts(), refit, partial(of_head, head, batches))
    own = batches.own_index
    return ranking if own is None else replace(ranking, own_index=own), solution


def rank_parameters(trained: TrainedModel, last: Ranking, *, progress: Progress = False) -> Ranking:
    """The ranking by the parameters of ``trained``, with the by-products of the ``last`` layer's.

    Raises:
        InputError: as :func:`swaypoint.cooks_distance`.
    """
    risk, inverse = trained.risk, trained.inverse
    mean = torch.zeros_like(risk.theta)
    with _bar("scoring", progress, risk.size) as advance:

        def done(rows: Tensor) -> None:
            mean.add_(rows.sum(0))
            if advance is not None:
                advance(len(rows))

        cook, worst = _self_influences(trained, done)
    slope = mean / risk.size + risk.penalty * risk.theta
    facts = Facts(
        solver=f"{risk.dimension:,} parameters of {len(risk.names)} tensors",
        outcome=worst.outcome,
        precision=str(risk.theta.dtype).removeprefix("torch."),
        error=_expected(worst, risk.theta.dtype),
        decrement=0.5 * float(inverse.quadratic(slope.unsqueeze(0)).value),
        saturated=None,
        dropped=0,
    )
    error = _errors(worst, cook)
    checked = diagnose(facts, Spread.of(cook))
    return replace(last, values=cook, standard_error=error, diagnostics=checked, statistics=None)


def unseen_parameters(trained: TrainedModel, last: Scores) -> Scores:
    """The scores of :meth:`TrainedModel.unseen` points by the parameters of the model, with the by-products
    of the ``last`` layer's.

    Raises:
        InputError: as :func:`swaypoint.cooks_distance`.
    """
    cook, worst = _self_influences(trained, lambda rows: None)
    return replace(last, cook=cook, standard_error=_errors(worst, cook), first_order=None)


def _self_influences(trained: TrainedModel, done: Callable[[Tensor], None]) -> tuple[np.ndarray, Solution]:
    """g^T H^-1 g of every point, and of the solves the one with the largest residual; ``done`` is called
    with the gradients of each batch."""
    found = list[Solution]()
    for rows in trained.risk.gradients():
        found.append(trained.inverse.quadratic(rows))
        done(rows)
    cook = torch.cat([solution.value for solution in found]).cpu().numpy()
    return cook, max(found, key=lambda solution: solution.residual or 0.0)


def _errors(solution: Solution, cook: np.ndarray) -> np.ndarray | None:
    return solution.error * cook if solution.error else None


def _expected(solution: Solution, dtype: torch.dtype) -> Expected:
    if solution.error is None:
        return Expected(float("nan"), "not known of this approximation", held_to=SKETCH_ACCURACY)
    if solution.error:
        return Expected(solution.error, "standard error of the sketch", held_to=SKETCH_ACCURACY)
    eps = torch.finfo(dtype).eps
    return Expected(eps, "rounding of a single number; the solve's own is told by its outcome", held_to=eps)


Method = Literal["dense", "tiled", "sketch"]
_BYTES: dict[Method, Callable[[HeadWeights], float]] = {
    "dense": closed_form_bytes,
    "tiled": panel_bytes,
    "sketch": sketch_bytes,
}


SAID: dict[Method, str] = {
    "dense": "factorised, exactly",
    "tiled": "factorised in panels, exactly; this takes minutes to hours",
    "sketch": "too many to factorise here; Cook's distances are estimated by a sketch, with an error",
}
"""What is done, in words."""


def choose(
    head: HeadWeights, solving: Solving, dtype: torch.dtype | None = None, *, memory: float | None = None
) -> Method:
    """How the head is solved: what ``solving.solver`` asks for, within what the time of ``"auto"`` and the
    memory allow.

    Args:
        memory: bytes it may take, of what is free (:func:`~swaypoint.folder.documents.free_memory`).

    Raises:
        InputError: it is too large for what is asked.
    """
    free = free_memory()
    bounded = memory is not None and memory < free
    memory = free if memory is None else min(memory, free)
    plain = solving.removal == "infinitesimal" and head.loss.convex
    panels = plain and not head.loss.separable and dtype != torch.float64
    methods: list[Method] = []
    if solving.solver != "sketch" and factorises(head):
        methods.append("dense")
    if solving.solver == "exact":
        methods += ["tiled"] if panels else ["dense"]
    elif plain:
        methods.append("sketch")
    if not methods:
        raise InputError(
            f"a head of {head.outputs * head.width:,} parameters is sketched, which gives"
            " removal='infinitesimal' of a named loss only; pass solver='exact' if memory allows"
        )
    for method in methods:
        if _BYTES[method](head) <= memory:
            return method
    needed = min(_BYTES[method](head) for method in methods)
    remedy = "use solver='sketch', or fewer" if plain and "sketch" not in methods else "use fewer"
    there = "may be held (max_memory)" if bounded else "are free here"
    more = "a larger --max-memory" if bounded else "a machine with more memory"
    raise InputError(
        f"a head of {head.outputs:,} outputs on {head.width:,} features needs {needed / 1e9:.1f} GB and"
        f" {memory / 1e9:.1f} {there}; {remedy} features (a projection to their first principal"
        f" components), or {more}"
    )


def factorises(head: HeadWeights) -> bool:
    """Whether the head's Hessian is within :data:`EXACT_LIMIT`."""
    groups = head.outputs if head.loss.separable else 1
    return groups * (head.width * head.outputs // groups) ** 2 <= EXACT_LIMIT**2


def _solved(
    method: Method,
    head: HeadWeights,
    batches: FeatureBatches,
    solving: Solving,
    dtype: torch.dtype | None,
    progress: Progress,
) -> HeadSolution:
    damping, device = solving.damping, _device(head, solving)
    if method == "sketch":
        return SketchedInfluence(head, batches, damping=damping, device=device)
    if method == "tiled":
        with _bar("factorising", progress, head.outputs - 1) as advance:
            return TiledInfluence(head, batches, damping=damping, device=device, on_panel=advance)
    return Influence(head, batches, damping=damping, dtype=dtype, device=device)


def _device(head: HeadWeights, solving: Solving) -> torch.device:
    return head.weight.device if solving.device is None else torch.device(solving.device)


def _refitted(head: HeadWeights, batches: FeatureBatches, solving: Solving) -> tuple[HeadWeights, str]:
    device = _device(head, solving)
    if solving.refit != "ridge":
        fitted = refit_head(head, batches, device=device)
        return fitted.head, fitted.outcome
    fitted = refit_ridge(head, batches, device=device)
    return fitted.head, f"{fitted.outcome}, ridge {fitted.head.l2:g} chosen by the loss of left-out points"


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
        probabilities=scores.probabilities,
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
        f"the model is a {type(model_or_head).__name__}; expected a torch.nn.Module, a LinearHead or a fitted"
        " scikit-learn estimator"
    )


@contextmanager
def _bar(name: str, show: Progress, total: int) -> Iterator[Callable[[int], None] | None]:
    if not show:
        yield None
    elif callable(show):
        yield _counted(show, total)
    else:
        with bar() as told:
            yield _counted(partial(told, name), total)


def _counted(told: Callable[[int, int], None], total: int) -> Callable[[int], None]:
    done = 0

    def advance(points: int) -> None:
        nonlocal done
        done += points
        told(done, total)

    return advance
