"""What every estimator asks its questions of, and the list of estimators.

An estimator is one file: a function of a :class:`TrainedModel`, entered with :func:`register`. From
there it is in ``swaypoint.methods``, in ``swaypoint audit --score`` and in the comparison table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from swaypoint.scoring.trained_model import TrainedModel


@dataclass(frozen=True)
class Method:
    """An estimator.

    Attributes:
        name: as given to ``--score`` and ``swaypoint.methods``.
        source: the paper.
        score: of each training point, ``(n,)`` float64, dataset order; large: look at it first. None
            for methods that only compare points with test points.
        on: of each training point on each test point, ``(n_test, n)`` float64; positive: a proponent
            (removing it raises the test loss). None for methods without test points.
        pointwise: the score of a point hangs on the others through the head and its inverse Hessian alone, so
            that it is computed by the shard where the data are larger than memory.
    """

    name: str
    source: str
    summary: str
    score: Callable[[TrainedModel], np.ndarray] | None = None
    on: Callable[[TrainedModel, Any], np.ndarray] | None = None
    pointwise: bool = False


_METHODS: dict[str, Method] = {}
methods: Mapping[str, Method] = MappingProxyType(_METHODS)


def register(method: Method) -> Method:
    """Enter ``method`` into :data:`methods`.

    Raises:
        ValueError: the name is taken.
    """
    if method.name in _METHODS:
        raise ValueError(f"there already is a method {method.name!r}")
    _METHODS[method.name] = method
    return method
