"""Records as text: CSV and JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.readers.declared import class_names
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.records import Records
from swaypoint.review.cleaning.spreadsheet import write_cells


def write_csv(records: Records, path: Path) -> None:
    """Classes by name; pictures left out, or as their path; vectors as one column a number."""
    write_cells(path, map(flat, readable(records)))


def write_json(records: Records, path: Path) -> None:
    """A list of records, one a line; classes by name; pictures left out, or as their path."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        separator = "\n"
        for chunk in readable(records):
            for row in chunk.to_pylist():
                file.write(separator + json.dumps(_finite(row), ensure_ascii=False, default=str))
                separator = ",\n"
        file.write("\n]\n")


def _finite(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list) else value


def readable(records: Records) -> Iterator[pa.Table]:
    """Without binary columns, classes by name; the first table is empty."""
    image = records.source.image
    for chunk in records.chunks(pictures=False):
        if image is not None and image in chunk.column_names and _has_paths(chunk[image].type):
            chunk = _replaced(chunk, image, pc.struct_field(chunk[image], "path"))
        chunk = chunk.drop_columns([field.name for field in chunk.schema if _is_binary(field.type)])
        for name, classes in _class_columns(chunk, records).items():
            chunk = _replaced(chunk, name, _named(chunk[name], classes))
        yield chunk


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _has_paths(kind: pa.DataType) -> bool:
    return pa.types.is_struct(kind) and kind.get_field_index("path") >= 0


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_is_binary(field.type) for field in kind.fields)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _class_columns(chunk: pa.Table, records: Records) -> dict[str, tuple[str, ...]]:
    """Columns of class indices, by what the source declares."""
    declared = class_names(chunk.schema)
    if records.source.label in declared:
        declared |= dict.fromkeys(records.label_columns, declared[records.source.label])
    return {
        name: classes
        for name, classes in declared.items()
        if name in chunk.column_names and pa.types.is_integer(chunk[name].type)
    }


def _named(values: pa.ChunkedArray, classes: tuple[str, ...]) -> pa.Array:
    """``datasets`` writes -1 where there is no label."""
    known = (value is not None and 0 <= value < len(classes) for value in values.to_pylist())
    names = [classes[v] if k else None for v, k in zip(values.to_pylist(), known, strict=True)]
    return pa.array(names, pa.string())


def flat(table: pa.Table) -> pa.Table:
    """Only columns that a CSV file can hold."""
    columns: dict[str, Any] = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if pa.types.is_fixed_size_list(kind):
            values = np.array(column.to_pylist()).reshape(-1, kind.list_size)
            columns |= {f"{name} {i}": pa.array(values[:, i], kind.value_type) for i in range(kind.list_size)}
        elif pa.types.is_nested(kind):
            texts = (None if v is None else json.dumps(_finite(v), default=str) for v in column.to_pylist())
            columns[name] = pa.array(texts, pa.string())
        elif pa.types.is_null(kind) or pa.types.is_decimal(kind) or pa.types.is_duration(kind):
            columns[name] = column.cast(pa.string())
        else:
            columns[name] = column
    return pa.table(columns)


exporters.register("csv", Exporter(write_csv))
exporters.register("json", Exporter(write_json))
