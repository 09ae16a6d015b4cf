"""Real datasets that scikit-learn ships, by name: ``sklearn:digits``, ``sklearn:wine`` …"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions, marked
from swaypoint.data.readers.base import Reader, readers
from swaypoint.data.readers.declared import with_class_names
from swaypoint.data.readers.images import Progress
from swaypoint.data.readers.stored import PicturePixels, Stored
from swaypoint.data.sampling import sampled
from swaypoint.errors import InputError, require

PREFIX = "sklearn:"
_LOADERS = {
    "digits": "load_digits",
    "wine": "load_wine",
    "breast_cancer": "load_breast_cancer",
    "iris": "load_iris",
}


def _matches(source: str) -> bool:
    return source.startswith(PREFIX)


def _read(source: str, options: ReadOptions, on_progress: Progress) -> Dataset:
    """The digits as 8 x 8 images, the others as rows."""
    return _chosen(_dataset(source, _loaded(source)), options)


def _stored(source: str, options: ReadOptions, on_progress: Progress) -> Stored:
    """Its columns as scikit-learn gives them, less the pictures, and ``label``, the class's index."""
    bunch = _loaded(source)
    dataset = _dataset(source, bunch)
    images = dataset.kind == "images"
    columns = {} if images else dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    table = pa.table({**columns, "label": pa.array(bunch.target.astype(np.int64))})
    table = with_class_names(table, {"label": dataset.classes})
    chosen = _chosen(dataset, options)
    if not images:
        return Stored(chosen, table, "label")
    return Stored(chosen, table, "label", "image", PicturePixels(dataset.inputs, chosen.index))


def _chosen(dataset: Dataset, options: ReadOptions) -> Dataset:
    return sampled(dataset, options.limit) if options.spread and options.limit is not None else dataset


def _dataset(source: str, bunch: Any) -> Dataset:
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(value) for value in bunch.target_names)
    columns: tuple[str, ...] = ()
    images = "images" in bunch
    if images:
        grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        inputs = np.repeat(grey[..., None], 3, axis=3)
    else:
        inputs, columns = bunch.data.astype(np.float32), tuple(map(str, bunch.feature_names))
    found = Dataset(
        name=source,
        kind="images" if images else "rows",
        inputs=inputs,
        labels=labels,
        classes=classes,
        columns=columns,
        index=np.arange(len(labels)),
        names=(),
        skipped=(),
        fingerprint="",
    )
    return marked(found)


def _loaded(source: str) -> Any:
    name = source.removeprefix(PREFIX)
    if name not in _LOADERS:
        raise InputError(f"unknown dataset {source!r}; expected {PREFIX} and one of {', '.join(_LOADERS)}")
    return getattr(require("sklearn.datasets", "sklearn"), _LOADERS[name])()


BUILTIN = readers.register("sklearn", Reader(_matches, _read, _stored))
