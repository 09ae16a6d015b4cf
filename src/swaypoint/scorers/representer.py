"""Representer points: a prediction as a sum over the training points.

Both are of the last layer, whatever ``params`` say. ``phi`` has the constant 1 of the bias as its last
entry, so that theta = [W, b] is ``(C, D [+ 1])``. Values on test points are read off one output: the
test point's predicted class, as in both papers, so positive (excitatory) points are proponents of the
*prediction*, which is the label only where the model is right. A single logit of a classifier is read
with the sign of its prediction, a single output of a regression as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.scorers.base import Score, register
from swaypoint.scoring.head_inverse import HeadInverse
from swaypoint.scoring.refit import refit_head
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import LinearHeadRisk
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.trained_model import TrainedModel


class RepresenterPoints:
    """The last layer at its optimum as a sum over the training points, theta = sum_i alpha_i phi_i^T.

    Yeh, Kim, Yen & Ravikumar, NeurIPS 2018, Theorem 3.1. At a stationary point of mean loss + (l2 / 2)
    ||theta||^2, alpha_i = -r_i / (l2 n) with r_i = dl_i/dz (the paper's lambda is l2 / 2). A layer that
    training has left elsewhere is taken to its optimum first, on frozen features. A bias that the ridge
    does not cover (scikit-learn) is no part of the sum.

    Args:
        trained: with l2 > 0.

    Attributes:
        alphas: ``(n, C)`` float64.
        risk: the last layer's objective at its optimum.

    Raises:
        InputError: l2 is 0, or the optimum was not reached.
    """

    def __init__(self, trained: TrainedModel) -> None:
        head, batches = trained.head.weights, trained.batches
        if not head.l2 > 0:
            raise InputError(
                f"representer_l2 needs a ridge and l2 is {head.l2:g}; pass the training's weight decay,"
                " l2 > 0, or use representer_lje"
            )
        refit = refit_head(head, batches)
        if not refit.converged:
            raise InputError(f"representer_l2 needs the last layer's optimum: {refit.outcome}")
        self.risk = LinearHeadRisk(refit.head, batches, dtype=torch.float64)
        self._covered = refit.head.penalty(0.0) > 0
        residuals = torch.cat([chunk.terms.residual for chunk in self.risk.chunks()])
        self.alphas = residuals / (-head.l2 * len(residuals))

    def kernel(self, queries: Chunk) -> Tensor:
        """phi_t^T phi_i of queries and training points, ``(b, n)`` float64, as far as the ridge reaches."""
        left = queries.features[self._covered].T
        return torch.cat([left @ chunk.features[self._covered] for chunk in self.risk.chunks()], 1)


def representer_l2(trained: TrainedModel) -> np.ndarray:
    """|alpha_i| at the label, or ||alpha_i|| where there is none (regression, multi-label); large: the
    point pulls hard on the last layer, so look at it first. See :class:`RepresenterPoints`.

    Returns:
        ``(n,)`` float64.

    Raises:
        InputError: l2 is 0, or the last layer's optimum was not reached.
    """
    points = RepresenterPoints(trained)
    labels = _labels(points.risk)
    return _at(labels, points.alphas).cpu().numpy()


def representer_l2_on(trained: TrainedModel, test: Any) -> np.ndarray:
    """alpha_i[k] phi_i^T phi_t, k the predicted class of test point t (Yeh et al., 2018, Eq. 3.1);
    positive: the point speaks for the prediction. See :class:`RepresenterPoints`.

    Args:
        test: points to explain, in the form of the training data.

    Returns:
        ``(n_test, n)`` float64.

    Raises:
        InputError: l2 is 0, the optimum was not reached, or a regression has several outputs.
    """
    points = RepresenterPoints(trained)
    rows = [
        (_readout(chunk, points.risk.head.loss) @ points.alphas.T) * points.kernel(chunk)
        for chunk in points.risk.chunks(trained.head.batches(test))
    ]
    return torch.cat(rows).cpu().numpy()


def representer_lje(trained: TrainedModel) -> np.ndarray:
    """|point i's share of the Newton step's change of its own logit at the label|, or the norm of that
    change where there is no label; large: look at it first. See :func:`representer_lje_on`.

    The paper only compares with test points; this is its value of each point on itself.

    Returns:
        ``(n,)`` float64.
    """
    inverse, ridge, n = HeadInverse(trained.influence), _ridge(trained), trained.size
    changes = []
    for chunk in trained.points():
        steps = inverse.solve((chunk.gradients() + ridge).flatten(1).T).value.T.unflatten(1, ridge.shape)
        changes.append(torch.einsum("bcd,db->bc", steps, chunk.features) / -n)
    return _at(_labels(trained.head_risk), torch.cat(changes)).cpu().numpy()


def representer_lje_on(trained: TrainedModel, test: Any) -> np.ndarray:
    """Point i's share of one Newton step's change of the logit of test point t's predicted class.

    Sui, Wu & Sanner, NeurIPS 2021: no refit; the gradient is expanded around the layer as it is (for an
    earlier moment pass ``trained.at(weights)``), theta = theta_ref - H^-1 grad, and grad is a mean over
    the points: the share of i is -(1/n) [H^-1 (g_i + l2 theta_ref)] phi_t. The paper also deals out
    theta_ref itself in equal parts, as here only the ridge's gradient: a constant for each test point.
    In directions without a gradient (the softmax gauge) there is no step. Positive: the point speaks for
    the prediction.

    Args:
        test: points to explain, in the form of the training data.

    Returns:
        ``(n_test, n)`` float64.

    Raises:
        InputError: a regression has several outputs.
    """
    inverse, ridge, n = HeadInverse(trained.influence), _ridge(trained), trained.size
    loss, blocks = trained.head.weights.loss, []
    for queries in trained.points(test):
        read = torch.einsum("tc,dt->tcd", _readout(queries, loss), queries.features)
        solved = inverse.solve(read.flatten(1).T).value.T.reshape(read.shape)
        shared = (solved * ridge).sum((1, 2)).unsqueeze(1)
        parts = [
            torch.einsum("bc,tcd,db->tb", chunk.terms.residual, solved, chunk.features)
            for chunk in trained.points()
        ]
        blocks.append((torch.cat(parts, 1) + shared) / -n)
    return torch.cat(blocks).cpu().numpy()


def _ridge(trained: TrainedModel) -> Tensor:
    """Gradient of the objective's ridge, ``(C, D)`` float64; damping is no part of the objective."""
    return trained.head.weights.penalty(0.0).to(trained.head_risk.matrix) * trained.head_risk.matrix


def _labels(risk: LinearHeadRisk) -> Tensor | None:
    """Labels of the training points that index the outputs, ``(n,)``, where there are such."""
    labels = [risk.head.loss.labels(chunk.targets) for chunk in risk.chunks()]
    if risk.head.outputs == 1 or any(part is None for part in labels):
        return None
    return torch.cat([part for part in labels if part is not None])


def _at(labels: Tensor | None, values: Tensor) -> Tensor:
    """|values| ``(n, C)`` at the label, or their norm."""
    return values.norm(dim=1) if labels is None else values.gather(1, labels.unsqueeze(1)).squeeze(1).abs()


def _readout(chunk: Chunk, loss: Loss) -> Tensor:
    """What is read off the logits of each test point, ``(b, C)``: see the module."""
    logits = chunk.logits
    if logits.shape[1] == 1:
        return torch.where(logits < 0, -1.0, 1.0).double() if loss.classifies else torch.ones_like(logits)
    if chunk.terms.probabilities is None:
        raise InputError(
            f"{loss.name!r} predicts no class among {logits.shape[1]} outputs, so there is none to explain;"
            " use loss='cross_entropy', or explain one output at a time"
        )
    return F.one_hot(logits.argmax(1), logits.shape[1]).to(logits)


register(
    Score(
        "representer_l2",
        "Yeh, Kim, Yen & Ravikumar, NeurIPS 2018",
        "weight of a point in the L2 optimum of the last layer",
        score=representer_l2,
        on=representer_l2_on,
    )
)
register(
    Score(
        "representer_lje",
        "Sui, Wu & Sanner, NeurIPS 2021",
        "share of a point in a Newton step of the last layer",
        score=representer_lje,
        on=representer_lje_on,
    )
)
