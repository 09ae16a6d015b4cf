"""The inputs of a model's last layer over a dataset, as features for its head."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from swaypoint.data.batches import FeatureBatches, as_tensor
from swaypoint.errors import InputError, require

_KEPT_BYTES = 2 << 30
_LABELS = ("label", "labels", "target", "targets", "y")

Pool = Callable[[Tensor], Tensor]


@contextmanager
def evaluation(model: nn.Module) -> Iterator[None]:
    """The model in eval mode without gradients; every module's mode comes back, also on error."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class Slices:
    """Batches of two tensors, without a loader's detour over single rows."""

    inputs: Tensor
    labels: Tensor
    batch_size: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(self.inputs.split(self.batch_size), self.labels.split(self.batch_size), strict=True)


def as_loader(data: Any, batch_size: int) -> Iterable[Any]:
    """A loader over ``data`` in dataset order.

    Args:
        data: a pair (inputs, labels) of arrays or tensors, a torch ``Dataset`` or ``DataLoader``, or
            a Hugging Face dataset with a transform, or any re-iterable of batches. A shuffling
            loader is read in dataset order.

    Raises:
        InputError: ``data`` is none of these, or its lengths differ.
    """
    if isinstance(data, DataLoader):
        if isinstance(data.dataset, IterableDataset):
            return data
        return DataLoader(
            data.dataset,
            batch_size=data.batch_size or batch_size,
            collate_fn=data.collate_fn,
            num_workers=data.num_workers,
            generator=torch.Generator(),  # the global one is the training's
        )
    if isinstance(data, tuple | list) and len(data) == 2:
        inputs, labels = as_tensor(data[0], "inputs"), as_tensor(data[1], "labels")
        if len(inputs) != len(labels):
            raise InputError(f"{len(inputs)} inputs but {len(labels)} labels; expected one label per input")
        if len(inputs) == 0:
            raise InputError("the data is empty; expected at least one row")
        return Slices(inputs, labels, batch_size)
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        if len(data) == 0:
            raise InputError("the data is empty; expected at least one row")
        return DataLoader(data, batch_size=batch_size, generator=torch.Generator())
    if isinstance(data, Iterable) and not isinstance(data, Iterator):
        return data
    raise InputError(
        f"data is a {type(data).__name__}; expected (inputs, labels), a torch Dataset or DataLoader,"
        " or a Hugging Face dataset"
    )


def shuffled(loader: Iterable[Any], generator: torch.Generator) -> Iterable[Any]:
    """The batches of ``loader`` drawn anew at random; as they are where it has no dataset to draw from."""
    if isinstance(loader, Slices):
        order = torch.randperm(len(loader.inputs), generator=generator)
        return Slices(loader.inputs[order], loader.labels[order], loader.batch_size)
    if isinstance(loader, DataLoader) and not isinstance(loader.dataset, IterableDataset):
        return DataLoader(
            loader.dataset,
            batch_size=loader.batch_size,
            collate_fn=loader.collate_fn,
            shuffle=True,
            generator=generator,
        )
    return loader


class ModelBatches(FeatureBatches):
    """Features of a dataset at one layer of a model: computed once, kept when they fit in memory.

    Args:
        model: in any mode; scored in eval mode and left as it was.
        layer: the linear layer whose input is the feature.
        pool: takes what the layer receives to ``(b, D)``.
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
        self._model, self._layer, self._pool, self._check = model, layer, pool, check
        self._loader = as_loader(data, batch_size)
        self._kept: list[tuple[Tensor, Tensor]] | None = None

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
            rows = slice(-seen % every, None, every)
            held.append((features[rows].clone(), targets[rows].clone()))
            seen += len(features)
            while sum(len(part) for part, _ in held) > 2 * size:
                joined = _joined(held)
                held = [(joined[0][::2].clone(), joined[1][::2].clone())]
                every *= 2
        return _joined(held)

    def _forward(self) -> Iterator[tuple[Tensor, Tensor]]:
        received: list[Tensor] = []
        handle = self._layer.register_forward_pre_hook(lambda _, inputs: received.append(inputs[0]))
        device = next(self._model.parameters()).device
        first = True
        try:
            for batch in self._loader:
                inputs, targets = split_batch(batch)
                received.clear()
                with evaluation(self._model):
                    output = _call(self._model, inputs, device)
                if len(received) != 1:
                    raise InputError(
                        f"the layer ran {len(received)} times in one forward pass; expected once."
                        " Name another layer, or pass features with cooks_distance_from_features"
                    )
                features = self._pool(received[0])
                if first:
                    self._check(features, output)
                    first = False
                yield features, targets
        finally:
            handle.remove()


def _joined(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    features, targets = zip(*batches, strict=True)
    return torch.cat(features), torch.cat(targets)


def split_batch(batch: Any) -> tuple[Any, Tensor]:
    if isinstance(batch, Mapping):
        names = [name for name in _LABELS if name in batch]
        if len(names) != 1:
            raise InputError(
                f"a batch has the keys {', '.join(map(str, batch))}; expected one label key among"
                f" {', '.join(_LABELS)}"
            )
        rest = {name: value for name, value in batch.items() if name != names[0]}
        inputs: Any = next(iter(rest.values())) if len(rest) == 1 else rest
        return inputs, as_tensor(batch[names[0]], "labels")
    if isinstance(batch, tuple | list) and len(batch) == 2:
        inputs = dict(batch[0]) if isinstance(batch[0], Mapping) else batch[0]
        return inputs, as_tensor(batch[1], "labels")
    raise InputError(
        f"a batch is a {type(batch).__name__} of"
        f" {len(batch) if hasattr(batch, '__len__') else 'unknown'} parts; expected (inputs, labels)"
        " or a dict with a label key"
    )


def _call(model: nn.Module, inputs: Any, device: torch.device) -> Tensor:
    if isinstance(inputs, Mapping):
        output = model(**{name: value.to(device) for name, value in inputs.items()})
    else:
        dtype = next(model.parameters()).dtype
        moved = inputs.to(device)
        output = model(moved.to(dtype) if moved.is_floating_point() else moved)
    return output.logits if hasattr(output, "logits") else output


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
