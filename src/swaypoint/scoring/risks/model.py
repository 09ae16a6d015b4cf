"""The empirical risk of any model over any of its parameters, by automatic differentiation.

The parameters stay where they are: models run as functions of a flat vector theta (torch.func). The
Hessian is never formed; products with it take one forward-over-reverse pass over the data each
(Pearlmutter, 1994), for one vector in less than twice the memory of a training step.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map

from swaypoint.data.calls import arguments, as_logits, evaluation, require_values
from swaypoint.data.loaders import as_loader, shuffled, split_batch
from swaypoint.errors import InputError
from swaypoint.scoring.operators.base import Operator
from swaypoint.scoring.risks.losses import Loss, as_loss

_ROW_BYTES = 512 << 20
"""Of gradients that are held at a time."""
Kind = Literal["hessian", "ggn", "empirical_fisher"]
Ridge = float | Mapping[str, float]


def ridge_of(name: str, l2: Ridge) -> float:
    """The ridge of the parameter ``name``: that of the first pattern that matches, 0 for none.

    >>> ridge_of("conv.bias", {"head.*": 0.01, "*.weight": 0.5})
    0.0
    """
    if not isinstance(l2, Mapping):
        return l2
    return next((value for pattern, value in l2.items() if fnmatch(name, pattern)), 0.0)


class ModelRisk:
    """Mean loss of ``data`` as a function of some parameters of ``model``.

    Args:
        model: in any mode; run in eval mode and left as it was, also on error.
        data: see :func:`~swaypoint.data.loaders.as_loader`.
        loss: a name, a :class:`~swaypoint.scoring.risks.losses.Loss`, or a callable of (logits (C,), target).
        parameters: names or patterns as in ``model.named_parameters()``: ``"head.*"``,
            ``("layer4.*", "fc.weight")``; ``"*"`` takes all. Frozen ones are left out; tied ones count once.
        l2: ridge of the training objective, (l2 / 2) ||theta||^2: a number for all parameters, or numbers by
            name or pattern (``{"head.*": 1e-2, "*.weight": 5e-4}``; the first that matches counts, none: 0).
        damping: added to every curvature's diagonal, beside ``l2``.
        vectors: at most this many at a time in a product; memory grows with it.

    Attributes:
        penalty, ridge: of each parameter, ``(P,)``: l2, and l2 plus damping.
        names: of the chosen parameters, in the order of theta.
        theta: their values, flat, ``(P,)``.
        dimension: P.

    Raises:
        InputError: no parameter matches, or the data are of no known form.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Any,
        *,
        loss: str | Loss | Callable[..., Any] = "cross_entropy",
        parameters: str | Sequence[str] = "*",
        l2: Ridge = 0.0,
        damping: float = 0.0,
        batch_size: int = 512,
        vectors: int = 64,
    ) -> None:
        require_values(model)
        self.model, self.loss = model, as_loss(loss)
        self._loader, self._batch_size = as_loader(data, batch_size), batch_size
        self.vectors = vectors
        _check_ridge(model, l2, damping)
        chosen = _matching(model, [parameters] if isinstance(parameters, str) else parameters)
        self.names = tuple(chosen)
        self._shapes = [value.shape for value in chosen.values()]
        self.theta = torch.cat([value.detach().flatten() for value in chosen.values()])
        self.dimension = len(self.theta)
        ridges = [self.theta.new_full((p.numel(),), ridge_of(name, l2)) for name, p in chosen.items()]
        self.penalty = torch.cat(ridges)
        self.ridge = self.penalty + damping

    @cached_property
    def size(self) -> int:
        """n, the number of points."""
        return sum(len(targets) for _, targets in self.batches())

    def of(self, data: Any) -> ModelRisk:
        """The same parameters for other points."""
        other = copy.copy(self)
        other.__dict__.pop("size", None)
        other._loader = as_loader(data, self._batch_size)
        return other

    def gradients(self, data: Any = None) -> Iterator[Tensor]:
        """Gradients of the points' losses (without the ridge), ``(b, P)`` in the model's dtype."""
        size, done = max(1, _ROW_BYTES // (self.dimension * self.theta.element_size())), 0
        for batch in self.batches(data):
            for inputs, targets in in_parts(*batch, size):
                with self.differentiable():
                    rows = self.gradient_rows(inputs, targets)
                if not bool(torch.isfinite(rows.sum())):
                    bad = int((~torch.isfinite(rows)).any(1).nonzero()[0])
                    raise InputError(
                        f"the gradient of row {done + bad} is NaN or infinite; check that row's inputs, the"
                        " loss and the model's weights"
                    )
                done += len(rows)
                yield rows

    def gradient_rows(self, inputs: Any, targets: Tensor) -> Tensor:
        """Gradients of the points of one batch, ``(b, P)``."""

        def own(theta: Tensor, *point: Any) -> Tensor:
            return self.losses(theta, *alone(point))[0]

        return over_points(partial(torch.func.grad(own), self.theta), inputs, targets)

    def root_draws(self, draws: int, *, seed: int = 0) -> Tensor:
        """B^T W for the Gauss-Newton matrix with ridge, B^T B, and random signs W: ``(P, draws)``."""
        generator = torch.Generator().manual_seed(seed)

        def signs(*shape: int) -> Tensor:
            return (torch.randint(0, 2, shape, generator=generator) * 2 - 1).to(self.theta)

        total, points = torch.zeros(self.dimension, draws).to(self.theta), 0
        for inputs, targets in self.batches():
            with self.differentiable():
                logits, pull = torch.func.vjp(lambda theta, x=inputs: self.logits(theta, x), self.theta)  # type: ignore[misc]
                curvature = self.loss.terms(logits, targets).curvature
                mixed = curvature.sqrt_matmul(signs(*logits.shape, draws))
                total += torch.func.vmap(lambda v, pull=pull: pull(v)[0], 2, 1, chunk_size=self.vectors)(
                    mixed
                )
            points += len(targets)
        return total * points**-0.5 + self.ridge.sqrt().unsqueeze(1) * signs(self.dimension, draws)

    def curvature(self, kind: Kind = "ggn") -> ModelCurvature:
        """The curvature of the mean loss, ridge and damping on its diagonal.

        Args:
            kind: ``"hessian"``, the second derivative, indefinite where training has not converged;
                ``"ggn"``, the generalised Gauss-Newton matrix (1/n) sum_i J_i^T Lambda_i J_i, positive
                semi-definite for convex losses (Schraudolph, 2002); ``"empirical_fisher"``, the mean of
                g_i g_i^T, a stand-in for either that is often a poor one (Kunstner et al., 2019).

        Raises:
            InputError: ``kind`` is none of these.
        """
        if kind not in _KINDS:
            raise InputError(f"curvature is {kind!r}; expected one of {', '.join(map(repr, _KINDS))}")
        return _KINDS[kind](self)

    def batches(
        self, data: Any = None, *, shuffle: torch.Generator | None = None
    ) -> Iterator[tuple[Any, Tensor]]:
        """Inputs where the model is, floating ones in its dtype, and checked targets; in dataset order,
        or in a random one."""

        def placed(x: Tensor) -> Tensor:
            return x.to(self.theta) if x.is_floating_point() else x.to(self.theta.device)

        outputs, offset = None, 0
        loader = self._loader if data is None else as_loader(data, self._batch_size)
        for batch in loader if shuffle is None else shuffled(loader, shuffle):
            inputs, targets = split_batch(batch)
            if isinstance(inputs, Mapping):
                inputs = arguments(self.model, inputs)[1]
            inputs, targets = tree_map(placed, inputs), targets.to(self.theta.device)
            if outputs is None:
                with evaluation(self.model):
                    outputs = self.logits(self.theta, inputs).shape[1]
                self._require_logits(tree_map(lambda x: x[:1], inputs))
            checked = self.loss.check(targets, outputs, offset)
            yield inputs, checked.to(self.theta) if checked.is_floating_point() else checked
            offset += len(targets)

    def logits(self, theta: Tensor, inputs: Any) -> Tensor:
        parts = theta.split([shape.numel() for shape in self._shapes])
        values = {
            name: part.view(shape) for name, part, shape in zip(self.names, parts, self._shapes, strict=True)
        }
        output = torch.func.functional_call(self.model, values, *arguments(self.model, inputs))
        return as_logits(output, len(tree_leaves(inputs)[0])).flatten(1)

    def _require_logits(self, inputs: Any) -> None:
        """Refuse a model that applies the softmax or sigmoid of its loss itself."""
        with evaluation(self.model), torch.enable_grad():
            node = self.logits(self.theta.clone().requires_grad_(), inputs).grad_fn
        while node is not None and node.name().startswith(
            ("View", "Reshape", "Squeeze", "Unsqueeze", "Alias")
        ):
            node = node.next_functions[0][0]
        link = "" if node is None else node.name().removesuffix("Backward0").lower()
        if (link, self.loss.name) in (("softmax", "cross_entropy"), ("sigmoid", "binary_cross_entropy")):
            raise InputError(
                f"the model ends in a {link}, which {self.loss.name} applies itself; let it return the"
                " logits, or rank by the last layer (params=None), where that is undone"
            )

    def losses(self, theta: Tensor, inputs: Any, targets: Tensor) -> Tensor:
        return self.loss.terms(self.logits(theta, inputs), targets).value

    @contextmanager
    def differentiable(self) -> Iterator[None]:
        # Fused attention has no forward-mode derivative, neither the kernel nor the encoder layer.
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with evaluation(self.model), sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def in_parts(inputs: Any, targets: Tensor, size: int) -> Iterator[tuple[Any, Tensor]]:
    """A batch, at most ``size`` points at a time."""
    for start in range(0, len(targets), size):
        rows = slice(start, start + size)
        yield tree_map(lambda x, rows=rows: x[rows], inputs), targets[rows]


def alone(point: Any) -> Any:
    """A point as a batch of one."""
    return tree_map(lambda x: x.unsqueeze(0), point)


def over_points(function: Callable[..., Tensor], *batch: Any) -> Tensor:
    """``function`` of each point of a batch, stacked: ``(b, ...)``.

    Models whose control flow looks at the data (attention masks of some transformers) cannot be
    vectorised; they take the points one by one.
    """
    try:
        return torch.func.vmap(function)(*batch)
    except RuntimeError as error:
        if "vmap" not in str(error):
            raise
        size = len(tree_leaves(batch)[0])
        return torch.stack([function(*tree_map(lambda x, i=i: x[i], batch)) for i in range(size)])


def _check_ridge(model: nn.Module, l2: Ridge, damping: float) -> None:
    values = l2 if isinstance(l2, Mapping) else {"*": l2}
    for pattern, value in [*values.items(), ("damping", damping)]:
        if not value >= 0:
            raise InputError(f"l2 is {l2} and damping is {damping}; both must be >= 0")
        if pattern != "damping" and not any(fnmatch(name, pattern) for name, _ in model.named_parameters()):
            names = ", ".join(name for name, _ in model.named_parameters())
            raise InputError(f"no parameter matches l2's {pattern!r}; the model has {names}")


def _matching(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in named):
            raise InputError(f"no parameter matches {pattern!r}; the model has {', '.join(named)}")
    chosen = {name: p for name, p in named.items() if any(fnmatch(name, pattern) for pattern in patterns)}
    trainable = {name: p for name, p in chosen.items() if p.requires_grad}
    if not trainable:
        raise InputError(f"all parameters that match {', '.join(patterns)} are frozen (requires_grad=False)")
    return trainable


class ModelCurvature(Operator):
    """A curvature of a :class:`ModelRisk`: one pass over the data a product."""

    def __init__(self, risk: ModelRisk) -> None:
        self._risk = risk
        self.dimension, self.dtype, self.device = risk.dimension, risk.theta.dtype, risk.theta.device

    @abstractmethod
    def on_batch(self, inputs: Any, targets: Tensor, vectors: Tensor) -> Tensor:
        """The product with the sum over the points of a batch, without the ridge."""

    def matmul(self, vectors: Tensor) -> Tensor:
        if vectors.ndim != 2 or len(vectors) != self.dimension:
            raise InputError(
                f"vectors have shape {tuple(vectors.shape)}; expected ({self.dimension}, k), one column each"
            )
        total, points = torch.zeros_like(vectors), 0
        for inputs, targets in self._risk.batches():
            with self._risk.differentiable():
                total += self.on_batch(inputs, targets, vectors)
            points += len(targets)
        return total / points + self._risk.ridge.unsqueeze(1) * vectors

    def random_batches(self, *, seed: int = 0) -> Iterator[Callable[[Tensor], Tensor]]:
        """Products with the curvature of one random batch each, ridge included; endless."""
        generator = torch.Generator().manual_seed(seed)

        def product(batch: tuple[Any, Tensor], vectors: Tensor) -> Tensor:
            with self._risk.differentiable():
                total = self.on_batch(*batch, vectors)
            return total / len(batch[1]) + self._risk.ridge.unsqueeze(1) * vectors

        while True:
            for batch in self._risk.batches(shuffle=generator):
                yield partial(product, batch)

    def _columns(self, function: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        size = self._risk.vectors
        return torch.func.vmap(function, in_dims=1, out_dims=1, chunk_size=size)(vectors)


class Hessian(ModelCurvature):
    """By forward-over-reverse differentiation (Pearlmutter, 1994).

    A batch goes through in four parts: the dual numbers of a backward pass take six times the memory of
    a training step (ResNet-20).
    """

    def on_batch(self, inputs: Any, targets: Tensor, vectors: Tensor) -> Tensor:
        total = torch.zeros_like(vectors)
        for part, labels in in_parts(inputs, targets, -(-len(targets) // 4)):

            def value(theta: Tensor, x: Any = part, y: Tensor = labels) -> Tensor:
                return self._risk.losses(theta, x, y).sum()

            slope = torch.func.grad(value)
            total += self._columns(
                lambda v, slope=slope: torch.func.jvp(slope, (self._risk.theta,), (v,))[1],  # type: ignore[misc]
                vectors,
            )
        return total


class GaussNewton(ModelCurvature):
    """sum_i J_i^T Lambda_i J_i: forward through J, backward through J^T."""

    def on_batch(self, inputs: Any, targets: Tensor, vectors: Tensor) -> Tensor:
        risk = self._risk
        logits, pull = torch.func.vjp(lambda theta: risk.logits(theta, inputs), risk.theta)  # type: ignore[misc]
        curvature = risk.loss.terms(logits, targets).curvature

        def column(v: Tensor) -> Tensor:
            _, change = torch.func.jvp(lambda t: risk.logits(t, inputs), (risk.theta,), (v,))  # type: ignore[misc]
            return pull(curvature.matmul(change))[0]

        return self._columns(column, vectors)


class EmpiricalFisher(ModelCurvature):
    """sum_i g_i g_i^T."""

    def on_batch(self, inputs: Any, targets: Tensor, vectors: Tensor) -> Tensor:
        rows = self._risk.gradient_rows(inputs, targets)
        return rows.T @ (rows @ vectors)


_KINDS: dict[str, type[ModelCurvature]] = {
    "hessian": Hessian,
    "ggn": GaussNewton,
    "empirical_fisher": EmpiricalFisher,
}
