"""Which records an audit trains on, and which it holds out."""

from __future__ import annotations

import numpy as np

from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset
from swaypoint.data.readers.beside import unknown_class
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.folder.manifest import HELD_OUT, TRAIN


def splits_of(dataset: Dataset, options: AuditOptions) -> np.ndarray:
    """Of each record, (n,) of text: the source's own, and of the points to train on those held out.

    Raises:
        InputError: the source has splits, and no points to train on.
    """
    if dataset.split is None:
        split = np.full(len(dataset), TRAIN, dtype=object)
    else:
        split = dataset.split.astype(object)
    own = np.flatnonzero(split == TRAIN)
    if not len(own):
        raise InputError(f"{dataset.name}: its split {TRAIN!r} holds no usable records to train on")
    share = options.held_out(splits=dataset.split is not None)
    held = Split.of(len(own), seed=options.seed, share=share).held_out(np.arange(len(own)))
    split[own[held]] = HELD_OUT
    return split.astype(str)


def check_classes(dataset: Dataset) -> None:
    """Refuse a class that is in none of the records to train on, where the source says which these are."""
    if dataset.split is None or not dataset.classes:
        return
    trained = np.unique(dataset.labels[dataset.split == TRAIN])
    if len(unknown := np.setdiff1d(dataset.labels, trained)):
        label = int(unknown[0])
        split = str(dataset.split[dataset.labels == label][0])
        raise unknown_class(f"{dataset.name}, split {split!r},", dataset.classes[label])


def counted(split: np.ndarray) -> dict[str, int]:
    """How many points are of each split, the trained ones' first."""
    names, counts = np.unique(split, return_counts=True)
    found = dict(zip(names.tolist(), counts.tolist(), strict=True))
    return {TRAIN: found.pop(TRAIN, 0), **found}
