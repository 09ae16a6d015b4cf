"""The inputs of a model's last layer over a dataset, as features for its head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from swaypoint.data.batches import FeatureBatches
from swaypoint.data.calls import as_logits, require_values, run
from swaypoint.data.loaders import as_loader, collated, index_of, own_index, split_batch
from swaypoint.errors import InputError, require

_KEPT_BYTES = 2 << 30


Pool = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From what a layer receives and returns, and what the model returns, to features ``(b, D)``."""


class ModelBatches(FeatureBatches):
    """Features of a dataset at one layer of a model: computed once, kept when they fit in memory.

    Args:
        model: in any mode; scored in eval mode and left as it was.
        layer: the linear layer whose input is the feature.
        pool: makes the features.
        check: called with (features, model output) of the first batch; raises InputError when the
            output is not the layer's.
        data: see :func:`as_loader`.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: nn.Module,
        data: Any,
        *,
        pool: Pool,
        check: Callable[[Tensor, Tensor], None],
        batch_size: int = 512,
    ) -> None:
        require_values(model)
        self._model, self._layer, self._pool, self._check = model, layer, pool, check
        self._loader = as_loader(data, batch_size)
        self._own_index = own_index(data)
        self._kept: list[tuple[Tensor, Tensor]] | None = None
        self._points: int | None = None

    def __len__(self) -> int:
        if self._points is None:
            self._points = super().__len__()
        return self._points

    @property
    def own_index(self) -> np.ndarray | None:
        """See :func:`own_index`; of batches (inputs, labels, index) what they said in the last pass."""
        return self._own_index

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[tuple[Tensor, Tensor]] | None = []
        size = 0
        for batch in self._forward():
            size += batch[0].nbytes
            if size > _KEPT_BYTES:
                kept = None
            if kept is not None:
                kept.append(batch)
            yield batch
        self._kept = kept

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        """Every k-th point, between ``size`` and twice as many of them, in one pass: how many points
        there are is not known before."""
        held: list[tuple[Tensor, Tensor]] = []
        every, seen = 1, 0
        for features, targets in self:
            # Thinned before the next are copied, of which most may be too many.
            while sum(len(part) for part, _ in held) + len(features[-seen % every :: every]) > 2 * size:
                if held:
                    joined = _joined(held)
                    held = [(joined[0][::2].clone(), joined[1][::2].clone())]
                every *= 2
            rows = slice(-seen % every, None, every)
            held.append((features[rows].clone(), targets[rows].clone()))
            seen += len(features)
        return _joined(held)

    def _forward(self) -> Iterator[tuple[Tensor, Tensor]]:
        received: list[tuple[Tensor, Tensor]] = []

        def keep(_: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any], output: Tensor) -> None:
            received.append((inputs[0] if inputs else next(iter(named.values())), output))

        handle = self._layer.register_forward_hook(keep, with_kwargs=True)
        device = next(self._model.parameters()).device
        said: list[np.ndarray] = []
        first = True
        try:
            for batch in collated(self._loader):
                inputs, targets = split_batch(batch)
                received.clear()
                output = as_logits(run(self._model, inputs, device), len(targets))
                if len(received) != 1:
                    raise InputError(
                        f"the layer ran {len(received)} times in one forward pass; expected once."
                        " Name another layer, or pass features with cooks_distance_from_features"
                    )
                features = self._pool(*received[0], output)
                if first:
                    self._check(features, output)
                    first = False
                index = index_of(batch)
                if index is not None:
                    said.append(index.numpy())
                yield features, targets
        finally:
            handle.remove()
        if first:
            raise InputError("the data is empty; expected at least one row")
        if said:
            self._own_index = np.concatenate(said)


def _joined(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    features, targets = zip(*batches, strict=True)
    return torch.cat(features), torch.cat(targets)


class InputBatches:
    """Batches of (inputs, labels) of the given rows for a model, in order, re-iterable.

    Without a transform images are (b, 3, H, W) float32 in 0..1 and rows (b, D) float32. A transform
    takes one ``PIL.Image``, one row ``(D,)`` float32, one text or ``(k,)`` texts, and returns a tensor.
    """

    def __init__(
        self,
        inputs: np.ndarray,
        labels: np.ndarray,
        *,
        rows: np.ndarray,
        transform: Callable[[Any], Tensor] | None = None,
        batch_size: int = 512,
    ) -> None:
        self._inputs, self._labels, self._rows = inputs, labels, rows
        self._transform, self._batch_size = transform, batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for start in range(0, len(self._rows), self._batch_size):
            rows = self._rows[start : start + self._batch_size]
            yield self._prepare(self._inputs[rows]), torch.from_numpy(self._labels[rows])

    def _prepare(self, inputs: np.ndarray) -> Tensor:
        if self._transform is None:
            batch = torch.from_numpy(inputs)
            return batch.permute(0, 3, 1, 2).float() / 255 if batch.ndim == 4 else batch.float()
        if inputs.ndim == 4:
            image = require("PIL.Image", "images")
            return torch.stack([self._transform(image.fromarray(values)) for values in inputs])
        if inputs.dtype == object and inputs.shape[1] == 1:
            return torch.stack([self._transform(text) for (text,) in inputs])
        return torch.stack([self._transform(values) for values in inputs])
