"""The public functions: from a model and data, or features and labels, to a ranking."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.batches import ArrayBatches, FeatureBatches
from swaypoint.errors import InputError
from swaypoint.estimators.base import TrainedModel
from swaypoint.fitness import Spread, diagnose
from swaypoint.heads import LinearHead
from swaypoint.ranking import Ranking
from swaypoint.refit import refit_head
from swaypoint.ridge import refit_ridge
from swaypoint.risks.autodiff import Kind, ModelRisk, Ridge
from swaypoint.risks.linear_head import HeadWeights
from swaypoint.risks.losses import Loss, as_loss
from swaypoint.scoring import Facts, Influence, Removal, Scores
from swaypoint.sketching import SketchedInfluence
from swaypoint.solvers.base import Inverse
from swaypoint.solving import DENSE_LIMIT, Solver, invert
from swaypoint.tiled import TiledInfluence

HeadSolver = Literal["auto", "exact", "sketch"]
EXACT_LIMIT = 12_000
"""Parameters that interact, up to which ``solver="auto"`` factorises: 1.2 GB in float64, a minute. Outputs
that do not interact are factorised one by one, and may have as many entries together."""
Refitting = bool | Literal["ridge"]
Solved = Influence | TiledInfluence | SketchedInfluence
LossLike = str | Loss | Callable[..., Any]


@dataclass(frozen=True)
class TopInfluences:
    """The training points of largest |influence| on each test point, the largest first.

    ``index`` (n_test, k) int64 positions in the training data; ``values`` (n_test, k) float64, signed:
    positive for proponents (removing them raises the test loss), negative for opponents.
    """

    index: np.ndarray
    values: np.ndarray


def cooks_distance(
    model_or_head: nn.Module | LinearHead,
    data: Any,
    *,
    loss: LossLike = "cross_entropy",
    layer: str | None = None,
    l2: Ridge = 0.0,
    damping: float = 0.0,
    removal: Removal = "infinitesimal",
    params: str | Sequence[str] | None = None,
    curvature: Kind = "ggn",
    solver: Solver = "auto",
    refit: Refitting = False,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> Ranking:
    """Rank every point of ``data`` by Cook's distance g^T H^-1 g: of the last layer, exactly, or of any
    parameters.

    The model is scored in eval mode and left as it was found.

    Args:
        model_or_head: a trained model, or a :class:`LinearHead` (which brings its own loss, layer
            and l2).
        data: what the model was trained on: a torch ``Dataset`` or ``DataLoader``, a pair (inputs,
            labels) of arrays or tensors, or a Hugging Face dataset with a transform.
        loss, layer, l2: see :meth:`LinearHead.from_module`.
        damping: added to the diagonal of the Hessian, beside ``l2``.
        removal: ``"infinitesimal"`` (the paper) or ``"finite"`` (one Newton step without the point;
            for linear regression the statisticians' numerator, exactly).
        params: None takes the last layer, in closed form. A name or patterns of the model's
            parameters (``"*"``, ``("layer4.*", "fc.*")``) take those, by automatic differentiation, where
            the model is and in its precision; ``l2`` and ``damping`` then cover all of them, and the
            by-products (``loo_loss``, ``margin``, ``leverage``, ``suggested_label``) stay the last layer's.
        curvature: with ``params``: ``"ggn"``, the generalised Gauss-Newton matrix, positive
            semi-definite also where the training has not converged; ``"hessian"``, the paper's, which
            needs a model at a minimum; or ``"empirical_fisher"``.
        solver: of the last layer: ``"exact"``, the closed form (beyond 12,000 interacting parameters in
            panels, see :mod:`swaypoint.tiled`: minutes to hours); ``"sketch"``, an estimate with standard
            errors (see :mod:`swaypoint.sketching`); ``"auto"``: the first up to 12,000, then the second.
            With ``params``: see :func:`swaypoint.solving.invert`.
        refit: True first brings the head to the optimum of its (convex) objective on these features;
            ``"ridge"`` also chooses the ridge, see :func:`swaypoint.ridge.refit_ridge`.
        batch_size: points per forward pass.
        device: of the linear algebra; default: the model's.
        dtype: of the large products: None (float32 where it suffices), float32 or float64.
        progress: show a progress bar on a terminal.

    Returns:
        A :class:`~swaypoint.ranking.Ranking` in dataset order.

    Raises:
        InputError: the model or the data cannot be used; the message says why and what to do.
    """
    head = as_head(model_or_head, layer=layer, loss=loss, l2=l2)
    target = as_device(device, head)
    batches = head.batches(data, batch_size)
    if params is None:
        options = Options(damping, removal, refit, target, dtype, progress, head_solver(solver))
        return rank(head.weights, batches, options)[0]
    if removal != "infinitesimal" or refit:
        raise InputError("removal='finite' and refit=True are for the last layer; leave params out")
    trained = TrainedModel(
        model_or_head,
        data,
        params=params,
        loss=loss,
        layer=layer,
        l2=l2,
        damping=damping,
        curvature=curvature,
        solver=solver,
        batch_size=batch_size,
    )
    last = rank(head.weights, batches, Options(damping, device=target, dtype=dtype))[0]
    return rank_parameters(trained, last, progress=progress)


def cooks_distance_from_features(
    features: Any,
    labels: Any,
    *,
    estimator: Any = None,
    loss: LossLike = "cross_entropy",
    l2: float | None = None,
    damping: float = 0.0,
    removal: Removal = "infinitesimal",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> Ranking:
    """Cook's distances from embeddings alone: fits the convex head itself.

    Args:
        features: ``(n, D)`` array or tensor.
        labels: ``(n,)`` class indices, or the targets of another loss.
        estimator: a fitted scikit-learn ``LogisticRegression``, ``RidgeClassifier``, ``Ridge`` or
            ``LinearRegression`` to use instead, with its own labels, loss and regularisation.
        l2: ridge of the fitted head, its bias free; default 1/n (scikit-learn's ``C=1``).
        loss, damping, removal, device, dtype, progress: see :func:`cooks_distance`.

    Raises:
        InputError: as :func:`cooks_distance`. A fit that stops short of its optimum is no error: the
            ranking's ``diagnostics`` say so, and how far it is.
    """
    options = Options(damping, removal, False, torch.device(device), dtype, progress)
    if estimator is not None:
        head = LinearHead.from_estimator(estimator, len(features)).weights
        return rank(head, ArrayBatches(features, _targets(estimator, labels)), options)[0]
    batches = ArrayBatches(features, labels)
    head = blank_head(batches, as_loss(loss), 1.0 / len(batches) if l2 is None else l2)
    return rank(head, batches, replace(options, refit=True))[0]


def influence(
    model_or_head: nn.Module | LinearHead,
    train: Any,
    test: Any,
    *,
    top: int | None = None,
    loss: LossLike = "cross_entropy",
    layer: str | None = None,
    l2: Ridge = 0.0,
    damping: float = 0.0,
    params: str | Sequence[str] | None = None,
    curvature: Kind = "ggn",
    solver: Solver = "auto",
    batch_size: int = 512,
    device: torch.device | str | None = None,
) -> np.ndarray | TopInfluences:
    """Influence I(z, z') = g(z')^T H^-1 g(z) of training points z on test points z' (the paper's Eq. 1).

    The sign is the paper's: removing z changes the loss at z' by about + I / n. Koh & Liang (2017)
    write it with a minus sign.

    Args:
        train, test: data as for :func:`cooks_distance`.
        top: None returns the matrix; a number returns only that many training points per test point,
            and never forms the matrix.
        solver: ``"auto"`` solves by conjugate gradients beyond :data:`~swaypoint.solving.DENSE_LIMIT`
            parameters; see :func:`swaypoint.solving.invert`. The last layer has one solver.
        loss, layer, l2, damping, params, curvature, batch_size, device: see :func:`cooks_distance`.

    Returns:
        ``(n_test, n_train)`` float64, or :class:`TopInfluences`.

    Raises:
        InputError: as :func:`cooks_distance`; with ``params`` also when the Hessian has negative
            curvature, or the solve does not converge: the message tells by how much, and the remedies.
    """
    if params is not None:
        if not isinstance(model_or_head, nn.Module):
            raise InputError("params needs the model; a LinearHead is its last layer")
        risk = ModelRisk(
            model_or_head,
            train,
            loss=loss,
            parameters=params,
            l2=l2,
            damping=damping,
            batch_size=batch_size,
        )
        if solver == "auto" and risk.dimension > DENSE_LIMIT:
            solver = "cg"  # few right-hand sides: exact all the same
        return _collect(_on(risk, invert(risk, curvature, solver), test), top)
    head = as_head(model_or_head, layer=layer, loss=loss, l2=l2)
    target = as_device(device, head)
    solved = Influence(
        head.weights, head.batches(train, batch_size), damping=damping, dtype=torch.float64, device=target
    )
    return _collect(solved.on(head.batches(test, batch_size)), top)


def _on(risk: ModelRisk, inverse: Inverse, test: Any) -> Iterator[tuple[int, Tensor]]:
    solved = inverse.solve(torch.cat(list(risk.gradients(test))).T)
    done = 0
    for rows in risk.gradients():
        yield done, (rows @ solved).T.double()
        done += len(rows)


def _collect(parts: Iterator[tuple[int, Tensor]], top: int | None) -> np.ndarray | TopInfluences:
    """The whole matrix, or the ``top`` of each row, from its columns part by part."""
    if top is None:
        return np.concatenate([values.cpu().numpy() for _, values in parts], axis=1)
    if top < 1:
        raise InputError(f"top is {top}; expected a positive number")
    best = index = None
    for start, values in parts:
        here = torch.arange(start, start + values.shape[1], device=values.device).expand_as(values)
        if best is not None and index is not None:
            values, here = torch.cat([best, values], 1), torch.cat([index, here], 1)
        chosen = values.abs().topk(min(top, values.shape[1]), dim=1).indices
        best, index = values.gather(1, chosen), here.gather(1, chosen)
    assert best is not None
    assert index is not None
    return TopInfluences(index.cpu().numpy(), best.cpu().numpy())


# -- shared with the audit ------------------------------------------------------------------------


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
    return replace(last, values=cook, standard_error=error, diagnostics=diagnose(facts, Spread.of(cook)))


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
    method = _method(head, options)
    if method == "sketch":
        sketched = SketchedInfluence(head, batches, damping=options.damping, device=options.device)
        with _bar("scoring", options.progress, sketched.points) as advance:
            scores = sketched.scores(on_chunk=advance)
        return _ranking(scores, sketched.facts(), refit), sketched
    if method == "tiled":
        with _bar("factorising", options.progress, head.outputs - 1) as advance:
            tiled = TiledInfluence(
                head, batches, damping=options.damping, device=options.device, on_panel=advance
            )
        with _bar("scoring", options.progress, tiled.points) as advance:
            scores = tiled.scores(on_chunk=advance)
        return _ranking(scores, tiled.facts(), refit), tiled
    solved = Influence(head, batches, damping=options.damping, dtype=options.dtype, device=options.device)
    with _bar("scoring", options.progress, solved.summary.points) as advance:
        scores = solved.scores(removal=options.removal, on_chunk=advance)
    return _ranking(scores, solved.facts(), refit), solved


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


def _ranking(scores: Scores, facts: Facts, refit: str) -> Ranking:
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


def _targets(estimator: Any, labels: Any) -> Any:
    """Labels of a scikit-learn classifier as class indices, or ±1 columns for its ridge."""
    labels = np.asarray(labels)
    classes = getattr(estimator, "classes_", None)
    if classes is None:
        return labels
    unknown = ~np.isin(labels, classes)
    if unknown.any():
        raise InputError(
            f"label {labels[unknown][0]!r} of row {int(unknown.argmax())} was not seen when the"
            f" {type(estimator).__name__} was fitted"
        )
    index = np.searchsorted(classes, labels)
    if type(estimator).__name__ != "RidgeClassifier":
        return index
    columns = np.eye(len(classes))[index] if len(classes) > 2 else index[:, None].astype(float)
    return 2.0 * columns - 1.0


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
