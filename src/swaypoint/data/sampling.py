"""Some records for many: every class in proportion, from everywhere in the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from swaypoint.data.dataset import Dataset

LEAST = 5
"""Records of each class that are kept whatever its share, where there are as many and the limit allows."""


def proportional(counts: Sequence[int], limit: int) -> list[int]:
    """How many to take of groups of ``counts`` records, ``limit`` in all: :data:`LEAST` of each, and of the
    rest the same share of all. Below a record a group, the first groups get one.

    >>> proportional([900, 90, 10], 100)
    [82, 12, 6]
    """
    sizes = np.asarray(counts, dtype=np.int64)
    if limit >= sizes.sum():
        return sizes.tolist()
    least = min(LEAST, limit // len(sizes))
    taken = np.minimum(sizes, least)
    exact = (sizes - taken) * (limit - taken.sum()) / max(int((sizes - taken).sum()), 1)
    taken += exact.astype(np.int64)
    rest = np.argsort(-(exact - np.floor(exact)), kind="stable")[: limit - int(taken.sum())]
    taken[rest] += 1
    return taken.tolist()


def spaced(count: int, wanted: int) -> np.ndarray:
    """``wanted`` of the positions 0 … ``count`` - 1, evenly spaced, int64.

    >>> spaced(10, 3).tolist()
    [1, 5, 8]
    """
    return (2 * np.arange(wanted, dtype=np.int64) + 1) * count // (2 * max(wanted, 1))


def sample(groups: np.ndarray, limit: int) -> np.ndarray:
    """Rows of a sample by group, ascending int64: :func:`proportional`, of each group :func:`spaced`.

    Args:
        groups: (n,) integers.
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=groups[order[:1]] - 1))
    sizes = np.diff(np.append(starts, len(groups)))
    wanted = proportional(sizes.tolist(), limit)
    chosen = [start + spaced(size, k) for start, size, k in zip(starts, sizes, wanted, strict=True)]
    return np.sort(order[np.concatenate(chosen)])


def groups_of(labels: np.ndarray, split: np.ndarray | None = None, *, classes: bool = True) -> np.ndarray:
    """What records are sampled by, (n,) int64: their class, unless labels are real values, and split."""
    found = np.unique(labels, return_inverse=True)[1] if classes else np.zeros(len(labels), dtype=np.int64)
    if split is None:
        return found
    return found + (found.max(initial=0) + 1) * np.unique(split, return_inverse=True)[1]


def sampled(dataset: Dataset, limit: int) -> Dataset:
    """At most ``limit`` of its records, see :func:`sample`; itself where it has no more."""
    if limit >= len(dataset):
        return dataset
    rows = sample(groups_of(dataset.labels, dataset.split, classes=bool(dataset.classes)), limit)
    return replace(dataset.subset(rows), of=len(dataset))
