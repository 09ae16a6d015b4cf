"""What the report says of all points of a streamed audit, from two scans of its score files."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from swaypoint.folder import AuditFolder

FIRST = 0.01
WANTED = 0.9
_FINENESS = 64  # bins an octave: quantiles of the scores are right to 1.1 %
_LARGEST = 200  # octaves above and below 1
_BINS = 2 * _LARGEST * _FINENESS + 1
_GRID = 10_000


@dataclass(frozen=True)
class Overview:
    """Of all points.

    Attributes:
        points, suspects: how many; suspects are those to which the model, fitted without them, gives
            another class.
        first, share, kinds: the first 1 % by Cook's distance, their share of the total, and how many of each
            kind are among them.
        inspect: how many hold :data:`WANTED` of the suspects.
        seen, seen_by_loss: share of the suspects in the first (i + 1) / :data:`_GRID` by Cook's distance, and
            by loss.
        values, counts: a Cook's distance for each bin, and how many points are there.
        mark: the distance that 1 % exceed.
        classes: per class its points, those in the first 1 %, and suspects, ``(classes, 3)``.
    """

    points: int
    suspects: int
    first: int
    share: float
    kinds: list[tuple[str, int]]
    inspect: int
    seen: np.ndarray
    seen_by_loss: np.ndarray
    values: np.ndarray
    counts: np.ndarray
    mark: float
    classes: np.ndarray


@dataclass
class _Bins:
    """Points, suspects and the sum of the values by the logarithm of a score; the largest come first."""

    points: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    suspects: np.ndarray = field(default_factory=lambda: np.zeros(_BINS, dtype=np.int64))
    sums: np.ndarray = field(default_factory=lambda: np.zeros(_BINS))

    def add(self, values: np.ndarray, suspect: np.ndarray) -> None:
        bins = _bins(values)
        self.points += np.bincount(bins, minlength=_BINS)
        self.suspects += np.bincount(bins[suspect], minlength=_BINS)
        self.sums += np.bincount(bins, np.nan_to_num(values, posinf=0.0), minlength=_BINS)

    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Shares of the points inspected, and of the suspects seen then."""
        points, suspects = (np.r_[0, np.cumsum(counts)] for counts in (self.points, self.suspects))
        return points / max(points[-1], 1), suspects / max(suspects[-1], 1)


def _bins(values: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        octaves = np.clip(np.nan_to_num(np.log2(values), nan=-np.inf), -_LARGEST, _LARGEST)
    return np.floor((_LARGEST - octaves) * _FINENESS).astype(np.int64)


def overview(folder: AuditFolder) -> Overview:
    """Scan the score files of a streamed audit, a batch at a time.

    Raises:
        InputError: a file is missing or damaged.
    """
    scores, classes = folder.every_score(), len(folder.manifest()["data"]["classes"])
    cook, loss, by_class = _Bins(), _Bins(), np.zeros((classes, 3), dtype=np.int64)
    for batch in scores.to_batches(columns=["cook", "loss", "margin", "label"]):
        suspect = batch["margin"].to_numpy() < 0  # False for NaN
        cook.add(batch["cook"].to_numpy(), suspect)
        loss.add(batch["loss"].to_numpy(), suspect)
        if classes:
            labels = batch["label"].to_numpy()
            by_class[:, 0] += np.bincount(labels, minlength=classes)
            by_class[:, 2] += np.bincount(labels[suspect], minlength=classes)
    points = int(cook.points.sum())
    first = max(1, round(FIRST * points))
    last = int(np.searchsorted(np.cumsum(cook.points), first))  # the bin in which the first 1 % end
    kinds: dict[str, int] = {}
    for batch in scores.to_batches(columns=["cook", "kind", "label"]):
        among = _bins(batch["cook"].to_numpy()) <= last
        names, counts = np.unique(batch["kind"].to_numpy(zero_copy_only=False)[among], return_counts=True)
        for name, count in zip(names.tolist(), counts.tolist(), strict=True):
            kinds[name] = kinds.get(name, 0) + count
        if classes:
            by_class[:, 1] += np.bincount(batch["label"].to_numpy()[among], minlength=classes)
    inspected, seen = cook.seen()
    grid = np.arange(1, _GRID + 1) / _GRID
    values = 2.0 ** (_LARGEST - (np.arange(_BINS) + 0.5) / _FINENESS)
    return Overview(
        points=points,
        suspects=int(cook.suspects.sum()),
        first=first,
        share=float(cook.sums[: last + 1].sum() / max(cook.sums.sum(), 1e-300)),
        kinds=sorted(kinds.items(), key=lambda pair: -pair[1]),
        inspect=int(np.ceil(points * inspected[np.searchsorted(seen, WANTED - 1e-12)])),
        seen=np.interp(grid, inspected, seen),
        seen_by_loss=np.interp(grid, *loss.seen()),
        values=values[cook.points > 0],
        counts=cook.points[cook.points > 0],
        mark=float(values[last]),
        classes=by_class,
    )
