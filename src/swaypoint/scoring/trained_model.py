"""A trained model with its data and objective: what scores ask their questions of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.batches import FeatureBatches
from swaypoint.errors import InputError
from swaypoint.folder.documents import free_memory
from swaypoint.scoring.closed_form import Influence, closed_form_bytes
from swaypoint.scoring.fitness import accuracy_of, by_heart
from swaypoint.scoring.head_inverse import HeadInverse
from swaypoint.scoring.last_layer import LinearHead
from swaypoint.scoring.options import Solving
from swaypoint.scoring.risks.chunk import Chunk
from swaypoint.scoring.risks.head import LinearHeadRisk
from swaypoint.scoring.risks.losses import Loss
from swaypoint.scoring.risks.model import Kind, ModelRisk, Ridge
from swaypoint.scoring.solver_choice import invert
from swaypoint.scoring.solvers.base import Inverse

AnyModule = TypeVar("AnyModule", bound=nn.Module)


@dataclass(frozen=True)
class Checkpoint:
    """The model's ``weights`` (a state dict) at some moment of its training, and the learning ``rate``
    of the steps that they stand for."""

    weights: Mapping[str, Tensor]
    rate: float = 1.0


def last_third(epochs: int) -> int:
    """The first epoch (from 0) of the last third of so many, of one at least.

    >>> last_third(14), last_third(10), last_third(1)
    (9, 7, 0)
    """
    return epochs - max(1, round(epochs / 3))


@dataclass(frozen=True)
class Course:
    """What each point did during the training, as :class:`swaypoint.models.trajectory.Trajectory` records it.

    Attributes:
        margins: the logit of its label minus the largest other, ``(n, epochs)``; NaN: not visited.
        losses: likewise.
        probabilities: mean softmax of the :func:`last_third`, ``(n, C)`` float16; None: not recorded.
        whole: the same over all epochs.
    """

    margins: np.ndarray
    losses: np.ndarray
    probabilities: np.ndarray | None = None
    whole: np.ndarray | None = None


class TrainedModel:
    """A model, the data that it was trained on, and the objective: what scores are computed from.

    Args:
        model: a trained model, or a :class:`~swaypoint.scoring.last_layer.LinearHead` (its own loss, layer
            and l2).
        data: the training data, as for :func:`swaypoint.cooks_distance`.
        params, damping, curvature, solver: see :class:`~swaypoint.scoring.options.Solving`; gradients are
            taken by ``params``, and without them the last layer is solved in closed form.
        loss, layer, l2, batch_size: see :func:`swaypoint.cooks_distance`.
        checkpoints: moments of the training, for scores that follow it (TracIn).
        features: what reaches the last layer of ``data``, where that is known already.
        course: of the training, for the scores that look back at it.
        held_out: points that it was not trained on, in the form of ``data``, or their features.
        influence: the last layer's closed form, where that is known already.

    Attributes:
        solving: what it is asked for.
        size: n, the number of training points; of :meth:`unseen` too.
        dimension: P. The last layer counts its parameters row-major in (C, D [+ 1]), the bias as last
            column; ``params`` in the order of ``model.named_parameters()``.

    Raises:
        InputError: the model or the data cannot be used.
    """

    def __init__(
        self,
        model: nn.Module | LinearHead,
        data: Any,
        *,
        params: str | Sequence[str] | None = None,
        loss: str | Loss | Callable[..., Any] = "cross_entropy",
        layer: str | None = None,
        l2: Ridge = 0.0,
        damping: float = 0.0,
        curvature: Kind = "ggn",
        solver: str = "auto",
        batch_size: int = 512,
        checkpoints: Sequence[Checkpoint] = (),
        features: FeatureBatches | None = None,
        course: Course | None = None,
        held_out: Any = None,
        influence: Influence | None = None,
    ) -> None:
        self.solving = Solving(damping=damping, params=params, curvature=curvature, solver=solver)
        self.params, self.damping = params, damping
        self.data, self.checkpoints = data, tuple(checkpoints)
        self.course, self._held_out, self._influence = course, held_out, influence
        self._seen: TrainedModel | None = None
        self._batch_size, self._layer, self._features = batch_size, layer, features
        self._head: LinearHead | None = None
        self.model: nn.Module | None
        self.l2: Ridge
        self.loss: str | Loss | Callable[..., Any]
        if isinstance(model, LinearHead):
            self.model, self._head = model.model, model
            self.loss, self.l2 = model.weights.loss, _ridges(model)
        elif isinstance(model, nn.Module):
            self.model, self.loss, self.l2 = model, loss, l2
        else:
            raise InputError(
                f"the model is a {type(model).__name__}; expected a torch.nn.Module or a LinearHead"
            )
        if params is not None and self.model is None:
            raise InputError("params needs a model; this head has only its features")

    # -- the points -----------------------------------------------------------------------------

    def gradients(self, data: Any = None) -> Iterator[Tensor]:
        """Gradients of the points' losses (without the ridge), ``(b, P)``, of the training data or of
        other ``data``, in dataset order; float64 for the last layer, else in the model's dtype."""
        if self.params is not None:
            yield from self.risk.gradients(data)
            return
        for chunk in self.points(data):
            yield chunk.gradients().flatten(1)

    def points(self, data: Any = None) -> Iterator[Chunk]:
        """What the last layer sees: features, logits and the loss's terms, chunk by chunk, float64."""
        risk = self.head_risk
        yield from risk.chunks(None if data is None else self.head.batches(data, self._batch_size))

    def of_points(self, function: Callable[[Chunk], Tensor]) -> Tensor:
        """What ``function`` says of the points as the last layer sees them, ``(n, ..)``; on all cores."""
        return torch.cat(list(self.head_risk.map(function)))

    @cached_property
    def size(self) -> int:
        if self._seen is not None:
            return self._seen.size
        if self._influence is not None:
            return self._influence.points  # of the whole, where this is a shard
        return len(self.batches) if self.params is None else self.risk.size

    @cached_property
    def dimension(self) -> int:
        return self.head.weights.matrix.numel() if self.params is None else self.risk.dimension

    # -- the curvature --------------------------------------------------------------------------

    @property
    def curvature(self) -> Kind:
        """What :attr:`inverse` inverts; of the last layer it is always the Hessian itself."""
        return "hessian" if self.params is None else self.solving.curvature

    @cached_property
    def inverse(self) -> Inverse:
        """H^-1 of the mean training loss, ridge and damping included, over :attr:`dimension`."""
        if self._seen is not None:
            return self._seen.inverse
        return (
            HeadInverse(self.influence)
            if self.params is None
            else invert(self.risk, self.solving.curvature, self.solving.solver)
        )

    @cached_property
    def head(self) -> LinearHead:
        """The last layer."""
        if self._head is not None:
            return self._head
        assert self.model is not None
        return LinearHead.from_module(self.model, self._layer, self.loss, self.l2)

    @cached_property
    def batches(self) -> FeatureBatches:
        """What reaches the last layer, and the targets."""
        known = self._features
        return self.head.batches(self.data, self._batch_size) if known is None else known

    @cached_property
    def head_risk(self) -> LinearHeadRisk:
        """The objective over the last layer, without its curvature, which is large for wide heads."""
        if self._seen is not None:
            return self._seen.head_risk.of(self.batches)
        return LinearHeadRisk(self.head.weights, self.batches, damping=self.damping, dtype=torch.float64)

    @cached_property
    def influence(self) -> Influence:
        """The last layer's closed form."""
        if self._seen is not None:
            return self._seen.influence.unseen(self.batches)
        if self._influence is not None:
            return self._influence
        weights = self.head.weights
        if (needed := closed_form_bytes(weights)) > (free := free_memory()):
            raise InputError(
                f"this score takes the inverse Hessian of {weights.outputs * weights.width:,} parameters,"
                f" which needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} are free; leave it out, or use"
                " fewer features"
            )
        return Influence(weights, self.batches, damping=self.damping, dtype=torch.float64)

    @cached_property
    def risk(self) -> ModelRisk:
        """The objective over ``params`` (all parameters if there are none given)."""
        if self._seen is not None:
            return self._seen.risk.of(self.data)
        assert self.model is not None
        return ModelRisk(
            self.model,
            self.data,
            loss=self.loss,
            parameters="*" if self.params is None else self.params,
            l2=self.l2,
            damping=self.damping,
            batch_size=self._batch_size,
        )

    @cached_property
    def by_heart(self) -> bool:
        """Whether it knows its points by heart, see :func:`swaypoint.scoring.fitness.by_heart`; False where
        no held-out points or no course of a training are known: a head alone is left out of its points."""
        if self._held_out is None or self.course is None:
            return False
        held_out = self.head.batches(self._held_out, self._batch_size)
        risk = self.head_risk
        return by_heart(accuracy_of(risk, self.batches), accuracy_of(risk, held_out), len(held_out))

    def unseen(self, data: Any, features: FeatureBatches | None = None) -> TrainedModel:
        """The same model with its curvature for points that it was not trained on, of which a score that is
        :attr:`~swaypoint.scorers.base.Score.pointwise` then is: that of a point to be added.

        Args:
            data, features: as for the class, of these points.
        """
        other = TrainedModel(self.head, data, params=self.params, features=features)
        other.solving, other.damping, other._seen = self.solving, self.damping, self
        other._batch_size = self._batch_size
        return other

    def moments(self) -> Iterator[tuple[float, TrainedModel]]:
        """The model at each checkpoint with its rate; without any, as it is, at rate 1."""
        if not self.checkpoints:
            yield 1.0, self
        for checkpoint in self.checkpoints:
            yield checkpoint.rate, self.at(checkpoint.weights)

    def at(self, weights: Mapping[str, Tensor]) -> TrainedModel:
        """The same with other weights, in a copy of the model.

        Raises:
            InputError: the weights do not fit the model.
        """
        if self.model is None:
            raise InputError("checkpoints need a model; this head has only its features")
        layer = self._head.layer if self._head is not None else self._layer
        return TrainedModel(
            with_weights(self.model, weights),
            self.data,
            params=self.params,
            loss=self.loss,
            layer=layer,
            l2=self.l2,
            damping=self.damping,
            curvature=self.solving.curvature,
            solver=self.solving.solver,
            batch_size=self._batch_size,
        )


def with_weights(model: AnyModule, weights: Mapping[str, Tensor]) -> AnyModule:
    """A copy of ``model`` with other weights.

    Raises:
        InputError: they do not fit.
    """
    model = copy.deepcopy(model)
    try:
        model.load_state_dict(dict(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"pass checkpoints of this model; one does not fit it: {reason}") from error
    return model


def _ridges(head: LinearHead) -> Ridge:
    """Of a head whose bias is free, so are the biases and norms of its whole model."""
    l2 = head.weights.l2
    if head.model is None or head.weights.penalize_bias:
        return l2
    return {name: l2 for name, parameter in head.model.named_parameters() if parameter.ndim > 1}
