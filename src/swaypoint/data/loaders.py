"""Data as people have them for their models, as batches of inputs and labels in dataset order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, SubsetRandomSampler

from swaypoint.data.batches import as_tensor
from swaypoint.errors import InputError, shortened

_LABELS = ("label", "labels", "target", "targets", "y")
_INDICES = ("index", "idx", "indices", "row")


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
        data: a pair (inputs, labels) of arrays or tensors, a torch ``Dataset``, ``IterableDataset`` or
            ``DataLoader``, a Hugging Face dataset, or any re-iterable of batches. A shuffling loader is read
            in dataset order; of one with a ``SubsetRandomSampler`` only that part, in dataset order.

    Raises:
        InputError: ``data`` is none of these, or its lengths differ.
    """
    if isinstance(data, DataLoader):
        return data if isinstance(data.dataset, IterableDataset) else _in_order(data)
    if isinstance(data, tuple | list) and len(data) == 2:
        inputs, labels = data
        return _pair(inputs, labels, batch_size)
    if isinstance(data, Mapping):
        raise InputError(
            f"data is a {type(data).__name__} with {', '.join(map(str, data))}; expected (inputs, labels), or"
            " one of its datasets"
        )
    if isinstance(data, IterableDataset):
        return DataLoader(_with_tensors(data), batch_size=batch_size)
    if isinstance(data, list) and _are_batches(data):
        return data
    if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
        if isinstance(data, Tensor | np.ndarray) or hasattr(data, "iloc"):
            raise InputError(f"data is a {type(data).__name__} alone; expected a pair (inputs, labels)")
        if len(data) == 0:
            raise InputError("the data is empty; expected at least one row")
        return DataLoader(_with_tensors(data), batch_size=batch_size, generator=torch.Generator())
    if isinstance(data, Iterable) and not isinstance(data, Iterator):
        return data
    raise InputError(
        f"data is a {type(data).__name__}; expected (inputs, labels), a torch Dataset or DataLoader,"
        " or a Hugging Face dataset, which can be read twice"
    )


def _pair(inputs: Any, labels: Any, batch_size: int) -> Slices:
    aligned(inputs, labels)
    x, y = as_tensor(inputs, "inputs"), as_tensor(labels, "labels")
    if x.ndim == 0 or y.ndim == 0 or len(x) != len(y):
        counts = [len(part) if part.ndim else 1 for part in (x, y)]
        raise InputError(f"{counts[0]} inputs but {counts[1]} labels; expected one label per input")
    if len(x) == 0:
        raise InputError("the data is empty; expected at least one row")
    return Slices(x, y, batch_size)


def _in_order(loader: DataLoader[Any]) -> DataLoader[Any]:
    dataset: Any = loader.dataset
    if loader.batch_sampler is None:  # its dataset makes the batches
        return loader
    if isinstance(loader.sampler, SubsetRandomSampler):
        dataset = Subset(dataset, sorted(loader.sampler.indices))
    if not len(dataset):
        raise InputError("the data is empty; expected at least one row")
    return DataLoader(
        _with_tensors(dataset),
        batch_size=loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 1,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        generator=torch.Generator(),  # the global one is the training's
    )


def _with_tensors(dataset: Any) -> Any:
    """A Hugging Face dataset that would give lists gives tensors; others as they are."""
    if type(dataset).__module__.split(".")[0] != "datasets" or not hasattr(dataset, "with_format"):
        return dataset
    known = getattr(dataset, "format", None)
    return dataset.with_format("torch") if known is None or known.get("type") is None else dataset


def _are_batches(data: Sequence[Any]) -> bool:
    """Whether a list is of batches, not of points: every label has as many entries as its inputs."""
    return bool(data) and all(
        isinstance(part, tuple | list)
        and len(part) == 2
        and all(isinstance(x, Tensor | np.ndarray) and x.ndim > 0 for x in part)
        and len(part[0]) == len(part[1])
        for part in data
    )


def own_index(data: Any) -> np.ndarray | None:
    """What the person who brings ``data`` calls its rows, ``(n,)``: of a ``Subset``, however deep, the
    positions in the dataset beneath it; of pandas data its index. None: positions are all there is."""
    if isinstance(data, DataLoader):
        data = _in_order(data).dataset if not isinstance(data.dataset, IterableDataset) else data.dataset
    if isinstance(data, Subset):
        inner, index = own_index(data.dataset), np.asarray(data.indices, dtype=np.int64)
        return index if inner is None else inner[index]
    if isinstance(data, tuple | list) and len(data) == 2:
        for part in data:
            if hasattr(part, "iloc"):
                return np.asarray(part.index)
    return None


def aligned(inputs: Any, labels: Any) -> None:
    """Refuse two pandas objects of the same index in another order: they would be paired by position.

    Raises:
        InputError: they are such.
    """
    if hasattr(inputs, "iloc") and hasattr(labels, "iloc") and len(inputs) == len(labels):
        one, other = inputs.index, labels.index
        if not one.equals(other) and one.sort_values().equals(other.sort_values()):
            raise InputError(
                "inputs and labels have the same pandas index in another order, and would be paired by"
                " position; pass labels.loc[inputs.index]"
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


def collated(loader: Iterable[Any]) -> Iterator[Any]:
    """The batches, and points that make none said in a sentence."""
    try:
        yield from loader
    except (RuntimeError, TypeError) as error:
        text = str(error)
        if not any(words in text for words in ("stack expects", "default_collate", "equal size")):
            raise
        raise InputError(
            f"the points do not make a batch ({shortened(text)}); pad them to one size, or pass a DataLoader"
            " with a collate_fn that gives (inputs, labels)"
        ) from error


def split_batch(batch: Any) -> tuple[Any, Tensor]:
    """Inputs, a tensor or a dict of them, and labels, of a batch (inputs, labels), (inputs, labels, index) or
    a dict with a label key.

    Raises:
        InputError: it is none of these.
    """
    if isinstance(batch, Mapping):
        names = [name for name in _LABELS if name in batch]
        if len(names) != 1:
            raise InputError(
                f"a batch has the keys {', '.join(map(str, batch))}; expected one label key among"
                f" {', '.join(_LABELS)}"
            )
        rest = {name: value for name, value in batch.items() if name not in (names[0], *_INDICES)}
        inputs: Any = next(iter(rest.values())) if len(rest) == 1 else rest
        return inputs, _checked_labels(batch[names[0]])
    if isinstance(batch, tuple | list) and (len(batch) == 2 or index_of(batch) is not None):
        inputs = dict(batch[0]) if isinstance(batch[0], Mapping) else batch[0]
        return inputs, _checked_labels(batch[1])
    raise InputError(
        f"a batch is a {type(batch).__name__} of"
        f" {len(batch) if hasattr(batch, '__len__') else 'unknown'} parts; expected (inputs, labels),"
        " (inputs, labels, index), or a dict with a label key"
    )


def _checked_labels(labels: Any) -> Tensor:
    tensor = as_tensor(labels, "labels")
    return tensor.unsqueeze(0) if tensor.ndim == 0 else tensor


def index_of(batch: Any) -> Tensor | None:
    """The positions that a batch brings beside its inputs and labels: different whole numbers, one
    a point."""
    if isinstance(batch, Mapping):
        found = next((batch[name] for name in _INDICES if name in batch), None)
        return found.cpu() if isinstance(found, Tensor) and found.ndim == 1 else None
    if not (isinstance(batch, tuple | list) and len(batch) == 3):
        return None
    if not all(isinstance(part, Tensor | np.ndarray) for part in batch[1:]):
        return None
    labels, index = (torch.as_tensor(part) for part in batch[1:])
    if labels.ndim > 2 or index.ndim != 1 or len(labels) != len(index):
        return None
    whole = not index.is_floating_point() and not index.is_complex() and index.dtype != torch.bool
    return index.cpu() if whole and len(index.unique()) == len(index) else None
