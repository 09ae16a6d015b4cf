"""The empirical risk of any model over any of its parameters, by automatic differentiation.

The parameters stay where they are: models run as functions of a flat vector theta (torch.func). The
Hessian is never formed; products with it take one forward-over-reverse pass over the data each
(Pearlmutter, 1994), in the memory of a training step per vector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_map

from swaypoint.data.model_batches import as_loader, evaluation, split_batch
from swaypoint.errors import InputError
from swaypoint.risks.losses import Loss, as_loss


class ModelRisk:
    """Mean loss of ``data`` as a function of some parameters of ``model``.

    Args:
        model: in any mode; run in eval mode and left as it was, also on error.
        data: see :func:`~swaypoint.data.model_batches.as_loader`.
        loss: a name, a :class:`~swaypoint.risks.losses.Loss`, or a callable of (logits (C,), target).
        parameters: names or patterns as in ``model.named_parameters()``: ``"head.*"``,
            ``("layer4.*", "fc.weight")``; ``"*"`` takes all. Tied parameters count once.
        l2: ridge of the training objective, (l2 / 2) ||theta||^2.
        damping: added to every curvature's diagonal, beside ``l2``.
        vectors: at most this many at a time in a product; memory grows with it.

    Attributes:
        names: of the chosen parameters, in the order of theta.
        dimension: P, the length of theta.

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
        l2: float = 0.0,
        damping: float = 0.0,
        batch_size: int = 512,
        vectors: int = 64,
    ) -> None:
        self._model, self._loss = model, as_loss(loss)
        self._loader = as_loader(data, batch_size)
        self._ridge, self._vectors = l2 + damping, vectors
        chosen = _matching(model, [parameters] if isinstance(parameters, str) else parameters)
        self.names = tuple(chosen)
        self._shapes = [value.shape for value in chosen.values()]
        self._theta = torch.cat([value.detach().flatten() for value in chosen.values()])
        self.dimension = len(self._theta)

    def gradients(self, data: Any = None) -> Iterator[Tensor]:
        """Gradients of the points' losses (without the ridge), ``(b, P)`` in the model's dtype."""

        def point(theta: Tensor, inputs: Any, target: Tensor) -> Tensor:
            return self._value(theta, tree_map(lambda x: x.unsqueeze(0), inputs), target.unsqueeze(0))

        rows = torch.func.vmap(torch.func.grad(point), (None, 0, 0))
        for inputs, targets in self._batches(data):
            with self._differentiable():
                yield rows(self._theta, inputs, targets)

    def hessian_product(self, vectors: Tensor) -> Tensor:
        """(H + (l2 + damping) I) V for a block of vectors: ``(P, k) -> (P, k)``; may be indefinite."""

        def product(inputs: Any, targets: Tensor) -> Tensor:
            slope = torch.func.grad(lambda theta: self._value(theta, inputs, targets))
            return self._columns(lambda v: torch.func.jvp(slope, (self._theta,), (v,))[1], vectors)

        return self._mean(product, vectors)

    def ggn_product(self, vectors: Tensor) -> Tensor:
        """The same for the generalised Gauss-Newton matrix (1/n) sum_i J_i^T Lambda_i J_i, positive
        semi-definite for convex losses (Schraudolph, 2002): ``(P, k) -> (P, k)``."""

        def product(inputs: Any, targets: Tensor) -> Tensor:
            logits, pull = torch.func.vjp(lambda theta: self._logits(theta, inputs), self._theta)  # type: ignore[misc]
            curvature = self._loss.terms(logits, targets).curvature

            def column(v: Tensor) -> Tensor:
                _, change = torch.func.jvp(lambda t: self._logits(t, inputs), (self._theta,), (v,))  # type: ignore[misc]
                return pull(curvature.matmul(change))[0]

            return self._columns(column, vectors)

        return self._mean(product, vectors)

    def _mean(self, product: Callable[[Any, Tensor], Tensor], vectors: Tensor) -> Tensor:
        if vectors.ndim != 2 or len(vectors) != self.dimension:
            raise InputError(
                f"vectors have shape {tuple(vectors.shape)}; expected ({self.dimension}, k), one column each"
            )
        total, points = torch.zeros_like(vectors), 0
        for inputs, targets in self._batches():
            with self._differentiable():
                total += product(inputs, targets)
            points += len(targets)
        return total / points + self._ridge * vectors

    def _columns(self, function: Callable[[Tensor], Tensor], vectors: Tensor) -> Tensor:
        return torch.func.vmap(function, in_dims=1, out_dims=1, chunk_size=self._vectors)(vectors)

    def _batches(self, data: Any = None) -> Iterator[tuple[Any, Tensor]]:
        """Inputs where the model is, floating ones in its dtype, and checked targets."""

        def placed(x: Tensor) -> Tensor:
            return x.to(self._theta) if x.is_floating_point() else x.to(self._theta.device)

        outputs, offset = None, 0
        for batch in self._loader if data is None else as_loader(data, 512):
            inputs, targets = split_batch(batch)
            inputs, targets = tree_map(placed, inputs), targets.to(self._theta.device)
            if outputs is None:
                with evaluation(self._model):
                    outputs = self._logits(self._theta, inputs).shape[1]
            checked = self._loss.check(targets, outputs, offset)
            yield inputs, checked.to(self._theta) if checked.is_floating_point() else checked
            offset += len(targets)

    def _logits(self, theta: Tensor, inputs: Any) -> Tensor:
        parts = theta.split([shape.numel() for shape in self._shapes])
        values = {
            name: part.view(shape) for name, part, shape in zip(self.names, parts, self._shapes, strict=True)
        }
        keywords = inputs if isinstance(inputs, Mapping) else {}
        positional = () if keywords else (inputs,)
        output = torch.func.functional_call(self._model, values, positional, dict(keywords))
        output = output.logits if hasattr(output, "logits") else output
        return output.unsqueeze(1) if output.ndim == 1 else output.flatten(1)

    def _value(self, theta: Tensor, inputs: Any, targets: Tensor) -> Tensor:
        return self._loss.terms(self._logits(theta, inputs), targets).value.sum()

    @contextmanager
    def _differentiable(self) -> Iterator[None]:
        # Fused attention has no forward-mode derivative, neither the kernel nor the encoder layer.
        fused = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with evaluation(self._model), sdpa_kernel(SDPBackend.MATH):
                yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fused)


def _matching(model: nn.Module, patterns: Sequence[str]) -> dict[str, nn.Parameter]:
    named = dict(model.named_parameters())
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in named):
            raise InputError(f"no parameter matches {pattern!r}; the model has {', '.join(named)}")
    return {name: p for name, p in named.items() if any(fnmatch(name, pattern) for pattern in patterns)}
