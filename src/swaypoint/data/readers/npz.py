"""An ``.npz`` archive of plain arrays: features or pictures, labels, and whatever stands beside them."""

from __future__ import annotations

import os
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.arrays import RawLabels, listed, number_faults, usable_records
from swaypoint.data.readers.base import Reader, readers
from swaypoint.data.readers.images import Progress, pixel_images
from swaypoint.data.readers.stored import PicturePixels, Stored
from swaypoint.data.sampling import groups_of, sample
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import require_memory

Arrays = dict[str, np.ndarray]
_REPAIR = "check that the file is whole, and fetch or write it again"


def _matches(source: str) -> bool:
    return Path(source).suffix.lower() == ".npz" and os.path.isfile(source)


def _read(source: str, options: ReadOptions, on_progress: Progress) -> Dataset:
    return _dataset(source, npz_arrays(source), options)


def _stored(source: str, options: ReadOptions, on_progress: Progress) -> Stored:
    arrays = npz_arrays(source)
    dataset = _dataset(source, arrays, options)
    features, label = _keys(source, arrays, options)
    images = dataset.kind == "images"
    columns = {
        key: column
        for key, array in arrays.items()
        if not (images and key == features) and (column := _column(array, len(arrays[label]))) is not None
    }
    table = pa.table(columns)
    if not images:
        return Stored(dataset, table, label)
    return Stored(dataset, table, label, features, PicturePixels(arrays[features], dataset.index))


def _column(array: np.ndarray, n: int) -> pa.Array | None:
    """An array of an archive as a column; None where it has no value, or no vector, a record."""
    if array.ndim not in (1, 2) or len(array) != n:
        return None
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim == 1:
        return pa.array(array)
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(array).ravel()), array.shape[1])


def npz_arrays(source: str) -> Arrays:
    """Every array of the archive by name.

    Raises:
        InputError: no archive of plain arrays.
    """
    arrays: Arrays = {}
    with reading(
        source, "an .npz of plain arrays", "write it again with numpy.savez(path, features=…, labels=…)"
    ):
        if not zipfile.is_zipfile(source):
            raise InputError(f"{source}: not an .npz archive, or cut short; {_REPAIR}")
        with zipfile.ZipFile(source) as archive:
            require_memory(source, sum(member.file_size for member in archive.infolist()), "its arrays")
        with np.load(source, allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
            strange = [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]
            if strange:
                raise InputError(f"{source}: {listed(strange)} are not arrays; {_REPAIR}")
    return arrays


def _keys(name: str, arrays: Arrays, options: ReadOptions) -> tuple[str, str]:
    """Which of ``arrays`` are the features and the labels.

    Raises:
        InputError: there are none.
    """
    inputs = _key(name, arrays, options.features, ("features", "X", "x"), "features")
    return inputs, _key(name, arrays, options.label, ("labels", "y"), "label")


def _key(name: str, arrays: Arrays, wanted: str | None, usual: tuple[str, ...], option: str) -> str:
    for key in (wanted,) if wanted is not None else usual:
        if key in arrays:
            return key
    missing = repr(wanted) if wanted is not None else " or ".join(usual)
    raise InputError(f"{name}: no array {missing}; it has {listed(list(arrays))}; say which with --{option}")


def _dataset(name: str, arrays: Arrays, options: ReadOptions) -> Dataset:
    """Features (n, D) or pictures (n, H, W, 3), and labels (n,).

    Raises:
        InputError: as :func:`~swaypoint.data.readers.sources.read_dataset`.
        MissingExtra: pictures must be resized, and Pillow is not installed.
    """
    features, label = _keys(name, arrays, options)
    inputs, values = arrays[features], arrays[label]
    if values.ndim != 1 or inputs.ndim < 2 or len(values) != len(inputs):
        raise InputError(
            f"{name}: features have shape {inputs.shape} and labels {values.shape}; expected (n, D) or"
            " (n, H, W, 3) and (n,)"
        )
    if values.dtype.kind not in "biufUS" or inputs.dtype.kind not in "biuf":
        raise InputError(f"{name}: features are {inputs.dtype}, labels {values.dtype}; expected numbers")
    if options.limit is not None and options.spread and options.limit < len(values):
        rows = sample(groups_of(values, classes=not options.regression), options.limit)
        some = {**arrays, features: inputs[rows], label: values[rows]}
        found = _dataset(name, some, replace(options, limit=None))
        return replace(found, index=rows[found.index], of=len(values))
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
    return records.dataset(
        "images", pixel_images(records.of(inputs), options.image_size, options.largest_side)
    )


NPZ = readers.register("npz", Reader(_matches, _read, _stored))
