"""Records as a dataset: parquet, CSV, JSON, a saved Hugging Face dataset, a folder of pictures by class."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from swaypoint.data.readers.declared import class_names, declared_features
from swaypoint.errors import InputError, require
from swaypoint.review.cleaning.spreadsheet import write_cells
from swaypoint.review.cleaning.records import Records
from swaypoint.review.cleaning.source import PICTURE

_DTYPES = {"double": "float64", "float": "float32", "halffloat": "float16", "date32[day]": "date32"}
# Not in a folder's name on one of the common systems; "/" and ".." would leave the export's folder.
_NO_FOLDER = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]|^[. ]|[. ]$|^$')
_NAME_BYTES = 200


# -- with types -----------------------------------------------------------------------------------


def write_parquet(records: Records, path: Path) -> None:
    """One file; its metadata tells ``datasets`` of classes and pictures, others pass over it."""
    classes = records.label_columns if _by_index(records) else ()
    chunks = records.chunks(pictures=True)
    schema = _with_features(next(chunks).schema, records, classes)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for chunk in chunks:
            writer.write_table(chunk.cast(schema))


def _by_index(records: Records) -> bool:
    """The source stores labels as indices of its classes, not as other numbers or names."""
    stored, labels = records.stored_labels[1], records.source.dataset.labels
    if not records.items.classes or not pa.types.is_integer(stored.type):
        return False
    return bool((stored.to_numpy() == labels).all())


def write_hugging_face(records: Records, path: Path) -> None:
    """A directory for ``datasets.load_from_disk``: labels as ``ClassLabel``, pictures as ``Image``.

    Raises:
        MissingExtra: ``datasets`` is not installed.
    """
    datasets = require("datasets", "hub")
    classes = records.label_columns if records.items.classes else ()
    chunks = (
        _structured(chunk, records.source.image)
        for chunk in records.chunks(pictures=True, indexed=bool(classes))
    )
    schema = _with_features(next(chunks).schema, records, classes)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        stream = Path(scratch) / "records.arrow"
        with pa.ipc.new_stream(str(stream), schema) as writer:
            for chunk in chunks:
                writer.write_table(chunk.cast(schema))
        # Mapped, not loaded: more pictures than fit in memory pass through.
        datasets.Dataset.from_file(str(stream)).save_to_disk(str(path))


def _structured(chunk: pa.Table, image: str | None) -> pa.Table:
    """Pictures as ``datasets`` holds them, also where the source has bare bytes."""
    if image is None or chunk[image].type == PICTURE:
        return chunk
    values = [value if isinstance(value, dict) else {"bytes": value} for value in chunk[image].to_pylist()]
    return _replaced(chunk, image, pa.array(values, PICTURE))


def _replaced(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def _with_features(schema: pa.Schema, records: Records, classes: tuple[str, ...]) -> pa.Schema:
    """``schema`` with the features of ``datasets`` in its metadata: what the source declares, and what
    follows from the types of other columns.

    Args:
        classes: columns of indices of classes.
    """
    metadata = dict(schema.metadata or {})
    features = {field.name: _feature(field.type) for field in schema}
    features |= {
        name: feature
        for name, feature in declared_features(schema).items()
        if name in features and name not in records.label_columns
    }
    if (image := records.source.image) is not None and features[image].get("_type") != "Image":
        features[image] = {"_type": "Image"}
    names = list(records.items.classes)
    features |= {name: {"names": names, "_type": "ClassLabel"} for name in classes}
    metadata[b"huggingface"] = json.dumps({"info": {"features": features}}).encode()
    return schema.with_metadata(metadata)


def _feature(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_struct(kind):
        return {field.name: _feature(field.type) for field in kind.fields}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "Sequence"}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "Sequence"}
    return {"dtype": _DTYPES.get(str(kind), str(kind)), "_type": "Value"}


# -- as text --------------------------------------------------------------------------------------


def write_csv(records: Records, path: Path) -> None:
    """Classes by name; pictures left out, or as their path; vectors as one column a number."""
    write_cells(path, map(_flat, _readable(records)))


def write_json(records: Records, path: Path) -> None:
    """A list of records, one a line; classes by name; pictures left out, or as their path."""
    with path.open("w", encoding="utf-8") as file:
        file.write("[")
        separator = "\n"
        for chunk in _readable(records):
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


def _readable(records: Records) -> Iterator[pa.Table]:
    """Without binary columns, classes by name; the first table is empty."""
    image = records.source.image
    for chunk in records.chunks(pictures=False):
        if image is not None and image in chunk.column_names and _has_paths(chunk[image].type):
            chunk = _replaced(chunk, image, pc.struct_field(chunk[image], "path"))
        chunk = chunk.drop_columns([field.name for field in chunk.schema if _is_binary(field.type)])
        for name, classes in _class_columns(chunk, records).items():
            chunk = _replaced(chunk, name, _named(chunk[name], classes))
        yield chunk


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


def _flat(table: pa.Table) -> pa.Table:
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


# -- pictures by class ----------------------------------------------------------------------------


def write_image_folder(records: Records, path: Path, *, link: bool = False) -> None:
    """``CLASS/FILE`` by the label after the policy, and ``metadata.csv``, as ``datasets`` reads it.

    Args:
        link: link files instead of copying them, where the file system can.

    Raises:
        InputError: points are no pictures, have no classes, or a class's name is none for a folder.
    """
    check_pictures(records, "imagefolder")
    for name in records.items.classes:
        _check_folder_name(name)
    names = _places(records)
    for row, name in names.items():
        (path / name).parent.mkdir(exist_ok=True)
        put_picture(records, row, path / name, link=link)
    metadata = pa.concat_tables(map(_flat, _readable(records)))
    if records.source.image in metadata.column_names:
        metadata = metadata.drop_columns([records.source.image])
    metadata = metadata.rename_columns([_no_file(name) for name in metadata.column_names])
    # "./": a folder's name that starts like a formula stays a path, without an apostrophe.
    files = pa.array([f"./{names[row]}" for row in records.rows.tolist()], pa.string())
    write_cells(path / "metadata.csv", iter([_types_first(metadata.add_column(0, "file_name", files))]))


def check_pictures(records: Records, what: str) -> None:
    """Refuse what the format ``what`` cannot show.

    Raises:
        InputError: points are no pictures, or have no classes.
    """
    name = records.source.path
    if records.source.pictures is None:
        raise InputError(f"{name} holds no pictures, which --to {what} is for; choose --to parquet or csv")
    if not records.items.classes:
        raise InputError(f"{name} has real values for labels, and --to {what} needs classes; choose parquet")


def _check_folder_name(name: str) -> None:
    if _NO_FOLDER.search(name) or len(name.encode()) > _NAME_BYTES:
        raise InputError(
            f"the class {name!r} cannot name a folder: empty, too long, with a dot or space at an end, or one"
            ' of / \\ < > : " | ? * in it; choose --to parquet or hf'
        )


def _places(records: Records) -> dict[int, str]:
    """``CLASS/FILE`` by row. Files keep their name, but a moved one whose name is taken gets its id."""
    source, labels = records.source, {row: records.label(row) for row in records.rows.tolist()}
    own, pictures = source.dataset.names, source.pictures
    assert pictures is not None
    moved = {row for row, label in labels.items() if own and own[row].split("/")[0] != label}
    places: dict[int, str] = {}
    taken: set[str] = set()
    for row in sorted(labels, key=lambda row: row in moved):
        name = own[row].split("/")[1] if own else source.ids[row] + pictures.suffix(row)
        place = f"{labels[row]}/{name}"
        if place.casefold() in taken and row in moved:
            place = f"{labels[row]}/{Path(name).stem}-{source.ids[row]}{Path(name).suffix}"
        taken.add(place.casefold())  # some file systems take Cat.png for cat.png
        places[row] = place
    return places


def put_picture(records: Records, row: int, file: Path, *, link: bool = False) -> None:
    """The original file or its bytes at ``file``."""
    assert records.source.pictures is not None
    original = records.source.pictures.file(row)
    if original is None:
        file.write_bytes(records.source.pictures.encoded(row))
        return
    if link:
        try:
            os.link(original.resolve(), file)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(original, file)


def _no_file(name: str) -> str:
    """``datasets`` takes every column called ``…file_name`` for pictures, and makes one called ``image``."""
    return "image_column" if name == "image" else re.sub(r"(^|_)file_name(s?)$", r"\1file\2", name)


def _types_first(table: pa.Table) -> pa.Table:
    """Rows that show each text column to be text come first.

    ``datasets`` takes the columns' types from the first 10,000 rows: a column that is empty until then,
    as the reviewers' are, would be one of numbers.
    """
    first = []
    for column in table.columns:
        if pa.types.is_string(column.type):
            telling = pc.match_substring_regex(column, r"[^0-9.\s]").fill_null(False)
            first += np.flatnonzero(telling.to_numpy())[:1].tolist()
    order = list(dict.fromkeys([*first, *range(len(table))]))
    return table.take(pa.array(order, pa.int64()))
