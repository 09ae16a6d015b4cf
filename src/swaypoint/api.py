"""The public functions: from a model and data, or features and labels, to a ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.batches import ArrayBatches
from swaypoint.data.class_labels import class_labels
from swaypoint.data.loaders import aligned, own_index
from swaypoint.data.top import top_of
from swaypoint.errors import InputError
from swaypoint.models.estimators import Fitted, fitted_estimator, is_estimator
from swaypoint.scoring.blank_head import blank_head
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.head_solution import HeadSolution
from swaypoint.scoring.options import Refitting, Solving
from swaypoint.scoring.rank import LossLike, as_head, rank, rank_parameters
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.risks.model import Kind, ModelRisk, Ridge
from swaypoint.scoring.risks.weighted import weighted
from swaypoint.scoring.scores import Removal
from swaypoint.scoring.solver_choice import DENSE_LIMIT, invert
from swaypoint.scoring.solvers.base import Inverse
from swaypoint.scoring.trained_model import TrainedModel


@dataclass(frozen=True)
class TopInfluences:
    """The training points of largest influence, of either sign, on each test point, the largest first.

    ``index`` (n_test, k) int64 positions in the training data; ``values`` (n_test, k) float64, signed:
    positive for proponents (removing them raises the test loss), negative for opponents.
    """

    index: np.ndarray
    values: np.ndarray


def cooks_distance(  # long: what each option is
    model_or_head: Any,
    data: Any,
    *,
    sample_weight: Any = None,
    loss: LossLike = "cross_entropy",
    layer: str | None = None,
    l2: Ridge = 0.0,
    damping: float = 0.0,
    removal: Removal = "infinitesimal",
    params: str | Sequence[str] | None = None,
    curvature: Kind = "ggn",
    solver: str = "auto",
    refit: Refitting = False,
    batch_size: int = 512,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> Ranking:
    """Rank every point of ``data`` by Cook's distance g^T H^-1 g: of the last layer, exactly, or of any
    parameters.

    The model is scored in eval mode and left as it was found.

    Args:
        model_or_head: a trained model, a :class:`LinearHead` or a fitted scikit-learn estimator, see
            :func:`~swaypoint.models.estimators.fitted_estimator` (which bring their own loss, layer and l2).
        data: what the model was trained on, see :func:`~swaypoint.data.loaders.as_loader`: a torch
            ``Dataset`` or ``DataLoader``, a pair (inputs, labels) of arrays, tensors or data frames, or a
            Hugging Face dataset; of an estimator the pair that it was fitted to.
            :attr:`~swaypoint.scoring.ranking.Ranking.own_index` has the rows of a ``Subset`` or frame as
            these call them.
        sample_weight: ``(n,)``, the weights of the points in the training's loss: gradient and curvature of a
            point are so many times its own, and without it all of its weight is gone. Of the last layer only.
        loss, layer, l2: see :meth:`LinearHead.from_module`.
        damping, removal, refit, params, curvature, solver, device: how it is solved for, see
            :class:`~swaypoint.scoring.options.Solving`.
        batch_size: points per forward pass.
        dtype: of the large products: None (float32 where it suffices), float32 or float64.
        progress: show a bar on a terminal or in a notebook.

    Returns:
        A :class:`~swaypoint.scoring.ranking.Ranking` in dataset order.

    Raises:
        InputError: the model or the data cannot be used; the message says why and what to do.
    """
    solving = Solving(damping, removal, refit, params, curvature, solver, device)
    solving.check()
    if params is not None and sample_weight is not None:
        raise InputError("sample_weight goes with the last layer; leave params out")
    if is_estimator(model_or_head):
        own = (loss, layer, l2, params) == ("cross_entropy", None, 0.0, None)
        fitted = _fitted(model_or_head, data, sample_weight, own=own)
        return rank_estimator(fitted, data[1], solving, dtype=dtype, progress=progress)[0]
    head = as_head(model_or_head, layer=layer, loss=loss, l2=l2)
    last = solving.of_the_head()
    weights, batches = weighted(head.weights, head.batches(data, batch_size), sample_weight)
    if params is None:
        return rank(weights, batches, last, dtype=dtype, progress=progress)[0]
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
    return rank_parameters(trained, rank(weights, batches, last, dtype=dtype)[0], progress=progress)


def cooks_distance_from_features(
    features: Any,
    labels: Any,
    *,
    estimator: Any = None,
    sample_weight: Any = None,
    loss: LossLike = "cross_entropy",
    l2: float | None = None,
    damping: float = 0.0,
    removal: Removal = "infinitesimal",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> Ranking:
    """Cook's distances from embeddings alone: fits the convex head itself.

    Args:
        features: ``(n, D)`` array or tensor.
        labels: ``(n,)`` classes as integers, texts or booleans (an array, a list, a column of a data frame),
            which the ranking has as they are; or the targets of another loss.
        estimator: a fitted scikit-learn estimator to use instead, with its own labels, loss and
            regularisation, as :func:`cooks_distance` takes it; ``features`` are then what that takes.
        l2: ridge of the fitted head, its bias free; default 1/n (scikit-learn's ``C=1``).
        sample_weight, loss, damping, removal, device, dtype, progress: see :func:`cooks_distance`.

    Raises:
        InputError: as :func:`cooks_distance`. A fit that stops short of its optimum is no error: the
            ranking's ``diagnostics`` say so, and how far it is.
    """
    solving = Solving(damping, removal, device=device)
    aligned(features, labels)
    if estimator is not None:
        fitted = fitted_estimator(estimator, features, labels, sample_weight)
        ranking, _ = rank_estimator(fitted, labels, solving, dtype=dtype, progress=progress)
        return _named(ranking, features, labels)
    objective, classes = as_loss(loss), None
    if np.ndim(labels) == 1 and objective.output_per_class:
        classes = class_labels(labels)
    points = ArrayBatches(features, labels if classes is None else classes.index)
    blank = blank_head(points, objective, 1.0 / len(points) if l2 is None else l2)
    head, batches = weighted(blank, points, sample_weight)
    ranking, _ = rank(head, batches, solving.of_the_head(fit=True), dtype=dtype, progress=progress)
    ranking = _named(ranking, features, labels)
    if classes is None or classes.are_indices:
        return ranking
    label, suggested = (classes.named(index) for index in (ranking.label, ranking.suggested_label))
    return replace(ranking, label=label, suggested_label=suggested)


def influence(  # long: what each option is
    model_or_head: Any,
    train: Any,
    test: Any,
    *,
    top: int | None = None,
    sample_weight: Any = None,
    loss: LossLike = "cross_entropy",
    layer: str | None = None,
    l2: Ridge = 0.0,
    damping: float = 0.0,
    params: str | Sequence[str] | None = None,
    curvature: Kind = "ggn",
    solver: str = "auto",
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
        solver: ``"auto"`` solves by conjugate gradients beyond
            :data:`~swaypoint.scoring.solver_choice.DENSE_LIMIT` parameters; see
            :func:`swaypoint.scoring.solver_choice.invert`. The last layer has one solver.
        sample_weight: of the training points; the test points count once each.
        model_or_head, loss, layer, l2, damping, params, curvature, batch_size, device: see
            :func:`cooks_distance`.

    Returns:
        ``(n_test, n_train)`` float64, or :class:`TopInfluences`.

    Raises:
        InputError: as :func:`cooks_distance`; with ``params`` also when the Hessian has negative
            curvature, or the solve does not converge: the message tells by how much, and the remedies.
    """
    if params is not None:
        if not isinstance(model_or_head, nn.Module):
            raise InputError("params needs the model; a LinearHead or an estimator is its last layer")
        if sample_weight is not None:
            raise InputError("sample_weight goes with the last layer; leave params out")
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
    if is_estimator(model_or_head):
        own = (loss, layer, l2) == ("cross_entropy", None, 0.0)
        fitted = _fitted(model_or_head, train, sample_weight, own=own)
        head, batches = fitted.head.weights, fitted.train
        queries = fitted.read(*_pair(test))
    else:
        whole = as_head(model_or_head, layer=layer, loss=loss, l2=l2)
        head, batches = weighted(whole.weights, whole.batches(train, batch_size), sample_weight)
        queries = whole.batches(test, batch_size)
        if sample_weight is not None:
            queries = weighted(whole.weights, queries, np.ones(len(queries)))[1]
    where = head.weight.device if device is None else device
    solved = Influence(head, batches, damping=damping, dtype=torch.float64, device=where)
    return _collect(solved.on(queries), top)


def _named(ranking: Ranking, features: Any, labels: Any) -> Ranking:
    own = own_index((features, labels))
    return ranking if own is None else replace(ranking, own_index=own)


def _on(risk: ModelRisk, inverse: Inverse, test: Any) -> Iterator[tuple[int, Tensor]]:
    solved = inverse.solve(torch.cat(list(risk.gradients(test))).T).value
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
    best = TopInfluences(np.empty((0, 0), dtype=np.int64), np.empty((0, 0)))
    for start, tensor in parts:
        values = tensor.cpu().numpy()
        index = np.broadcast_to(np.arange(start, start + values.shape[1]), values.shape)
        if start:
            values, index = np.hstack([best.values, values]), np.hstack([best.index, index])
        chosen = top_of(np.abs(values), top)
        best = TopInfluences(np.take_along_axis(index, chosen, 1), np.take_along_axis(values, chosen, 1))
    return best


def _fitted(estimator: Any, data: Any, sample_weight: Any, *, own: bool) -> Fitted:
    """The estimator and the pair of its data; ``own``: loss, layer, ridge and parameters are left to it."""
    if not own:
        raise InputError(
            f"the {type(estimator).__name__} brings its own loss and ridge, and is its last layer; leave"
            " loss, l2, layer and params out"
        )
    return fitted_estimator(estimator, *_pair(data), sample_weight)


def _pair(data: Any) -> tuple[Any, Any]:
    if not (isinstance(data, tuple | list) and len(data) == 2):
        raise InputError(f"data is a {type(data).__name__}; expected the pair (X, y) of the estimator")
    return data[0], data[1]


def rank_estimator(
    fitted: Fitted,
    labels: Any,
    solving: Solving,
    *,
    dtype: torch.dtype | None = None,
    progress: bool = False,
) -> tuple[Ranking, HeadSolution]:
    """The ranking of the points that an estimator was fitted to, its labels those that it knows; and what was
    solved, for other points."""
    ranking, solution = rank(
        fitted.head.weights, fitted.train, solving.of_the_head(), dtype=dtype, progress=progress
    )
    if fitted.classes is None:
        return ranking, solution
    if np.isnan(ranking.margin).all():  # squared error, one against the rest: no class is suggested
        return replace(ranking, label=np.asarray(labels).reshape(len(ranking), -1)[:, 0]), solution
    label, suggested = (
        np.asarray(fitted.classes)[index.astype(np.int64)]
        for index in (ranking.label, ranking.suggested_label)
    )
    return replace(ranking, label=label, suggested_label=suggested), solution
