"""Real datasets that scikit-learn ships, by name: ``sklearn:digits``, ``sklearn:wine`` …"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, fingerprint
from swaypoint.errors import InputError, require

PREFIX = "sklearn:"
_LOADERS = {
    "digits": "load_digits",
    "wine": "load_wine",
    "breast_cancer": "load_breast_cancer",
    "iris": "load_iris",
}


def read_builtin(source: str) -> Dataset:
    """One of scikit-learn's embedded datasets; the digits as 8 x 8 images, the others as rows.

    Raises:
        InputError: unknown name.
        MissingExtra: scikit-learn is not installed.
    """
    bunch = _loaded(source)
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(value) for value in bunch.target_names)
    columns: tuple[str, ...] = ()
    images = "images" in bunch
    if images:
        grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        inputs = np.repeat(grey[..., None], 3, axis=3)
    else:
        inputs, columns = bunch.data.astype(np.float32), tuple(map(str, bunch.feature_names))
    return Dataset(
        name=source,
        kind="images" if images else "rows",
        inputs=inputs,
        labels=labels,
        classes=classes,
        columns=columns,
        index=np.arange(len(labels)),
        names=(),
        skipped=(),
        fingerprint=fingerprint(inputs, labels, classes),
    )


def builtin_table(source: str) -> pa.Table:
    """Its columns as scikit-learn gives them, less the pictures, and ``label``, the class's index.

    Raises:
        InputError, MissingExtra: as :func:`read_builtin`.
    """
    bunch = _loaded(source)
    columns = {} if "images" in bunch else dict(zip(bunch.feature_names, bunch.data.T, strict=True))
    return pa.table({**columns, "label": pa.array(bunch.target.astype(np.int64))})


def _loaded(source: str) -> Any:
    name = source.removeprefix(PREFIX)
    if name not in _LOADERS:
        raise InputError(f"unknown dataset {source!r}; expected {PREFIX} and one of {', '.join(_LOADERS)}")
    return getattr(require("sklearn.datasets", "sklearn"), _LOADERS[name])()
