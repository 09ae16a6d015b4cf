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
from swaypoint.scoring.blank_head import blank_head
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.options import Refitting, Solving
from swaypoint.scoring.rank import LossLike, as_head, rank, rank_parameters
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.risks.model import Kind, ModelRisk, Ridge
from swaypoint.scoring.scores import Removal
from swaypoint.scoring.solver_choice import DENSE_LIMIT, invert
from swaypoint.scoring.solvers.base import Inverse
from swaypoint.scoring.trained_model import TrainedModel


@dataclass(frozen=True)
class TopInfluences:
    """The training points of largest |influence| on each test point, the largest first.

    ``index`` (n_test, k) int64 positions in the training data; ``values`` (n_test, k) float64, signed:
    positive for proponents (removing them raises the test loss), negative for opponents.
    """

    index: np.ndarray
    values: np.ndarray


def cooks_distance(  # long: what each option is
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
        model_or_head: a trained model, or a :class:`LinearHead` (which brings its own loss, layer
            and l2).
        data: what the model was trained on, see :func:`~swaypoint.data.loaders.as_loader`: a torch
            ``Dataset`` or ``DataLoader``, a pair (inputs, labels) of arrays, tensors or data frames, or a
            Hugging Face dataset. :attr:`~swaypoint.scoring.ranking.Ranking.own_index` has the rows of a
            ``Subset`` or frame as these call them.
        loss, layer, l2: see :meth:`LinearHead.from_module`.
        damping, removal, refit, params, curvature, solver, device: how it is solved for, see
            :class:`~swaypoint.scoring.options.Solving`.
        batch_size: points per forward pass.
        dtype: of the large products: None (float32 where it suffices), float32 or float64.
        progress: show a progress bar on a terminal.

    Returns:
        A :class:`~swaypoint.scoring.ranking.Ranking` in dataset order.

    Raises:
        InputError: the model or the data cannot be used; the message says why and what to do.
    """
    solving = Solving(damping, removal, refit, params, curvature, solver, device)
    solving.check()
    head = as_head(model_or_head, layer=layer, loss=loss, l2=l2)
    batches, last = head.batches(data, batch_size), solving.of_the_head()
    if params is None:
        return rank(head.weights, batches, last, dtype=dtype, progress=progress)[0]
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
    return rank_parameters(trained, rank(head.weights, batches, last, dtype=dtype)[0], progress=progress)


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
    progress: bool = False,
) -> Ranking:
    """Cook's distances from embeddings alone: fits the convex head itself.

    Args:
        features: ``(n, D)`` array or tensor.
        labels: ``(n,)`` classes as integers, texts or booleans (an array, a list, a column of a data frame),
            which the ranking has as they are; or the targets of another loss.
        estimator: a fitted scikit-learn ``LogisticRegression``, ``RidgeClassifier``, ``Ridge`` or
            ``LinearRegression`` to use instead, with its own labels, loss and regularisation.
        l2: ridge of the fitted head, its bias free; default 1/n (scikit-learn's ``C=1``).
        loss, damping, removal, device, dtype, progress: see :func:`cooks_distance`.

    Raises:
        InputError: as :func:`cooks_distance`. A fit that stops short of its optimum is no error: the
            ranking's ``diagnostics`` say so, and how far it is.
    """
    solving = Solving(damping, removal, device=device)
    aligned(features, labels)
    if estimator is not None:
        head = LinearHead.from_estimator(estimator, len(features)).weights
        batches = ArrayBatches(features, _targets(estimator, labels))
        solving = solving.of_the_head()
        return _named(rank(head, batches, solving, dtype=dtype, progress=progress)[0], features, labels)
    objective, classes = as_loss(loss), None
    if np.ndim(labels) == 1 and objective.output_per_class:
        classes = class_labels(labels)
    batches = ArrayBatches(features, labels if classes is None else classes.index)
    head = blank_head(batches, objective, 1.0 / len(batches) if l2 is None else l2)
    ranking, _ = rank(head, batches, solving.of_the_head(fit=True), dtype=dtype, progress=progress)
    ranking = _named(ranking, features, labels)
    if classes is None or classes.are_indices:
        return ranking
    label, suggested = (classes.named(index) for index in (ranking.label, ranking.suggested_label))
    return replace(ranking, label=label, suggested_label=suggested)


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
    where = head.weights.weight.device if device is None else device
    batches = head.batches(train, batch_size)
    solved = Influence(head.weights, batches, damping=damping, dtype=torch.float64, device=where)
    return _collect(solved.on(head.batches(test, batch_size)), top)


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
