"""The k smallest or largest of very many numbers, found without holding them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

_BITS = 16
Parts = Callable[[], Iterator[np.ndarray]]
"""The numbers part by part, the same at every call."""


def kth_smallest(keys: Parts, k: int) -> int:
    """The ``k``-th smallest, from 1, of ``keys`` (parts of uint64), of which there are at least ``k``.

    Two passes: the keys are counted by their leading bits, then only those of the bucket that has the answer
    are held.
    """
    counts = np.zeros(1 << _BITS, dtype=np.int64)
    for part in keys():
        counts += np.bincount(_bucket(part), minlength=len(counts))
    up_to = counts.cumsum()
    bucket = int(np.searchsorted(up_to, k))
    inside = np.concatenate([part[_bucket(part) == bucket] for part in keys()])
    place = k - int(up_to[bucket] - counts[bucket]) - 1
    return int(np.partition(inside, place)[place])


def largest(values: Parts, k: int) -> Iterator[np.ndarray]:
    """Of each part of ``values`` (parts of float64) which belong to the ``k`` largest of all, bool; of equal
    ones the first. NaN comes after every number.

    >>> [part.tolist() for part in largest(lambda: iter([np.array([1.0, 3.0]), np.array([2.0, 3.0])]), 2)]
    [[False, True], [False, True]]
    """
    threshold = np.uint64(kth_smallest(lambda: map(_descending, values()), k))
    before = sum(int((_descending(part) < threshold).sum()) for part in values())
    ties = k - before
    for part in values():
        keys = _descending(part)
        equal = keys == threshold
        chosen = (keys < threshold) | (equal & (equal.cumsum() <= ties))
        ties -= int((chosen & equal).sum())
        yield chosen


def _descending(values: np.ndarray) -> np.ndarray:
    """Keys (b,) uint64 that ascend as the float64 ``values`` descend (the bits of IEEE 754 are ordered)."""
    numbers = np.where(np.isnan(values), -np.inf, values).astype(np.float64) + 0.0  # -0.0 is 0.0
    bits = numbers.view(np.uint64)
    sign = np.uint64(1 << 63)
    return ~np.where(bits & sign, ~bits, bits | sign)


def _bucket(keys: np.ndarray) -> np.ndarray:
    return (keys >> np.uint64(64 - _BITS)).astype(np.int64)
