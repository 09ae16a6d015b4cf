"""How well a score finds the wrong labels, from one small statistic: how many right labels it puts above
each wrong one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

RECALLS = (0.5, 0.9, 0.95)
_RESAMPLES = 2000


@dataclass(frozen=True)
class Found:
    """A score against the truth.

    Attributes:
        above: right labels with a higher score than each wrong one, ascending ``(m,)`` float64; a tie
            counts one half.
        right: how many right labels there are.
    """

    above: np.ndarray
    right: int

    @classmethod
    def of(cls, score: np.ndarray, wrong: np.ndarray) -> Found:
        """Of ``score`` ``(n,)``, large: look at it first; ``wrong`` ``(n,)`` bool."""
        others = np.sort(score[~wrong])
        below = np.searchsorted(others, score[wrong], side="left")
        not_above = np.searchsorted(others, score[wrong], side="right")
        return cls(np.sort(len(others) - 0.5 * (below + not_above)), len(others))

    @property
    def auroc(self) -> float:
        """Area under the ROC curve (the probability that a wrong label scores above a right one)."""
        return float(_auroc(self.above, self.right))

    @property
    def average_precision(self) -> float:
        """Mean of the precisions at each wrong label."""
        return float(_average_precision(self.above, self.right))

    def inspected(self, recall: float) -> float:
        """Share of the points that must be looked at until this share of the wrong labels is found."""
        return float(_inspected(self.above, self.right, recall))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positive rates of the ROC curve, from (0, 0) to (1, 1)."""
        found = np.arange(1, len(self.above) + 1) / len(self.above)
        false = np.concatenate([[0.0], self.above / self.right, [1.0]])
        return false, np.concatenate([[0.0], found, [1.0]])

    def measures(self) -> dict[str, float]:
        """All of them, by column name."""
        return {name: float(measure(self.above, self.right)) for name, measure in MEASURES.items()}

    def intervals(self, seed: int = 0) -> dict[str, tuple[float, float]]:
        """95 % of each measure over resamples of the wrong labels (bootstrap, percentiles)."""
        rows = np.random.default_rng(seed).integers(0, len(self.above), (_RESAMPLES, len(self.above)))
        drawn = np.sort(self.above[rows], axis=1)
        return {
            name: (float(low), float(high))
            for name, measure in MEASURES.items()
            for low, high in [np.quantile(measure(drawn, self.right), (0.025, 0.975))]
        }


def mean_curve(found: list[Found], at: np.ndarray) -> np.ndarray:
    """Mean true positive rate of several scores at the false positive rates ``at``."""
    return np.mean([np.interp(at, *curve) for curve in (one.curve() for one in found)], axis=0)


# The last axis of ``above`` is that of the wrong labels, ascending.


def _auroc(above: np.ndarray, right: int) -> np.ndarray:
    return 1.0 - above.mean(-1) / right


def _average_precision(above: np.ndarray, right: int) -> np.ndarray:
    found = np.arange(1, above.shape[-1] + 1)
    return (found / (found + above)).mean(-1)


def _inspected(above: np.ndarray, right: int, recall: float) -> np.ndarray:
    m = above.shape[-1]
    last = int(np.ceil(recall * m - 1e-9))
    return (last + above[..., last - 1]) / (right + m)


def _at(recall: float) -> Callable[[np.ndarray, int], np.ndarray]:
    return lambda above, right: _inspected(above, right, recall)


MEASURES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "auroc": _auroc,
    "average_precision": _average_precision,
    **{f"inspected_{recall:.0%}".rstrip("%"): _at(recall) for recall in RECALLS},
}
