"""Several models, by name or of one recipe from other seeds: their rankings together, how far they agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from swaypoint.scoring.agreement import Agreement, agreement, combine
from swaypoint.scoring.fitness import Check

SHARED = 0.3
"""Least overlap of the top 1 % below which one model's ranking says little of another's."""


@dataclass(frozen=True)
class Ensemble:
    """Cook's distances of each model, ``(n,)`` float64."""

    cooks: Sequence[np.ndarray]

    def combined(self) -> np.ndarray:
        """What ranks: the mean logarithm of Cook's distance, ``(n,)``."""
        return combine(self.cooks)

    def check(self) -> Check:
        """How far the models agree, as a check of fitness."""
        found: Agreement = agreement(self.cooks)
        return Check(
            "Agreement",
            f"{len(self.cooks)} models: rank correlation {found.spearman:.2f} (least"
            f" {found.least_spearman:.2f}), {found.overlap:.0%} of the top 1 % shared (least"
            f" {found.least_overlap:.0%})",
            "fit" if found.least_overlap >= SHARED else "caution",
            "Influence depends on the trained model (Basu, Pope & Feizi, 2021): another seed, another order.",
            "rank by more models (--models, or --model a,b)",
        )
