"""The public functions: from a model and data, or features and labels, to a ranking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.batches import ArrayBatches
from swaypoint.errors import InputError
from swaypoint.scoring.closed_form import Influence
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.rank import (
    LossLike,
    Options,
    Refitting,
    as_device,
    as_head,
    blank_head,
    head_solver,
    rank,
    rank_parameters,
)
from swaypoint.scoring.ranking import Ranking
from swaypoint.scoring.risks.losses import as_loss
from swaypoint.scoring.risks.model import Kind, ModelRisk, Ridge
from swaypoint.scoring.scores import Removal
from swaypoint.scoring.solver_choice import DENSE_LIMIT, Solver, invert
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
    solver: Solver = "auto",
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
            panels, see :mod:`swaypoint.scoring.panels`: minutes to hours); ``"sketch"``, an estimate with
            standard errors (see :mod:`swaypoint.scoring.sketched`); ``"auto"``: the first up to 12,000, then
            the second. With ``params``: see :func:`swaypoint.scoring.solver_choice.invert`.
        refit: True first brings the head to the optimum of its (convex) objective on these features;
            ``"ridge"`` also chooses the ridge, see :func:`swaypoint.scoring.refit.refit_ridge`.
        batch_size: points per forward pass.
        device: of the linear algebra; default: the model's.
        dtype: of the large products: None (float32 where it suffices), float32 or float64.
        progress: show a progress bar on a terminal.

    Returns:
        A :class:`~swaypoint.scoring.ranking.Ranking` in dataset order.

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
    progress: bool = False,
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
