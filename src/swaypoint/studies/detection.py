"""How well a score finds the wrong labels, from one small statistic: how many right labels it puts above
each wrong one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

RECALLS = (0.5, 0.9, 0.95)
_RESAMPLES = 2000
_BINS = 15


@dataclass(frozen=True)
class Found:
    """A score against the truth.

    Attributes:
        above: right labels with a higher score than each wrong one, ``(m,)`` float64 in dataset order; a
            tie counts one half.
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
        return cls(len(others) - 0.5 * (below + not_above), len(others))

    def measures(self) -> dict[str, float]:
        """Area under the ROC curve (the probability that a wrong label scores above a right one), average
        precision (the mean precision at each wrong label), and the share of all points that must be looked
        at until 50, 90 and 95 % of the wrong labels are found: by column name."""
        above = np.sort(self.above)
        return {name: float(measure(above, self.right)) for name, measure in MEASURES.items()}

    def precision(self, first: int) -> float:
        """Share of wrong labels among the ``first`` points of the ranking; of fewer points, among all."""
        places = np.arange(1, len(self.above) + 1) + np.sort(self.above)
        return float((places <= first).sum()) / min(first, self.right + len(self.above))

    def curve(self) -> tuple[np.ndarray, np.ndarray]:
        """False and true positive rates of the ROC curve, from (0, 0) to (1, 1)."""
        found = np.arange(1, len(self.above) + 1) / len(self.above)
        false = np.concatenate([[0.0], np.sort(self.above) / self.right, [1.0]])
        return false, np.concatenate([[0.0], found, [1.0]])


def intervals(found: Sequence[Found], seed: int = 0) -> dict[str, tuple[float, float]]:
    """95 % of the mean of each measure over scores of the same points, over resamples of the wrong labels
    (bootstrap, percentiles)."""
    m = len(found[0].above)
    rows = np.random.default_rng(seed).integers(0, m, (_RESAMPLES, m))
    drawn = [(np.sort(one.above[rows], axis=1), one.right) for one in found]
    return {
        name: tuple(np.quantile(np.mean([measure(*one) for one in drawn], axis=0), (0.025, 0.975)).tolist())
        for name, measure in MEASURES.items()
    }


def calibration_error(p_wrong: np.ndarray, wrong: np.ndarray) -> float:
    """Expected calibration error of the probabilities ``p_wrong`` ``(n,)``, in 15 bins of equal width."""
    of = np.minimum((p_wrong * _BINS).astype(int), _BINS - 1)
    gap = np.bincount(of, p_wrong, _BINS) - np.bincount(of, wrong, _BINS)
    return float(np.abs(gap).sum() / len(wrong))


def mean_curve(found: Sequence[Found], at: np.ndarray) -> np.ndarray:
    """Mean true positive rate of several scores at the false positive rates ``at``."""
    return np.mean([np.interp(at, *one.curve()) for one in found], axis=0)


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
