"""From an Arrow table with a column of labels to a dataset: what all readers of tables share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions, marked
from swaypoint.data.readers.arrays import Records, row_name, usable_records
from swaypoint.data.readers.base import Reader, Wanted
from swaypoint.data.readers.declared import class_names, note, splits, without_note
from swaypoint.data.readers.encoding import is_text, look_alikes
from swaypoint.data.readers.image_columns import image_column, image_pixels, is_image
from swaypoint.data.readers.images import Progress
from swaypoint.data.readers.stored import PictureColumn, Stored
from swaypoint.data.readers.tables import (
    input_columns,
    input_faults,
    label_column,
    no_inputs,
    raw_labels,
    vector_column,
)
from swaypoint.data.readers.text_columns import said_of_empty, text_columns, texts_of
from swaypoint.data.readers.text_values import Parsed, parsed_text
from swaypoint.data.sampling import groups_of, sample
from swaypoint.errors import InputError

THE_FILE = "(the file)"
"""What is said of a source as a whole stands under this name beside its columns."""


def table_reader(
    matches: Callable[[str], bool],
    table: Callable[[str, ReadOptions], pa.Table],
    *,
    picture: Callable[[str, ReadOptions, Wanted], bytes | None] | None = None,
) -> Reader:
    """The reader of sources that are tables; see :class:`Reader`.

    Args:
        table: all records as they are stored, at least the first ``options.limit`` of them; raises
            InputError.
    """

    def read(source: str, options: ReadOptions, on_progress: Progress) -> Dataset:
        return read_table(source, table(source, options.whole), options, on_progress)

    def stored(source: str, options: ReadOptions, on_progress: Progress) -> Stored:
        return as_stored(source, table(source, options.whole), options, on_progress)

    return Reader(matches, read, stored, picture, texts=True)


def read_table(name: str, table: pa.Table, options: ReadOptions, on_progress: Progress = None) -> Dataset:
    """An Arrow table with an image column, a vector column (``options.features``), columns of text
    (``options.text``, or the only one where there is nothing else), or plain columns.

    Raises:
        InputError: as :func:`~swaypoint.data.readers.sources.read_dataset`.
    """
    if table.num_rows == 0:
        raise InputError(f"{name}: it holds no records; expected at least one per class")
    if len(set(table.column_names)) < table.num_columns:
        raise InputError(f"{name}: two columns have the same name; rename one")
    if options.spread and options.limit is not None and options.limit < len(table):
        return _sampled(name, table, options, on_progress)
    split = splits(table.schema)
    if options.limit is not None and split is None:  # each split has its limit already
        table = table.slice(0, options.limit)
    return _dataset(name, table, split, options, on_progress, row_name)


def _sampled(name: str, table: pa.Table, options: ReadOptions, on_progress: Progress) -> Dataset:
    """A sample of the records, which keep their positions."""
    split, label = splits(table.schema), label_column(name, table, options.label)
    labels = raw_labels(name, table, label).values
    assert options.limit is not None
    rows = sample(groups_of(labels, split, classes=not options.regression), options.limit)
    found = _dataset(
        name,
        table.take(pa.array(rows)),
        None if split is None else split[rows],
        options,
        on_progress,
        lambda row: row_name(int(rows[row])),
    )
    return replace(found, index=rows[found.index], of=len(table))


def _dataset(
    name: str,
    table: pa.Table,
    split: np.ndarray | None,
    options: ReadOptions,
    on_progress: Progress,
    where: Callable[[int], str],
) -> Dataset:
    """Of these records, of which ``where`` gives each one's place in the source in words."""
    usable = partial(usable_records, options=options, where=where)
    hints = class_names(table.schema)
    label = label_column(name, table, options.label)
    numbers = _numbers_in_text(table[label]) if options.regression else None
    if numbers is not None:
        table = table.set_column(table.column_names.index(label), label, numbers.values)
    labels = raw_labels(name, table, label, class_names=hints.get(label))
    if options.text is not None:
        columns = text_columns(name, table, options, label)
        return _texts(table, label, columns, usable(name, labels, faults={}))
    if options.features is not None:
        vectors = vector_column(name, table, options.features)
        records = usable(name, labels, faults=vectors.faults)
        dataset = records.dataset(
            "features", records.of(vectors.values), columns=vectors.names, raw=_rest(table, label, records)
        )
        return _split(dataset, split)
    image = image_column(name, table, options.image)
    if image is not None:
        images, faults = image_pixels(name, table[image], options, on_progress)
        records = usable(name, labels, faults=faults)
        dataset = records.dataset("images", records.of(images), raw=_rest(table, label, records))
        return _split(dataset, split)
    others = table.drop_columns([label])
    records = usable(name, labels, faults=input_faults(name, others))
    inputs = input_columns(
        name, others if len(records.rows) == len(others) else others.take(pa.array(records.rows))
    )
    if not inputs.names:
        if len(inputs.prose) != 1:
            raise no_inputs(name, inputs)
        return _texts(table, label, inputs.prose, records)
    said = note(table.schema)
    treatments = {THE_FILE: said} if said else {}
    treatments |= inputs.treatments | _said_of_labels(label, records)
    if numbers is not None:
        treatments[label] = f"the target; {numbers.said}"
    dataset = records.dataset("rows", inputs.values, columns=inputs.names, raw=_rest(table, label, records))
    return _split(replace(dataset, treatments=treatments), split)


def _split(dataset: Dataset, split: np.ndarray | None) -> Dataset:
    """With the splits of the table's rows."""
    return dataset if split is None else marked(replace(dataset, split=split[dataset.index]))


def _texts(table: pa.Table, label: str, columns: tuple[str, ...], records: Records) -> Dataset:
    texts = texts_of(records.name, table, columns, records.rows)
    rest = readable(table, label).drop_columns(list(columns)).take(pa.array(records.rows))
    dataset = records.dataset("texts", texts, columns=columns, raw=rest)
    said = note(table.schema)
    treatments = {THE_FILE: said} if said else {}
    treatments |= said_of_empty(texts, columns) | _said_of_labels(label, records)
    return replace(dataset, treatments=treatments)


def _numbers_in_text(values: pa.ChunkedArray) -> Parsed | None:
    """A target that is stored as text, such as with decimal commas."""
    parsed = parsed_text(values) if is_text(values.type) else None
    return parsed if parsed is not None and pa.types.is_floating(parsed.values.type) else None


def _said_of_labels(label: str, records: Records) -> dict[str, str]:
    alike = look_alikes(records.classes)
    return {label: f"the labels; {alike}"} if alike else {}


def _rest(table: pa.Table, label: str, records: Records) -> pa.Table:
    return readable(table, label).take(pa.array(records.rows))


def readable(table: pa.Table, label: str) -> pa.Table:
    """The columns beside the label that a person can read."""
    return table.select(
        [
            column
            for column in table.column_names
            if column != label and not (pa.types.is_nested(kind := table[column].type) or is_image(kind))
        ]
    )


def as_stored(name: str, table: pa.Table, options: ReadOptions, on_progress: Progress = None) -> Stored:
    """:func:`read_table`, with the table as it is stored."""
    dataset = read_table(name, table, options, on_progress)
    label = label_column(name, table, options.label)
    table = _without_dictionaries(without_note(table))
    if dataset.kind != "images":
        return Stored(dataset, table, label)
    image = image_column(name, table, options.image)
    assert image is not None
    return Stored(dataset, table, label, image, PictureColumn(table[image], dataset.index))


def _without_dictionaries(table: pa.Table) -> pa.Table:
    """``datasets`` and CSV know no dictionary columns."""
    for position, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            plain = table.column(position).cast(field.type.value_type)
            table = table.set_column(position, field.with_type(field.type.value_type), plain)
    return table
