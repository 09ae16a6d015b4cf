"""Losses as functions of the logits: ``(logits, targets) -> value, residual, curvature``.

Conventions, stated once:

- ``logits`` are ``(b, C)`` float64; a head with one output has C = 1.
- The per-sample value is a *sum* over the outputs, never a mean.
- ``residual`` is r = dl/dz, ``(b, C)``; ``curvature`` is Lambda = d2l/dz2, ``(b, C, C)`` in
  structured form (:class:`~swaypoint.scoring.operators.logits.LogitCurvature`), because forming it
  densely would cost more than the contraction that consumes it.
- Differences such as p_y - 1 are never formed by subtraction: for a confident point they lose every
  digit, and with them the smallest influences.
"""

from __future__ import annotations

from abc import ABC, ABCMeta, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from swaypoint.errors import InputError
from swaypoint.extending.registry import Registry
from swaypoint.scoring.operators.logits import DenseLogitCurvature, DiagonalMinusOuter, LogitCurvature


class Terms(NamedTuple):
    """What one loss says of a batch: value ``(b,)``, residual ``(b, C)``, curvature.

    ``probabilities`` is ``(b, classes)`` for a classifier, None for other losses; ``weights`` ``(b,)`` are
    the points' own, already in the first three, None where all are one.
    """

    value: Tensor
    residual: Tensor
    curvature: LogitCurvature
    probabilities: Tensor | None = None
    weights: Tensor | None = None

    def weighed(self, values: Tensor) -> Tensor:
        """``values`` (.., b) times the points' own weights."""
        return values if self.weights is None else values * self.weights


class Loss(ABC):
    """A per-sample loss of the logits, twice differentiable.

    ``shift_invariant`` losses (softmax) ignore a constant added to all logits: one direction per
    feature carries no information and is projected out. ``separable`` losses do not couple the
    outputs: Lambda is diagonal and the Hessian falls into one block per output. ``convex`` losses
    have a positive semi-definite Lambda. A loss that ``classifies`` takes classes for targets, others
    (regressions) take values; ``output_per_class`` says that a head of it has one output a class.
    """

    name: str
    shift_invariant: bool = False
    separable: bool = False
    convex: bool = True
    classifies: bool = False
    output_per_class: bool = False

    @abstractmethod
    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        """Targets in the form that :meth:`terms` takes; ``offset`` numbers rows in messages.

        Raises:
            InputError: shape, range or finiteness is wrong for ``outputs`` logits.
        """

    @abstractmethod
    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        """Value, residual and curvature at ``logits`` ``(b, C)``."""

    def mean(self, logits: Tensor) -> Tensor:
        """What the logits ``(b, C)`` predict of the targets, in their units."""
        return logits

    def labels(self, targets: Tensor) -> Tensor | None:
        """Class index of each (checked) target ``(b,)`` for a classifier, else None."""
        return None

    def relabelled(self, targets: Tensor, label: int) -> Tensor:
        """(Checked) targets of the same points, had each the class ``label``."""
        return torch.full_like(targets, label)

    def outputs(self, classes: int) -> int:
        """How many a head of it has for so many classes, of which a regression has none."""
        return max(classes, 1) if self.output_per_class else 1


def _integer_labels(targets: Tensor, classes: int, offset: int) -> Tensor:
    if targets.ndim == 2 and targets.shape[1] == 1:
        targets = targets[:, 0]
    if targets.is_floating_point():
        rounded = targets.round()
        if not bool((rounded == targets).all()):
            row = int((rounded != targets).nonzero()[0])
            raise InputError(
                f"label {targets[row].item()} of row {offset + row} is not a whole number;"
                f" expected class indices 0..{classes - 1} or a (n, {classes}) matrix of probabilities"
            )
        targets = rounded
    targets = targets.long()
    wrong = (targets < 0) | (targets >= classes)
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0])
        raise InputError(
            f"label {int(targets[row])} of row {offset + row} is out of range for a head with"
            f" {classes} outputs; expected 0..{classes - 1}"
        )
    return targets


def _replaced(values: Tensor, index: Tensor, by: Tensor | float) -> Tensor:
    """``values`` (b, C) with one entry of each row, ``index`` (b, 1), replaced; laid out as they are, which a
    head's are output by output: to mix layouts takes three times as long with all that follows."""
    if values.is_contiguous():
        return values.scatter(1, index, by)
    return values.T.scatter(0, index.T, by if isinstance(by, float) else by.T).T


def _float_matrix(targets: Tensor, outputs: int, name: str, offset: int) -> Tensor:
    if targets.ndim == 1:
        targets = targets.unsqueeze(1)
    if targets.ndim != 2 or targets.shape[1] != outputs:
        raise InputError(
            f"targets for {name} have shape {tuple(targets.shape)}; expected (n, {outputs}),"
            f" one column per output of the head"
        )
    targets = targets.double()
    if not bool(torch.isfinite(targets).all()):
        row = int((~torch.isfinite(targets)).any(1).nonzero()[0])
        raise InputError(f"target of row {offset + row} is NaN or infinite; drop or repair that row")
    return targets


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy -sum_c t_c log p_c, times the class weight.

    Targets: class indices ``(b,)``, or a distribution over classes ``(b, C)``.
    Residual w (p - t), curvature w (diag(p) - p p^T). The mean over points divides by n, not by
    the sum of the weights as ``torch.nn.CrossEntropyLoss(weight=...)`` does; Cook's distances scale
    by that one constant, the ranking is the same.
    """

    label_smoothing: float = 0.0
    weight: Tensor | None = None
    name = "cross_entropy"
    shift_invariant = True
    classifies = True
    output_per_class = True

    def __post_init__(self) -> None:
        if not 0.0 <= self.label_smoothing < 1.0:
            raise InputError(f"label_smoothing is {self.label_smoothing}; expected 0 <= value < 1")

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        if outputs < 2:
            raise InputError(
                "cross_entropy needs at least two outputs and the head has one;"
                " use loss='binary_cross_entropy' for a single logit"
            )
        if self.weight is not None and tuple(self.weight.shape) != (outputs,):
            raise InputError(
                f"class weights have shape {tuple(self.weight.shape)}; expected ({outputs},), one per class"
            )
        if targets.ndim == 2 and targets.shape[1] != 1:
            soft = _float_matrix(targets, outputs, self.name, offset)
            if bool((soft < 0).any()):
                row = int((soft < 0).any(1).nonzero()[0])
                raise InputError(
                    f"soft label of row {offset + row} has a negative entry; expected probabilities"
                )
            if bool((strange := (soft.sum(1) - 1.0).abs() > 1e-3).any()):
                row = int(strange.nonzero()[0])
                raise InputError(
                    f"the soft label of row {offset + row} sums to {float(soft[row].sum()):g}; expected"
                    " probabilities that sum to 1; for several labels a point use loss='binary_cross_entropy'"
                )
            return soft
        return _integer_labels(targets, outputs, offset)

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        if targets.ndim == 2 or self.label_smoothing > 0.0:
            return self._soft_terms(logits, targets)
        index = targets.unsqueeze(1)
        shifted = logits - logits.amax(1, keepdim=True)
        exponential = shifted.exp()
        total = exponential.sum(1, keepdim=True)
        others = _replaced(exponential, index, 0.0)
        wrong = others.sum(1)
        own = shifted.gather(1, index).squeeze(1)
        # log1p keeps the digits of a confident point's loss. The factor is 1: at a tie for the largest
        # logit it gives automatic differentiation the slope that amax alone would share out wrongly.
        factor = (-torch.where(own == 0.0, own, torch.zeros_like(own))).exp()
        value = torch.where(own == 0.0, (wrong * factor).log1p(), total.squeeze(1).log() - own)
        p = exponential / total
        residual = _replaced(p, index, -wrong.unsqueeze(1) / total)
        if self.weight is None:
            return Terms(value, residual, DiagonalMinusOuter(p, p), p)
        weight = self.weight.to(p)[targets].unsqueeze(1)
        curvature = DiagonalMinusOuter(weight * p, weight.sqrt() * p)
        return Terms(weight.squeeze(1) * value, weight * residual, curvature, p)

    def _soft_terms(self, logits: Tensor, targets: Tensor) -> Terms:
        classes = logits.shape[1]
        log_p = F.log_softmax(logits, dim=1)
        p = log_p.exp()
        soft = targets if targets.ndim == 2 else F.one_hot(targets, classes).to(p)
        soft = (1.0 - self.label_smoothing) * soft + self.label_smoothing / classes
        if self.weight is not None:  # as torch does, the weight follows each entry of the target
            soft = soft * self.weight.to(p)
        total = soft.sum(1, keepdim=True)
        curvature = DiagonalMinusOuter(total * p, total.sqrt() * p)
        return Terms(-(soft * log_p).sum(1), total * p - soft, curvature, p)

    def labels(self, targets: Tensor) -> Tensor:
        return targets if targets.ndim == 1 else targets.argmax(1)


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Binary cross-entropy on logits, summed over the outputs (multi-label when C > 1).

    Targets in [0, 1], ``(b,)`` or ``(b, C)``. Residual sigma(z) - y, curvature sigma(z) sigma(-z).
    ``pos_weight`` multiplies the positive part, as in ``torch.nn.BCEWithLogitsLoss``.
    """

    pos_weight: float = 1.0
    name = "binary_cross_entropy"
    separable = True
    classifies = True

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        targets = _float_matrix(targets, outputs, self.name, offset)
        wrong = ((targets < 0) | (targets > 1)).any(1)
        if bool(wrong.any()):
            row = int(wrong.nonzero()[0])
            raise InputError(
                f"label {targets[row].tolist()} of row {offset + row} is out of range for"
                " binary_cross_entropy; expected values in 0..1"
            )
        return targets

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
        positive = self.pos_weight * targets
        value = ((1 - targets) * F.softplus(logits) + positive * F.softplus(-logits)).sum(1)
        residual = (1 - targets) * p - positive * q
        # Multi-label: there is no single class to suggest.
        probabilities = torch.cat([q, p], 1) if logits.shape[1] == 1 else None
        return Terms(value, residual, DiagonalMinusOuter((1 - targets + positive) * p * q), probabilities)

    def labels(self, targets: Tensor) -> Tensor | None:
        return (targets[:, 0] > 0.5).long() if targets.shape[1] == 1 else None


@dataclass(frozen=True)
class SquaredError(Loss):
    """Half the squared residual, summed over the outputs: r = z - y, Lambda = I."""

    name = "squared_error"
    separable = True

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        return _float_matrix(targets, outputs, self.name, offset)

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        residual = logits - targets
        return Terms(0.5 * residual.square().sum(1), residual, DiagonalMinusOuter(torch.ones_like(residual)))


@dataclass(frozen=True)
class Huber(Loss):
    """Huber loss: squared error within ``delta`` of the target, linear beyond (Huber, 1964).

    Lambda is 1 inside and 0 outside; at |z - y| = delta the inside value is taken.
    """

    delta: float = 1.0
    name = "huber"
    separable = True

    def __post_init__(self) -> None:
        if not self.delta > 0:
            raise InputError(f"Huber's delta is {self.delta}; expected a positive number")

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        return _float_matrix(targets, outputs, self.name, offset)

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        error = logits - targets
        residual = error.clamp(-self.delta, self.delta)
        value = (residual * (error - 0.5 * residual)).sum(1)
        return Terms(value, residual, DiagonalMinusOuter((error.abs() <= self.delta).to(error)))


@dataclass(frozen=True)
class Poisson(Loss):
    """Poisson negative log-likelihood with log link, exp(z) - y z (the constant log y! left out)."""

    name = "poisson"
    separable = True

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        targets = _float_matrix(targets, outputs, self.name, offset)
        if bool((targets < 0).any()):
            row = int((targets < 0).any(1).nonzero()[0])
            raise InputError(f"count of row {offset + row} is negative; poisson expects counts >= 0")
        return targets

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        mean = logits.exp()
        return Terms((mean - targets * logits).sum(1), mean - targets, DiagonalMinusOuter(mean))

    def mean(self, logits: Tensor) -> Tensor:
        return logits.exp()


@dataclass(frozen=True)
class Custom(Loss):
    """Any callable ``f(logits (C,), target) -> scalar``, differentiated by ``torch.func``.

    ``torch.nn.functional.cross_entropy`` and its like are such callables. No structure is assumed:
    no gauge, no separability; a non-convex loss may give an indefinite Hessian, which is reported.
    """

    function: Callable[[Tensor, Tensor], Tensor]
    name = "custom"
    convex = False

    def check(self, targets: Tensor, outputs: int, offset: int = 0) -> Tensor:
        targets = targets.double() if targets.is_floating_point() else targets
        if outputs > 1 or targets.ndim != 1 or not len(targets):
            return targets
        # Of a single logit torch's losses want targets of its shape and dtype.
        logit = torch.zeros(1, dtype=torch.float64, device=targets.device)
        for form in (targets, targets.double().unsqueeze(1)):
            try:
                self.function(logit, form[0])
            except (RuntimeError, ValueError):
                continue
            return form
        return targets

    def terms(self, logits: Tensor, targets: Tensor) -> Terms:
        def both(z: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
            value = self.function(z, y)
            return value, value

        residual, value = torch.func.vmap(torch.func.grad(both, has_aux=True))(logits, targets)
        hessian = torch.func.vmap(torch.func.hessian(self.function))(logits, targets)
        return Terms(value, residual, DenseLogitCurvature(hessian))


# Their class is that of abstract classes, which a type checker cannot be told of.
losses: Registry[type[Loss]] = Registry("loss", "swaypoint.losses", cast(Any, ABCMeta), home=__name__)
"""What ``loss`` may name: subclasses of :class:`Loss`, made without arguments."""
for _loss in (CrossEntropy, BinaryCrossEntropy, SquaredError, Huber, Poisson):
    losses.register(_loss.name, _loss)


def as_loss(loss: str | Loss | Callable[..., Any]) -> Loss:
    """A :class:`Loss` from its name in :data:`losses`, an instance, or a per-sample callable.

    Raises:
        InputError: the name is unknown.
    """
    if isinstance(loss, Loss):
        return loss
    if isinstance(loss, str):
        return losses.named(loss)()
    if callable(loss):
        return Custom(loss)
    raise InputError(f"loss is a {type(loss).__name__}; expected a name, a Loss or a callable")


def regression(loss: str) -> bool:
    """Whether the loss of that name takes values for targets, not classes.

    Raises:
        InputError: there is none.

    >>> regression("huber"), regression("cross_entropy")
    (True, False)
    """
    return not losses.named(loss).classifies
