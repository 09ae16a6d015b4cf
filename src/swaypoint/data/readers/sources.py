"""From a path or hub name to a :class:`Dataset`: one reader a kind of source."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.arrays import Faults, RawLabels, Records, listed, number_faults, usable_records
from swaypoint.data.readers.images import Encoded, Progress, decoded_images, pixel_images, read_image_folder
from swaypoint.data.readers.tables import input_columns, label_column, raw_labels, vector_column
from swaypoint.errors import InputError, reading, require
from swaypoint.folder.documents import misfit, read_parquet, require_file, require_memory

_CHUNK = 1000
_SAVED = ("dataset_info.json", "state.json", "dataset_dict.json")
_SPLITS = ("train", "test", "validation", "valid", "dev")
_REPAIR = "check that the file is whole, and fetch or write it again"


def read_dataset(
    source: str | Path, *, options: ReadOptions | None = None, on_progress: Progress = None
) -> Dataset:
    """Read and check a labelled dataset.

    Args:
        source: a directory of class subfolders with images, of parquet files, or of a saved Hugging
            Face dataset; a ``.parquet``, ``.csv``, ``.tsv`` or ``.npz`` file; or a hub name
            ``owner/name`` where no such path exists.
        on_progress: called with (records done, records in all) while images are decoded.

    Raises:
        InputError: the source is missing, damaged, or no labelled dataset; one line with the remedy.
        MissingExtra: the source needs Pillow or ``datasets``.
    """
    options = options or ReadOptions()
    path, name = Path(source), str(source)
    if is_npz(path):
        return npz_dataset(name, npz_arrays(path), options)
    table = stored_table(source, options)
    if table is None:
        return read_image_folder(path, options, name=name, on_progress=on_progress)
    return read_table(name, table, options, on_progress)


def is_npz(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and os.path.isfile(path)


def stored_table(source: str | Path, options: ReadOptions) -> pa.Table | None:
    """The records of a file of a table, a directory of parquet files, a saved Hugging Face dataset or a
    hub name, as they are stored; None of a directory that is none of these.

    Where reading fewer is cheaper, only the first ``options.limit`` of them.

    Raises:
        InputError: the source is missing, damaged, or of another kind.
        MissingExtra: the source needs ``datasets``.
    """
    _check_options(options)
    path, name = Path(source), str(source)
    # Not Path.is_dir() and its like, which raise for a name too long.
    if os.path.isdir(name):
        return _directory_table(path, options)
    if not os.path.exists(name):
        if name.count("/") == 1 and not path.suffix and not name.startswith((".", "/")):
            return _hub_table(name, options)
        raise InputError(f"{name} does not exist; expected a dataset's file, directory or hub name")
    require_file(path, "expected a dataset's file, directory or hub name")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(path, _REPAIR, limit=options.limit)
    if suffix in (".csv", ".tsv"):
        return _read_text(path, "\t" if suffix == ".tsv" else ",")
    raise InputError(
        f"{name}: unknown kind of file {suffix or '(no extension)'}; expected .parquet, .csv, .tsv,"
        " .npz, or a directory"
    )


def _check_options(options: ReadOptions) -> None:
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit is {options.limit}; expected a positive number of records")
    if options.image_size is not None and options.image_size < 1:
        raise InputError(f"image_size is {options.image_size}; expected a positive number of pixels")


def _read_text(path: Path, delimiter: str) -> pa.Table:
    if path.stat().st_size == 0:
        raise InputError(f"{path}: it is empty; expected a header and at least one record per class")
    with reading(str(path), "a table", "check its delimiter and that every line has as many fields"):
        options = pa_csv.ConvertOptions(strings_can_be_null=True)
        table = pa_csv.read_csv(
            path, parse_options=pa_csv.ParseOptions(delimiter=delimiter), convert_options=options
        )
        fields = list(zip(table.column_names, table.schema.types, strict=True))
    for column, kind in fields:
        if pa.types.is_binary(kind):
            raise InputError(f"{path}: column {column!r} is not UTF-8 text; save the file as UTF-8")
    return table


def read_table(name: str, table: pa.Table, options: ReadOptions, on_progress: Progress = None) -> Dataset:
    """An Arrow table with an image column, a vector column (``options.features``), or plain columns.

    Raises:
        InputError: as :func:`read_dataset`.
    """
    if table.num_rows == 0:
        raise InputError(f"{name}: it holds no records; expected at least one per class")
    if options.limit is not None:
        table = table.slice(0, options.limit)
    if len(set(table.column_names)) < table.num_columns:
        raise InputError(f"{name}: two columns have the same name; rename one")
    hints = class_names(table.schema)
    label = label_column(name, table, options.label)
    labels = raw_labels(name, table, label, class_names=hints.get(label))
    if options.features is not None:
        vectors = vector_column(name, table, options.features)
        records = usable_records(name, labels, faults=vectors.faults, options=options)
        return records.dataset(
            "features", records.of(vectors.values), columns=vectors.names, raw=_rest(table, label, records)
        )
    image = image_column(name, table, options.image)
    if image is not None:
        images, faults = image_pixels(name, table[image], options, on_progress)
        records = usable_records(name, labels, faults=faults, options=options)
        return records.dataset("images", records.of(images), raw=_rest(table, label, records))
    inputs = input_columns(name, table, skip=(label,), options=options)
    records = usable_records(name, labels, faults=inputs.faults, options=options)
    values, columns = inputs.without_empty_categories(records.of(inputs.values))
    return records.dataset("rows", values, columns=columns, raw=_rest(table, label, records))


def _rest(table: pa.Table, label: str, records: Records) -> pa.Table:
    return readable(table, label).take(pa.array(records.rows))


def readable(table: pa.Table, label: str) -> pa.Table:
    """The columns beside the label that a person can read."""
    return table.select(
        [
            column
            for column in table.column_names
            if column != label and not (pa.types.is_nested(kind := table[column].type) or _is_image(kind))
        ]
    )


def declared_features(schema: pa.Schema) -> dict[str, dict[str, Any]]:
    """What Hugging Face's schema metadata declares, by column; nothing where it is of another kind."""
    stored = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(stored)["info"]["features"] if stored else {}
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}
    if not isinstance(features, dict):
        return {}
    return {column: feature for column, feature in features.items() if isinstance(feature, dict)}


def class_names(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Class names that Hugging Face's schema metadata declares, by column.

    Where they are no different texts the labels name themselves.
    """
    declared: dict[str, Any] = {
        column: feature.get("names")
        for column, feature in declared_features(schema).items()
        if feature.get("_type") == "ClassLabel"
    }
    return {
        column: tuple(names)
        for column, names in declared.items()
        if misfit(names, [str]) is None and len(set(names)) == len(names)
    }


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(field.name == "bytes" for field in kind.fields)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def image_column(name: str, table: pa.Table, wanted: str | None) -> str | None:
    """The column of encoded pictures: the one asked for, or the only one; None where there is none.

    Raises:
        InputError: no such column, or several.
    """
    if wanted is not None:
        if wanted not in table.column_names:
            raise InputError(f"{name}: no column {wanted!r}; it has {listed(table.column_names)}")
        if not _is_image(table[wanted].type):
            raise InputError(f"{name}: column {wanted!r} has type {table[wanted].type}; expected images")
        return wanted
    images = [column for column in table.column_names if _is_image(table[column].type)]
    if len(images) > 1:
        raise InputError(f"{name}: several image columns ({listed(images)}); say which with --image")
    return images[0] if images else None


def encoded_pictures(column: pa.Array | pa.ChunkedArray) -> list[Encoded]:
    """Of a column that :func:`image_column` named."""
    return [value["bytes"] if isinstance(value, dict) else value for value in column.to_pylist()]


def image_pixels(
    name: str, column: pa.ChunkedArray, options: ReadOptions, on_progress: Progress = None
) -> tuple[np.ndarray, Faults]:
    """A column of encoded pictures; see :func:`~swaypoint.data.readers.images.decoded_images`."""

    def chunks() -> Iterator[list[Encoded]]:
        for start in range(0, len(column), _CHUNK):
            yield encoded_pictures(column.slice(start, _CHUNK))

    return decoded_images(name, chunks, len(column), image_size=options.image_size, on_progress=on_progress)


# -- npz ------------------------------------------------------------------------------------------


def npz_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of the archive by name.

    Raises:
        InputError: no archive of plain arrays.
    """
    name = str(path)
    arrays: dict[str, np.ndarray] = {}
    with reading(
        name, "an .npz of plain arrays", "write it again with numpy.savez(path, features=…, labels=…)"
    ):
        if not zipfile.is_zipfile(path):
            raise InputError(f"{name}: not an .npz archive, or cut short; {_REPAIR}")
        with zipfile.ZipFile(path) as archive:
            require_memory(name, sum(member.file_size for member in archive.infolist()), "its arrays")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
            strange = [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]
            if strange:
                raise InputError(f"{name}: {listed(strange)} are not arrays; {_REPAIR}")
    return arrays


def npz_keys(name: str, arrays: dict[str, np.ndarray], options: ReadOptions) -> tuple[str, str]:
    """Which of ``arrays`` are the features and the labels.

    Raises:
        InputError: there are none.
    """
    inputs = _array(name, arrays, options.features, ("features", "X", "x"), "features")
    return inputs, _array(name, arrays, options.label, ("labels", "y"), "label")


def npz_dataset(name: str, arrays: dict[str, np.ndarray], options: ReadOptions) -> Dataset:
    """Features (n, D) or pictures (n, H, W, 3), and labels (n,).

    Raises:
        InputError: as :func:`read_dataset`.
        MissingExtra: pictures must be resized, and Pillow is not installed.
    """
    _check_options(options)
    features, label = npz_keys(name, arrays, options)
    inputs, values = arrays[features], arrays[label]
    if values.ndim != 1 or inputs.ndim < 2 or len(values) != len(inputs):
        raise InputError(
            f"{name}: features have shape {inputs.shape} and labels {values.shape}; expected (n, D) or"
            " (n, H, W, 3) and (n,)"
        )
    if values.dtype.kind not in "biufUS" or inputs.dtype.kind not in "biuf":
        raise InputError(f"{name}: features are {inputs.dtype}, labels {values.dtype}; expected numbers")
    if options.limit is not None:
        inputs, values = inputs[: options.limit], values[: options.limit]
    if values.dtype.kind in "US":
        with reading(name, "UTF-8 labels", "save them as text"):
            text = np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
        values = text.astype(object)
    labels = RawLabels("the label", values, np.zeros(len(values), dtype=bool))
    if inputs.ndim == 2:
        columns = tuple(f"feature {i}" for i in range(inputs.shape[1]))
        records = usable_records(name, labels, faults=number_faults(inputs, columns), options=options)
        with np.errstate(over="ignore"):
            return records.dataset("features", records.of(inputs.astype(np.float32)), columns=columns)
    if inputs.dtype != np.uint8 or inputs.ndim > 4 or (inputs.ndim == 4 and inputs.shape[3] not in (1, 3)):
        raise InputError(
            f"{name}: features have shape {inputs.shape} and dtype {inputs.dtype}; images are (n, H, W) or"
            " (n, H, W, 1 or 3) uint8"
        )
    records = usable_records(name, labels, faults={}, options=options)
    return records.dataset("images", pixel_images(records.of(inputs), options.image_size))


def _array(
    name: str, arrays: dict[str, np.ndarray], wanted: str | None, usual: tuple[str, ...], option: str
) -> str:
    for key in (wanted,) if wanted is not None else usual:
        if key in arrays:
            return key
    missing = repr(wanted) if wanted is not None else " or ".join(usual)
    raise InputError(f"{name}: no array {missing}; it has {listed(list(arrays))}; say which with --{option}")


# -- directories and the hub ----------------------------------------------------------------------


def is_saved(path: Path) -> bool:
    """A directory that ``datasets`` saved."""
    return any((path / marker).is_file() for marker in _SAVED)


def parquet_inside(folder: Path) -> list[Path]:
    """The parquet files of a folder, else of its ``data``, in the order of their records; those of its other
    folders belong to neither."""
    return sorted(folder.glob("*.parquet")) or sorted(folder.glob("data/*.parquet"))


def parquet_files(path: Path, split: str) -> list[Path]:
    """Those of a split in a directory, in the order of their records; [] where there are none at all.

    Raises:
        InputError: there are only those of other splits.
    """
    parquet = parquet_inside(path)
    chosen = set(of_split(str(path), [file.name for file in parquet], split))
    return [file for file in parquet if file.name in chosen]


def of_split(name: str, files: Sequence[str], split: str) -> list[str]:
    """Those of ``files`` whose names begin with ``split``; all where no name begins with one.

    Raises:
        InputError: there are only those of other splits.
    """
    if not any(file.startswith((split, *_SPLITS)) for file in files):
        return list(files)
    chosen = [file for file in files if file.startswith(split)]
    if not chosen:
        raise InputError(
            f"{name}: no parquet files of the split {split!r}; it has {listed(list(files))};"
            " choose with --split"
        )
    return chosen


def _directory_table(path: Path, options: ReadOptions) -> pa.Table | None:
    name = str(path)
    if is_saved(path):
        datasets = require("datasets", "hub")
        with reading(name, "a saved Hugging Face dataset", "save it again with save_to_disk"):
            loaded = datasets.load_from_disk(name)
        return _rows_table(name, loaded, options)
    files = parquet_files(path, options.split)
    if not files:
        return None
    with reading(name, "a directory of parquet files", _REPAIR):
        tables: list[pa.Table] = []
        for file in files:
            missing = None if options.limit is None else options.limit - sum(map(len, tables))
            if missing is not None and missing <= 0:
                break
            tables.append(read_parquet(file, _REPAIR, limit=missing))
        alike = all(table.column_names == tables[0].column_names for table in tables)
        return pa.concat_tables(tables, promote_options="permissive" if alike else "none")


def _hub_table(name: str, options: ReadOptions) -> pa.Table:
    datasets = require("datasets", "hub")
    with reading(name, "a path that exists, nor a dataset of the Hugging Face hub", "check name and network"):
        loaded = datasets.load_dataset(name, split=options.split)
    return _rows_table(name, loaded, options)


def _rows_table(name: str, loaded: Any, options: ReadOptions) -> pa.Table:
    """A ``datasets.Dataset``, or the split of a ``DatasetDict``."""
    if hasattr(loaded, "keys"):
        if options.split not in loaded:
            raise InputError(f"{name}: no split {options.split!r}; it has {listed(list(loaded))}")
        loaded = loaded[options.split]
    with reading(name, "a Hugging Face dataset", "save it again with save_to_disk"):
        table = (
            loaded.with_format("arrow")[:]
            if options.limit is None
            else loaded.with_format("arrow")[: options.limit]
        )
    metadata = {b"huggingface": json.dumps({"info": {"features": loaded.features.to_dict()}}).encode()}
    return table.replace_schema_metadata(metadata)
