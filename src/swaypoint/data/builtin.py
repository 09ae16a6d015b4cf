"""Real datasets that scikit-learn ships, by name: ``sklearn:digits``, ``sklearn:wine`` …"""

from __future__ import annotations

import numpy as np

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
    name = source.removeprefix(PREFIX)
    if name not in _LOADERS:
        raise InputError(f"unknown dataset {source!r}; expected {PREFIX} and one of {', '.join(_LOADERS)}")
    bunch = getattr(require("sklearn.datasets", "sklearn"), _LOADERS[name])()
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(value) for value in bunch.target_names)
    columns: tuple[str, ...] = ()
    if name == "digits":
        grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)
        inputs = np.repeat(grey[..., None], 3, axis=3)
    else:
        inputs, columns = bunch.data.astype(np.float32), tuple(map(str, bunch.feature_names))
    return Dataset(
        name=source,
        kind="images" if name == "digits" else "rows",
        inputs=inputs,
        labels=labels,
        classes=classes,
        columns=columns,
        index=np.arange(len(labels)),
        names=(),
        skipped=(),
        fingerprint=fingerprint(inputs, labels, classes),
    )
