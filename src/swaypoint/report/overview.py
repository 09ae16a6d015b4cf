"""What the report says of all points: from their scores in memory, or from two scans of score files."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from swaypoint.folder.audit_folder import AuditFolder

FIRST = 0.01
WANTED = 0.9
_FINENESS = 64  # bins an octave
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
        inspect: how many of the ranking hold :data:`WANTED` of the suspects; 0 where there are none.
        seen, seen_by_loss: share of the suspects in the first points of the ranking, and by loss, at evenly
            spaced shares of the points: 1 / len, 2 / len, ….
        values, counts: Cook's distances, and how many points have each.
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


def overview(folder: AuditFolder, scores: dict[str, np.ndarray]) -> Overview:
    """Of a finished audit.

    Args:
        scores: the columns of :meth:`AuditFolder.scores`.

    Raises:
        InputError: a file of scores is missing or damaged.
    """
    classes = len(folder.manifest().data.classes)
    return of_parts(folder, classes) if folder.streamed else of_scores(scores, classes)


def of_scores(scores: dict[str, np.ndarray], classes: int) -> Overview:
    """From columns of all points: cook, loss, margin, rank, kind, label."""
    cook, order = np.nan_to_num(scores["cook"], posinf=0.0), np.argsort(scores["rank"])
    suspect = scores["margin"] < 0  # False for NaN
    points, suspects = len(cook), int(suspect.sum())
    first = order[: max(1, round(FIRST * points))]
    kinds, counts = np.unique(scores["kind"][first].astype(str), return_counts=True)
    by_loss = np.argsort(-scores["loss"], kind="stable")
    seen, seen_by_loss = (np.cumsum(suspect[rows]) / max(suspects, 1) for rows in (order, by_loss))
    among = np.zeros((classes, 3), dtype=np.int64)
    if classes:
        label = scores["label"].astype(int)
        parts = (label, label[first], label[suspect])
        among = np.stack([np.bincount(part, minlength=classes) for part in parts], 1)
    positive = cook[cook > 0]
    return Overview(
        points=points,
        suspects=suspects,
        first=len(first),
        share=float(cook[first].sum() / max(cook.sum(), 1e-300)),
        kinds=sorted(zip(kinds.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]),
        inspect=int(np.searchsorted(seen, WANTED - 1e-12)) + 1 if suspects else 0,
        seen=seen,
        seen_by_loss=seen_by_loss,
        values=positive,
        counts=np.ones(len(positive), dtype=np.int64),
        mark=float(np.quantile(positive, 1 - FIRST)) if len(positive) else 0.0,
        classes=among,
    )


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


def of_parts(folder: AuditFolder, classes: int) -> Overview:
    """From the score files of a streamed audit, a batch at a time; quantiles are right to 1.1 %.

    Raises:
        InputError: a file is missing or damaged.
    """
    scores = folder.every_score()
    cook, loss, by_class = _Bins(), _Bins(), np.zeros((classes, 3), dtype=np.int64)
    for batch in scores.to_batches(columns=["cook", "loss", "margin", "label"]):
        suspect = batch["margin"].to_numpy() < 0  # False for NaN
        cook.add(batch["cook"].to_numpy(), suspect)
        loss.add(batch["loss"].to_numpy(), suspect)
        if classes:
            labels = batch["label"].to_numpy()
            by_class[:, 0] += np.bincount(labels, minlength=classes)
            by_class[:, 2] += np.bincount(labels[suspect], minlength=classes)
    points, suspects = int(cook.points.sum()), int(cook.suspects.sum())
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
        suspects=suspects,
        first=first,
        share=float(cook.sums[: last + 1].sum() / max(cook.sums.sum(), 1e-300)),
        kinds=sorted(kinds.items(), key=lambda pair: -pair[1]),
        inspect=int(np.ceil(points * inspected[np.searchsorted(seen, WANTED - 1e-12)])) if suspects else 0,
        seen=np.interp(grid, inspected, seen),
        seen_by_loss=np.interp(grid, *loss.seen()),
        values=values[cook.points > 0],
        counts=cook.points[cook.points > 0],
        mark=float(values[last]),
        classes=by_class,
    )
