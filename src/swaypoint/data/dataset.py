"""A labelled dataset in memory, and what a reader is asked for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa

Kind = Literal["images", "rows", "features", "texts"]

_TEXT_LENGTH = 200
_NUMBER = "%.7g"
_EXACT_INTEGERS = 2**53  # float64 tells neighbouring integers apart below this


@dataclass(frozen=True)
class Skipped:
    """One record that could not be used.

    ``where`` is the file's name for image folders and ``"row 17"`` otherwise; rows count from 0.
    """

    where: str
    reason: str


@dataclass(frozen=True)
class ReadOptions:
    """What to read from a source; the defaults fit the common layouts.

    Attributes:
        label: label column of a table, or array of an ``.npz`` (default ``labels``, then ``y``).
            Default for tables: the only column called label, target, class or y, else the only
            column that names its classes.
        features: column with one vector per record, or array of an ``.npz`` (default ``features``,
            then ``X``, then ``x``).
        image: image column of a table. Default: the only column that holds images.
        text: text column of a table, or several with commas between, which a model reads one after the other.
            Default: the only column of free text, where no other column says anything.
        image_size: side in pixels. Default: the images' own size when all are equal, square and at
            most ``largest_side``, else that.
        split: of a source that has several, such as a Hugging Face dataset, a directory of parquet files or a
            folder ``train/ test/``, this one alone. None: all of them, see :attr:`Dataset.split`.
        skip_bad: leave unusable records out, and list them, instead of raising.
        limit: at most this many records, the first ones; of a folder by class the first of every class.
        spread: the records of ``limit`` are a sample instead, of every class in proportion and from
            everywhere in the source, see :mod:`swaypoint.data.sampling`; of several splits together.
        regression: the labels are real values, not classes.
        largest_side: see ``image_size``; an audit by a pretrained model reads what that sees.
    """

    label: str | None = None
    features: str | None = None
    image: str | None = None
    image_size: int | None = None
    split: str | None = None
    skip_bad: bool = False
    limit: int | None = None
    regression: bool = False
    largest_side: int = 64
    text: str | None = None
    spread: bool = False

    @property
    def whole(self) -> ReadOptions:
        """What is read of the source itself: all of it where the records are a sample."""
        return replace(self, limit=None) if self.spread else self


@dataclass(frozen=True, eq=False)
class Dataset:
    """A labelled dataset in memory, read and checked.

    Two datasets with the same ``fingerprint`` hold the same records, columns and classes; ``==`` is identity,
    because the arrays of two datasets have no single truth value.

    Attributes:
        name: the path or hub name as given.
        kind: what the inputs are.
        inputs: images: (n, H, W, 3) uint8; rows and features: (n, D) float32, all finite; texts: (n, k)
            objects, each a ``str``, of k columns, read-only: some 60 bytes a text beside its characters.
        labels: (n,) int64 indices into ``classes``; (n,) float64 values when ``classes == ()``.
        classes: names in index order; () for regression.
        columns: names of the D inputs, or of the k texts; () for images.
        index: (n,) int64 positions in the source, counted from 0; has gaps where records were skipped.
        names: per record ``class/file`` for image folders; () otherwise.
        skipped: the records that were left out.
        fingerprint: sha256 in hex of the content, see :func:`marked`.
        raw: the other columns of a table as they were read, for :meth:`describe`; n rows.
        pictures: what features were made of, where the source has it: (n, H, W, 3) uint8.
        treatments: column of a table -> what was done to it in one sentence, where it is no number as it is,
            nor one input a category.
        split: of each record the name of the source's own split that it is of, (n,) of text, one of them
            ``train``; None: the source has none, or one alone was read.
        of: how many records the source has, where these are a sample, see :attr:`ReadOptions.spread`.
    """

    name: str
    kind: Kind
    inputs: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    columns: tuple[str, ...]
    index: np.ndarray
    names: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    fingerprint: str
    raw: pa.Table | None = field(default=None, repr=False)
    pictures: np.ndarray | None = field(default=None, repr=False)
    treatments: Mapping[str, str] = field(default_factory=dict, repr=False)
    split: np.ndarray | None = field(default=None, repr=False)
    of: int | None = None

    @property
    def pixels(self) -> np.ndarray | None:
        """What a person sees of each record, (n, H, W, 3) uint8; None where there is nothing to be seen."""
        return self.inputs if self.kind == "images" else self.pictures

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def texts(self) -> list[str]:
        """Of each record what a model reads: its texts, a blank line between them."""
        return [row[0] if len(row) == 1 else "\n\n".join(row) for row in self.inputs.tolist()]

    def content(self, i: int) -> bytes:
        """What record ``i`` holds, without its label; see :func:`~swaypoint.folder.items.item_id`."""
        record = self.inputs[i]
        return json.dumps(record.tolist()).encode() if self.kind == "texts" else record.tobytes()

    def subset(self, rows: Any) -> Dataset:
        """The records at ``rows`` ((m,) positions or an (n,) bool mask), in that order.

        ``classes`` and ``skipped`` stay; ``fingerprint`` is that of the subset.

        Raises:
            IndexError: a position is outside the dataset.
        """
        chosen = np.asarray(rows)
        if chosen.size == 0:
            chosen = chosen.astype(np.int64)
        positions = np.arange(len(self))[chosen]
        inputs, labels = self.inputs[positions], self.labels[positions]
        if self.kind == "texts":
            inputs.flags.writeable = False
        part = replace(
            self,
            inputs=inputs,
            labels=labels,
            index=self.index[positions],
            names=tuple(self.names[i] for i in positions) if self.names else (),
            raw=None if self.raw is None else self.raw.take(pa.array(positions)),
            pictures=None if self.pictures is None else self.pictures[positions],
            split=None if self.split is None else self.split[positions],
        )
        return marked(part)

    def describe(self, i: int, *, longest: int = _TEXT_LENGTH) -> dict[str, str]:
        """Record ``i`` as column -> readable value, without its label.

        Tables give the values as they were read (the category, not its one-hot inputs); image folders
        give the file; arrays give the inputs by name; texts come before the other columns. Values end with …
        after ``longest`` characters.

        Raises:
            IndexError: ``i`` is outside the dataset.
        """
        return self.described(np.array([range(len(self))[i]]), longest=longest)[0]

    def described(self, rows: np.ndarray, *, longest: int = _TEXT_LENGTH) -> list[dict[str, str]]:
        """:meth:`describe` of the records at the positions ``rows`` (m,), a column at a time, which takes a
        tenth of the time."""
        names, columns = self._readable_columns(rows)
        if not names:
            return [{} for _ in rows]
        texts = [[_readable(value, longest) for value in column] for column, _ in columns]
        return [dict(zip(names, values, strict=True)) for values in zip(*texts, strict=True)]

    def described_json(self, rows: np.ndarray, *, longest: int = _TEXT_LENGTH) -> list[str]:
        """:meth:`described`, each as JSON: numbers go through one format of the whole record, which takes a
        fraction of the time of a dictionary."""
        names, columns = self._readable_columns(rows)
        if not names or len(set(names)) < len(names):
            return [json.dumps(each, ensure_ascii=False) for each in self.described(rows, longest=longest)]
        places, values = [], []
        for name, (column, number) in zip(names, columns, strict=True):
            place = json.dumps(name, ensure_ascii=False).replace("%", "%%")
            places.append(f'{place}: "{number}"' if number else f"{place}: %s")
            values.append(
                column
                if number
                else [json.dumps(_readable(value, longest), ensure_ascii=False) for value in column]
            )
        record = "{" + ", ".join(places) + "}"
        return [record % each for each in zip(*values, strict=True)]

    def _readable_columns(self, rows: np.ndarray) -> tuple[list[str], list[tuple[list[Any], str]]]:
        """What a person reads of the records at ``rows``: names, and of each the values with the format that
        :func:`_readable` has for all of them, where they are numbers; nothing of pictures without a file."""
        if self.names and self.kind != "texts":
            return ["file"], [([self.names[row] for row in rows], "")]
        names: list[str] = []
        columns: list[tuple[list[Any], str]] = []
        if self.kind == "texts" or (self.kind in ("rows", "features") and self.raw is None):
            names, number = list(self.columns), "" if self.kind == "texts" else _NUMBER
            columns = [(column, number) for column in self.inputs[rows].T.tolist()]
        if self.raw is not None:
            names += self.raw.column_names
            for column in self.raw.take(pa.array(rows)).columns:
                whole = pa.types.is_floating(column.type) and not column.null_count
                columns.append((_values(column), _NUMBER if whole else ""))
        return names, columns


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """As Python's objects, which know times to the microsecond: those of pandas, for which Arrow would ask
    otherwise, are not always there."""
    kind = column.type
    if pa.types.is_temporal(kind) and getattr(kind, "unit", "") == "ns":
        if pa.types.is_timestamp(kind):
            kind = pa.timestamp("us", kind.tz)
        else:
            kind = pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")
        column = column.cast(kind, safe=False)
    return list(column.to_pylist())


def _readable(value: Any, longest: int) -> str:
    if value is None:
        return "missing"
    text = _NUMBER % value if isinstance(value, float) else str(value)
    return text if len(text) <= longest else text[: longest - 1] + "…"


def fingerprint(inputs: np.ndarray, labels: np.ndarray, classes: tuple[str, ...]) -> str:
    """sha256 in hex over dtype, shape and content of ``inputs`` and ``labels``, and the class names.

    Independent of paths, file formats and memory layout.

    >>> a = np.arange(6, dtype=np.float32).reshape(2, 3)
    >>> fingerprint(a, np.array([0, 1]), ("a", "b")) == fingerprint(a.copy("F"), np.array([0, 1]), ("a", "b"))
    True
    """
    digest = hashlib.sha256(json.dumps(classes).encode())
    for array in (inputs, labels):
        _hash_array(digest, array)
    return digest.hexdigest()


def marked(dataset: Dataset) -> Dataset:
    """``dataset`` with the fingerprint of all that it holds: :func:`fingerprint`, and

    - of the rows of a table the columns' names, which say what category a one-hot input is of;
    - of pictures, texts and features the other columns of their table, cell by cell;
    - the splits, where there are several.

    Independent also of the Arrow types of the same values: a table read from CSV has others than one from
    parquet.
    """
    found = fingerprint(dataset.inputs, dataset.labels, dataset.classes)
    digest = hashlib.sha256(found.encode())
    if dataset.split is not None:
        digest.update(json.dumps(dataset.split.tolist()).encode())
    if dataset.kind == "rows":
        digest.update(json.dumps(dataset.columns).encode())
    elif dataset.raw is not None and dataset.raw.num_columns:
        for name, column in zip(dataset.raw.column_names, dataset.raw.columns, strict=True):
            digest.update(json.dumps(name).encode())
            _hash_array(digest, np.asarray(column.is_null().combine_chunks()))
            _hash_column(digest, column.combine_chunks())
    elif dataset.split is None:
        return replace(dataset, fingerprint=found)
    return replace(dataset, fingerprint=digest.hexdigest())


def _hash_array(digest: Any, array: np.ndarray) -> None:
    digest.update(f"{array.dtype.str}{array.shape}".encode())
    if array.dtype == object:  # of texts
        for text in array.flat:
            encoded = text.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
    elif array.size:  # an empty array has no buffer to cast
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)


def _hash_column(digest: Any, column: pa.Array) -> None:
    """The values of a column, whatever its Arrow type."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.dictionary_decode(), kind.value_type
    if pa.types.is_decimal(kind) or (pa.types.is_primitive(kind) and not pa.types.is_temporal(kind)):
        numbers = column.cast(pa.float64(), safe=False).fill_null(0.0)
        _hash_array(digest, numbers.to_numpy(zero_copy_only=False))
        if pa.types.is_integer(kind):  # those that float64 does not tell apart
            whole = column.fill_null(0).to_numpy(zero_copy_only=False)
            large = whole[(whole > _EXACT_INTEGERS) | (whole < -_EXACT_INTEGERS)]
            digest.update(json.dumps(large.tolist()).encode() if large.size else b"")
        return
    try:
        text = column.cast(pa.large_string()).fill_null("")
    except pa.ArrowException:  # of a type without a text: bytes, lists, structures
        text = pa.array([str(value) for value in _values(column)], pa.large_string())
    if len(text):
        ends = np.frombuffer(text.buffers()[1], np.int64, len(text) + 1, 8 * text.offset)
        _hash_array(digest, ends - ends[0])
        digest.update(memoryview(text.buffers()[2] or b"")[ends[0] : ends[-1]])
