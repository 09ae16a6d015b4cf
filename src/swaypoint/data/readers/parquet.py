"""Features in parquet files larger than memory: read by row groups, as often as they are needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from swaypoint.data.batches import FeatureBatches
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.planting import Flips
from swaypoint.data.readers.arrays import RawLabels, row_name
from swaypoint.data.readers.declared import class_names
from swaypoint.data.readers.parquet_files import ParquetFiles, Piece, parquet_files
from swaypoint.data.readers.tables import label_column, raw_labels, vector_column
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError

SHARD_BYTES = 256 << 20
"""Features of one shard, about: what is lost of a worker's work when it is killed."""
MOST_CLASSES = 10_000
_SAMPLED_GROUPS = 64
_SAMPLED_ROWS = 65_536


@dataclass(frozen=True)
class ParquetTable:
    """Parquet files with one vector and one label a record.

    Attributes:
        files: in the order of their names.
        options: what was asked for.
        label: the label column.
        width: D.
        names: of the classes, where the files declare them.
        fingerprint: sha256 in hex of the files' stamps and of ``options``: the content itself is not read
            for it.
    """

    files: ParquetFiles
    options: ReadOptions
    label: str
    width: int
    names: tuple[str, ...] | None
    fingerprint: str

    @property
    def name(self) -> str:
        return self.files.name

    @property
    def features(self) -> str:
        assert self.options.features is not None
        return self.options.features

    def pieces(self) -> list[Piece]:
        """Row groups joined until they hold about :data:`SHARD_BYTES` of features."""
        return self.files.pieces(max(1, SHARD_BYTES // (4 * self.width)))


def open_parquet(source: str | Path, options: ReadOptions) -> ParquetTable:
    """See :func:`~swaypoint.data.readers.parquet_files.parquet_files`.

    Raises:
        InputError: as there, or there are no such columns of features and labels.
    """
    files = parquet_files(source, options.split)
    if options.limit is not None:
        files = files.first(options.limit)
    name = files.name
    label = label_column(name, files.schema.empty_table(), options.label)
    described: list[object] = [label, options.features, options.skip_bad, options.regression]
    described += [files.stamps]
    described += [] if options.limit is None else [options.limit]
    table = ParquetTable(
        files=files,
        options=options,
        label=label,
        width=0,
        names=class_names(files.schema).get(label),
        fingerprint=hashlib.sha256(json.dumps(described, default=str).encode()).hexdigest(),
    )
    _, first = next(files.read(files.groups[0], batch=1024))
    vectors = vector_column(name, pa.Table.from_batches([first]), table.features)
    return replace(table, width=vectors.values.shape[1])


@dataclass(frozen=True)
class Classes:
    """What the values of the label column mean.

    Attributes:
        values: the distinct ones, ascending; empty where they are indices or real values already.
        names: of the classes in index order; () for regression.
    """

    values: np.ndarray
    names: tuple[str, ...]

    def targets(self, values: np.ndarray) -> Tensor:
        """Class indices (b,) int64, or real values (b,) float64."""
        if len(self.values):
            return torch.from_numpy(np.searchsorted(self.values, values).astype(np.int64))
        return torch.from_numpy(values.astype(np.int64 if self.names else np.float64))


def read_classes(table: ParquetTable) -> Classes:
    """The classes of a table, from its label column alone.

    Raises:
        InputError: one class only, very many, or labels that do not suit the task.
    """
    if table.options.regression:
        return Classes(np.empty(0), ())
    distinct: np.ndarray | None = None
    for piece in table.files.groups:
        for start, batch in table.files.read(piece, [table.label], batch=1 << 20):
            labels = _labels(table, batch)
            faults = labels.faults(False)
            _refuse(table, faults, np.arange(start, start + len(batch)))
            good = np.setdiff1d(np.arange(len(batch)), list(faults))
            values = np.unique(labels.usable(good, name=table.name, regression=False))
            distinct = values if distinct is None else np.union1d(distinct, values)
            if len(distinct) > MOST_CLASSES:
                raise InputError(
                    f"{table.name}: {labels.what} has more than {MOST_CLASSES:,} different values; expected"
                    " classes. For regression pass --loss squared_error"
                )
    assert distinct is not None
    if len(distinct) < 2:
        raise InputError(f"{table.name}: only {len(distinct)} class; influence needs two or more")
    if table.names is not None and distinct.dtype.kind in "iu":
        return Classes(np.empty(0), table.names)
    return Classes(distinct, tuple(str(value) for value in distinct))


def _labels(table: ParquetTable, batch: pa.RecordBatch) -> RawLabels:
    return raw_labels(table.name, pa.Table.from_batches([batch]), table.label, class_names=table.names)


def _refuse(table: ParquetTable, faults: dict[int, str], index: np.ndarray) -> None:
    if faults and not table.options.skip_bad:
        first = min(faults)
        raise InputError(
            f"{table.name}: {row_name(int(index[first]))}: {faults[first]}; repair or remove it, or leave it"
            " out with --skip-bad"
        )


class ParquetPoints(FeatureBatches):
    """The training points of a table, or those held out, read anew in each pass.

    Args:
        table: the files; bad records are left out where its options say so.
        classes: of its labels.
        split: which points are held out.
        pieces: default: all.
        held_out: these points instead.
        flips: wrong labels planted by position.
    """

    def __init__(
        self,
        table: ParquetTable,
        classes: Classes,
        split: Split,
        *,
        pieces: Sequence[Piece] | None = None,
        held_out: bool = False,
        flips: Flips | None = None,
    ) -> None:
        self.table, self.classes, self.split, self.held_out = table, classes, split, held_out
        self.flips = flips
        self.pieces = list(table.pieces() if pieces is None else pieces)
        self._samples: dict[int, tuple[np.ndarray, Tensor, Tensor]] = {}

    def shards(self) -> Sequence[ParquetPoints]:
        return [self._of([piece], self.held_out) for piece in self.pieces]

    def others(self) -> ParquetPoints:
        """Those held out of these pieces, or back again."""
        return self._of(self.pieces, not self.held_out)

    def _of(self, pieces: Sequence[Piece], held_out: bool) -> ParquetPoints:
        return ParquetPoints(
            self.table, self.classes, self.split, pieces=pieces, held_out=held_out, flips=self.flips
        )

    def __len__(self) -> int:
        return self._count

    @cached_property
    def _count(self) -> int:
        if self.table.options.skip_bad:
            return sum(len(index) for index, _, _ in self.numbered())
        starts = ((start, piece) for piece in self.pieces for start in range(0, piece.rows, 1 << 20))
        return sum(
            int(self._mine(piece.start + np.arange(start, min(start + (1 << 20), piece.rows))).sum())
            for start, piece in starts
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return ((features, targets) for _, features, targets in self.numbered())

    def numbered(self) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """As when iterated, after the points' positions in the table, ``(b,)`` int64.

        Raises:
            InputError: a bad record, where none is to be left out; or the files have changed.
        """
        columns = [self.table.features, self.table.label]
        for piece in self.pieces:
            for start, batch in self.table.files.read(piece, columns):
                yield from self._decoded(np.arange(start, start + len(batch)), batch)

    def numbered_sample(self, size: int) -> tuple[np.ndarray, Tensor, Tensor]:
        """:meth:`sample` after the points' positions: rows spread over the beginnings of row groups that
        are spread over the table."""
        if size not in self._samples:
            columns = [self.table.features, self.table.label]
            groups = self.table.files.groups
            groups = groups[:: -(-len(groups) // _SAMPLED_GROUPS)]
            each = -(-size // len(groups))
            parts: list[tuple[np.ndarray, Tensor, Tensor]] = []
            for piece in groups:
                start, batch = next(self.table.files.read(piece, columns, batch=_SAMPLED_ROWS))
                mine = np.flatnonzero(self._mine(np.arange(start, start + len(batch))))
                rows = mine[:: max(1, len(mine) // each)][:each]
                parts += self._decoded(start + rows, batch.take(pa.array(rows)))
            if not parts:
                raise InputError(f"{self.table.name}: no points to train on; expected at least one per class")
            index, features, targets = zip(*parts, strict=True)
            self._samples[size] = np.concatenate(index), torch.cat(features), torch.cat(targets)
        return self._samples[size]

    def sample(self, size: int) -> tuple[Tensor, Tensor]:
        return self.numbered_sample(size)[1:]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_samples": {}}

    def _mine(self, index: np.ndarray) -> np.ndarray:
        return self.split.held_out(index) == self.held_out

    def _decoded(
        self, index: np.ndarray, batch: pa.RecordBatch
    ) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
        """The usable points of a batch that are of this part."""
        mine = self._mine(index)
        index, batch = index[mine], batch.filter(pa.array(mine))
        if not len(index):
            return
        table = self.table
        labels = _labels(table, batch)
        vectors = vector_column(table.name, pa.Table.from_batches([batch]), table.features)
        if vectors.values.shape[1] != table.width:
            raise InputError(
                f"{table.name}: column {table.features!r} has {vectors.values.shape[1]} numbers from"
                f" {row_name(int(index[0]))} on; expected {table.width}, as in the first record"
            )
        faults = labels.faults(table.options.regression) | vectors.faults
        _refuse(table, faults, index)
        good = np.setdiff1d(np.arange(len(index)), np.fromiter(faults, dtype=np.int64, count=len(faults)))
        if not len(good):
            return
        features = vectors.values if len(good) == len(index) else vectors.values[good]
        values = labels.usable(good, name=table.name, regression=table.options.regression)
        targets = self.classes.targets(values)
        if self.flips is not None and len(self.flips.rows):
            targets = torch.from_numpy(self.flips.applied(index[good], targets.numpy()))
        yield index[good], torch.from_numpy(features), targets
