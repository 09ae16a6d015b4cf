"""The audit folder: what lies in it, read with clear errors and written whole or not at all."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.errors import InputError, not_an_audit, reading
from swaypoint.folder.documents import REMEDY, read_parquet, require_file
from swaypoint.folder.manifest import Manifest, read_manifest
from swaypoint.folder.shown import shown

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset

_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "binary": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
}
SCORES = dict.fromkeys(("index", "rank"), "integer") | dict.fromkeys(("split", "kind"), "text")
SCORES |= dict.fromkeys(
    ("label", "cook", "loss", "loo_loss", "margin", "leverage", "suggested_label"), "number"
)
ITEMS = {"id": "text", "name": "text", "picture": "binary?", "row": "text?", "x": "number", "y": "number"}
EXAMPLES = dict.fromkeys(("rank", "index"), "integer") | {
    "name": "text",
    "picture": "binary?",
    "row": "text?",
}
EXAMPLES |= dict.fromkeys(("neighbour_agreement", "neighbour_distance"), "number?")


@dataclass(frozen=True)
class AuditFolder:
    """A finished audit on disk."""

    path: Path

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the top of the ranking and the findings."""
        return shown("audit", self)

    def manifest(self) -> Manifest:
        """``manifest.json``.

        Raises:
            InputError: there is none, it cannot be read or lacks what an audit writes, or the audit did not
                finish.
        """
        file = self.path / "manifest.json"
        if not file.is_file():
            raise not_an_audit(self.path)
        manifest = read_manifest(file)
        if self.streamed and manifest.streamed is None:
            raise InputError(f"{file}: its content has no 'streamed'; {REMEDY}")
        return manifest

    @property
    def streamed(self) -> bool:
        """Its data were larger than memory: what is held of single points is the top of the ranking."""
        return (self.path / "top.parquet").is_file()

    def scores(self) -> pa.Table:
        """One row a ranked point, in dataset order, with its ``split``; of a streamed audit those of the top
        alone.

        Raises:
            InputError: missing or damaged.
        """
        file = self.path / ("top.parquet" if self.streamed else "scores.parquet")
        table = self._table(file.name, SCORES)
        data = self.manifest().data
        n, classes = len(table), len(data.classes)
        values = {name: table[name].to_numpy() for name in ("rank", "cook", "label", "suggested_label")}
        ranked = sum(data.ranked.values())
        if not n or (n > ranked if self.streamed else n != ranked):
            raise InputError(f"{file} has {n} points, its audit {ranked}; {REMEDY}")
        splits = table["split"].combine_chunks()
        if unknown := set(pc.unique(splits).to_pylist()) - data.ranked.keys():
            raise InputError(f"{file}: there is no split {sorted(unknown)[0]!r} in its audit; {REMEDY}")
        if not (np.sort(values["rank"]) == np.arange(1, n + 1)).all():
            raise InputError(f"{file}: its ranks are not 1 to {n}; {REMEDY}")
        if not (values["cook"] >= 0).all():
            raise InputError(f"{file}: cook is not always a number of at least 0; {REMEDY}")
        for name in ("label", "suggested_label") if classes else ():
            if not ((values[name] >= 0) & (values[name] < classes)).all():
                raise InputError(f"{file}: {name} is not always one of the {classes} classes; {REMEDY}")
        return table

    def every_score(self) -> Dataset:
        """The scores of all ranked points, to be scanned without loading them whole, in dataset order;
        a streamed audit has no ranks among them.

        Raises:
            InputError: missing or damaged.
        """
        place = self.path / ("scores" if self.streamed else "scores.parquet")
        files = sorted(place.glob("part-*.parquet")) if place.is_dir() else [place]
        streamed = self.manifest().streamed
        expected = 1 if streamed is None else streamed.parts
        if len(files) != expected:
            raise InputError(f"{place} has {len(files)} of {expected} files; {REMEDY}")
        return score_files(files)

    def check_whole(self, what: str) -> None:
        """Refuse ``what`` for a streamed audit.

        Raises:
            InputError: it is one.
        """
        if self.streamed:
            raise InputError(
                f"{self.path} was streamed: it holds the top of its ranking, and {what} needs every point;"
                " audit a part of the data in memory, or work with its scores/*.parquet"
            )

    def examples(self) -> pa.Table:
        """The top of the ranking with pictures or rows, and neighbours.

        Raises:
            InputError: missing or damaged.
        """
        return self._table("examples.parquet", EXAMPLES)

    def row(self, text: str | None) -> dict[str, str]:
        """Column -> readable value, as ``items.arrow`` and ``examples.parquet`` hold a record.

        Raises:
            InputError: damaged.
        """
        with reading(self.path, "an audit folder, its items and examples", REMEDY):
            values = json.loads(text) if text else {}
            return {str(name): str(value) for name, value in values.items()}

    def items(self) -> tuple[mmap.mmap, pa.Table]:
        """What a review shows of the points, in the order of the scores, and the mapping it is read from.

        Raises:
            InputError: missing or damaged.
        """
        file = self.path / "items.arrow"
        require_file(file, REMEDY)
        with reading(file, "an Arrow file", REMEDY):
            with file.open("rb") as opened:
                mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            table = pa.ipc.open_file(pa.py_buffer(mapping)).read_all()
            table.validate(full=True)  # of the pictures only where each begins: they stay on the disk
        _check_columns(file, table, ITEMS)
        return mapping, table

    def _table(self, name: str, columns: dict[str, str]) -> pa.Table:
        file = self.path / name
        table = read_parquet(file, REMEDY)
        _check_columns(file, table, columns)
        return table


def score_files(files: list[Path]) -> Dataset:
    """Files of scores, in their order, to be scanned without loading them whole.

    Raises:
        InputError: one cannot be read.
    """
    import pyarrow.dataset

    with reading(files[0].parent, "parquet files", REMEDY):
        return pyarrow.dataset.dataset([str(file) for file in files], format="parquet")


def _check_columns(file: Path, table: pa.Table, columns: dict[str, str]) -> None:
    """Every column of an audit's table is there, once, and of its kind; with a ``?`` after the kind values
    may be missing.

    Raises:
        InputError: one is not.
    """
    for name, kind in columns.items():
        if (count := table.column_names.count(name)) != 1:
            raise InputError(f"{file}: it has {count} columns {name!r}, expected one; {REMEDY}")
        column, optional = table[name], kind.endswith("?")
        if not (_KINDS[kind.removesuffix("?")](column.type) or (optional and pa.types.is_null(column.type))):
            raise InputError(f"{file}: column {name!r} is {column.type}, expected {kind}; {REMEDY}")
        if column.null_count and not optional:
            raise InputError(f"{file}: column {name!r} has missing values; {REMEDY}")
