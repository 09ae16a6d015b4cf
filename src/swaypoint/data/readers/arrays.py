"""Checks that every reader shares: usable records, finite numbers, class indices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, Kind, ReadOptions, Skipped, marked
from swaypoint.errors import InputError, shortened

Faults = dict[int, str]
"""What is wrong with a record, by its position in the source."""

_EXACT_INTEGERS = 2.0**53  # float64 tells neighbouring integers apart below this
_LISTED = 20


def listed(names: Sequence[str]) -> str:
    """``names`` for a message, the first twenty of them, and no more than the beginning of a long one.

    >>> listed(["a", "b"])
    'a, b'
    """
    more = f", … ({len(names)} in all)" if len(names) > _LISTED else ""
    return ", ".join(shortened(name, 60) for name in names[:_LISTED]) + more


def row_name(row: int) -> str:
    """How messages call a record without a file name; rows count from 0."""
    return f"row {row}"


def number_faults(values: np.ndarray, columns: Sequence[str]) -> Faults:
    """Rows of ``values`` (n, D) that are not finite in float32, each with its first bad column."""
    with np.errstate(over="ignore", invalid="ignore"):
        bad = ~np.isfinite(values.astype(np.float32, copy=False))
    faults = {}
    for row in np.flatnonzero(bad.any(axis=1)).tolist():
        j = int(bad[row].argmax())
        value = float(values[row, j])
        problem = f"{value:g}, too large for float32" if np.isfinite(value) else f"{value:g}"
        faults[row] = f"{columns[j]} is {'missing (NaN)' if np.isnan(value) else problem}"
    return faults


@dataclass(frozen=True)
class RawLabels:
    """Labels as the source holds them.

    Attributes:
        what: how messages call them, such as ``label column 'y'``.
        values: (n,) bool, int, float, or str objects; arbitrary where missing.
        missing: (n,) bool.
        names: the class names that the source declares for the values 0..C-1, if it does.
    """

    what: str
    values: np.ndarray
    missing: np.ndarray
    names: tuple[str, ...] | None = None

    def faults(self, regression: bool) -> Faults:
        """Records whose label is missing, infinite, or outside the declared classes."""
        faults = dict.fromkeys(np.flatnonzero(self.missing).tolist(), f"{self.what} is missing")
        kind = self.values.dtype.kind
        if kind == "f":
            for row in np.flatnonzero(~np.isfinite(self.values)).tolist():
                value = self.values[row]
                faults.setdefault(row, f"{self.what} is {'missing (NaN)' if np.isnan(value) else value}")
        if self.names is not None and kind in "iuf" and not regression:
            outside = (self.values < 0) | (self.values >= len(self.names))
            for row in np.flatnonzero(outside).tolist():
                known = f"0..{len(self.names) - 1}, the classes it names"
                faults.setdefault(row, f"{self.what} is {self.values[row]}, outside {known}")
        return faults

    def indexed(self, rows: np.ndarray, *, name: str, regression: bool) -> tuple[np.ndarray, tuple[str, ...]]:
        """Labels (m,) int64 of ``rows`` (m,) and the class names; float64 and () for regression.

        Classes are sorted, integers numerically and text as text, unless the source names them.

        Raises:
            InputError: text for regression, or real values for classes.
        """
        values = self.usable(rows, name=name, regression=regression)
        if regression:
            return values, ()
        if self.names is not None and values.dtype.kind in "iu":
            return values.astype(np.int64), self.names
        distinct, labels = np.unique(values, return_inverse=True)
        return labels.astype(np.int64), tuple(str(value) for value in distinct)

    def usable(self, rows: np.ndarray, *, name: str, regression: bool) -> np.ndarray:
        """The labels of ``rows`` (m,) as numbers for regression, else as integers, bools or text.

        Raises:
            InputError: as :meth:`indexed`.
        """
        values = self.values[rows]
        if regression:
            if values.dtype.kind not in "biuf":
                raise InputError(
                    f"{name}: {self.what} holds text ({values[0]!r}); --loss squared_error needs numbers"
                )
            return values.astype(np.float64)
        return self._whole(values, name) if values.dtype.kind == "f" else values

    def _whole(self, values: np.ndarray, name: str) -> np.ndarray:
        real = (values != np.trunc(values)) | (np.abs(values) >= _EXACT_INTEGERS)
        if real.any():
            raise InputError(
                f"{name}: {self.what} holds real values ({values[real.argmax()]:g}); expected classes."
                " For regression pass --loss squared_error"
            )
        return values.astype(np.int64)


@dataclass(frozen=True)
class Records:
    """The usable records of a source: their positions ``rows`` (n,) int64 and their labels."""

    name: str
    rows: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    skipped: tuple[Skipped, ...]

    def of(self, values: np.ndarray) -> np.ndarray:
        """The usable rows of ``values``, without a copy when all are usable."""
        return values if len(values) == len(self.rows) else values[self.rows]

    def dataset(
        self,
        kind: Kind,
        inputs: np.ndarray,
        *,
        columns: tuple[str, ...] = (),
        names: tuple[str, ...] = (),
        raw: pa.Table | None = None,
    ) -> Dataset:
        """The dataset with ``inputs`` for these records; ``names`` and ``raw`` are theirs too."""
        found = Dataset(
            name=self.name,
            kind=kind,
            inputs=inputs,
            labels=self.labels,
            classes=self.classes,
            columns=columns,
            index=self.rows,
            names=names,
            skipped=self.skipped,
            fingerprint="",
            raw=raw,
        )
        return marked(found)


def usable_records(
    name: str,
    labels: RawLabels,
    *,
    faults: Faults,
    options: ReadOptions,
    where: Callable[[int], str] = row_name,
) -> Records:
    """The records without a fault in ``faults`` (the inputs') or in their label.

    Raises:
        InputError: a bad record without ``skip_bad``, only bad records, no records, one class, fewer
            records than classes, or labels that do not suit the task.
    """
    total = len(labels.values)
    if total == 0:
        raise InputError(f"{name}: it holds no records; expected at least one per class")
    merged = labels.faults(options.regression) | faults
    _refuse_bad(name, merged, total=total, skip_bad=options.skip_bad, where=where)
    good = np.ones(total, dtype=bool)
    good[list(merged)] = False
    rows = np.flatnonzero(good).astype(np.int64)
    indices, classes = labels.indexed(rows, name=name, regression=options.regression)
    if not options.regression:
        _check_classes(name, indices, classes, limit=options.limit)
    skipped = tuple(Skipped(where(row), merged[row]) for row in sorted(merged))
    return Records(name, rows, indices, classes, skipped)


def _refuse_bad(
    name: str, faults: Faults, *, total: int, skip_bad: bool, where: Callable[[int], str]
) -> None:
    if not faults or (skip_bad and len(faults) < total):
        return
    first = min(faults)
    fault = f"{where(first)}: {faults[first]}"
    if len(faults) == total and total > 1:
        raise InputError(f"{name}: all {total} records are bad; the first, {fault}; repair the source")
    count = f" ({len(faults)} bad records in all)" if len(faults) > 1 else ""
    remedy = "repair or remove it" if total == 1 else "repair or remove it, or leave it out with --skip-bad"
    raise InputError(f"{name}: {fault}{count}; {remedy}")


def _check_classes(name: str, labels: np.ndarray, classes: tuple[str, ...], *, limit: int | None) -> None:
    first = f"the first {len(labels)} of its" if limit is not None else "its"
    remedy = "raise --limit" if limit is not None else "add records of another class"
    present = np.unique(labels)
    if len(present) == 1:
        raise InputError(
            f"{name}: {first} records have only one class, {classes[present[0]]!r}; expected two or more;"
            f" {remedy}"
        )
    if len(labels) < len(classes):
        raise InputError(
            f"{name}: {len(labels)} records for {len(classes)} classes; expected at least one record per"
            f" class; {'raise --limit' if limit is not None else 'add records or remove classes'}"
        )
