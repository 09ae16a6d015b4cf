"""Which points are held out, by a rule that needs no list of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from swaypoint.data.selection import kth_smallest

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Split:
    """Which points are held out: a pseudo-random share of them by index, the same at any time.

    The hash is that of SplitMix64 (Steele, Lea & Flood, 2014), which gives no two indices the same value.

    Attributes:
        share: of the points; where their number is not known, what is held out differs from it by chance.
        below: points whose hash is below this are held out; :meth:`of` finds the one that makes the share
            exact. None: ``share`` of all hashes there are.
    """

    seed: int = 0
    share: float = 0.2
    below: int | None = None

    @classmethod
    def of(cls, points: int, *, seed: int = 0, share: float = 0.2) -> Split:
        """Exactly ``round(share * points)`` of the indices ``0 … points - 1``: those of the smallest hashes.

        Two passes over the indices and no list of them: 10^8 take seconds.

        >>> int(Split.of(10, share=0.3).held_out(np.arange(10)).sum())
        3
        """
        held = round(share * points)
        if held in (0, points):
            return cls(seed, share, 0 if held == 0 else 2**64)
        return cls(seed, share, kth_smallest(lambda: _hashes(points, seed), held) + 1)

    def held_out(self, index: np.ndarray) -> np.ndarray:
        """Of flat indices ``(b,)``: bool ``(b,)``."""
        below = int(self.share * 2.0**64) if self.below is None else self.below
        if below == 0:
            return np.zeros(len(index), dtype=bool)
        return _hash(index, self.seed) <= np.uint64(below - 1)


def _hash(index: np.ndarray, seed: int) -> np.ndarray:
    """``(b,)`` uint64."""
    x = index.astype(np.uint64) + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _hashes(points: int, seed: int) -> Iterator[np.ndarray]:
    for start in range(0, points, _CHUNK):
        yield _hash(np.arange(start, min(start + _CHUNK, points)), seed)
