"""Which points are held out, by a rule that needs no list of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Split:
    """Which points are held out: a pseudo-random share of them by index, the same at any time.

    The hash is that of SplitMix64 (Steele, Lea & Flood, 2014).
    """

    seed: int = 0
    share: float = 0.2

    def held_out(self, index: np.ndarray) -> np.ndarray:
        """Of flat indices ``(b,)``: bool ``(b,)``."""
        x = index.astype(np.uint64) + np.uint64((self.seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (x ^ (x >> np.uint64(31))) < np.uint64(int(self.share * 2.0**64))
