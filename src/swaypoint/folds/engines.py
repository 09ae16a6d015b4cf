"""The engines by name: where a fold runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swaypoint.errors import InputError
from swaypoint.folds.base import Fold
from swaypoint.folds.in_process import InProcess

IN_PROCESS = "in-process"


@contextmanager
def engine(name: str, device: str = "cpu") -> Iterator[Fold]:
    """The fold called ``in-process``, ``ray`` or ``ray://HOST:PORT``, left again at the end.

    Raises:
        InputError: an unknown name, or no such cluster.
        MissingExtra: Ray is not installed.
    """
    if name == IN_PROCESS:
        yield InProcess(device)
        return
    if name != "ray" and not name.startswith("ray://"):
        raise InputError(f"engine is {name!r}; expected {IN_PROCESS}, ray, or ray://HOST:PORT")
    from swaypoint.folds.ray_cluster import RayCluster

    cluster = RayCluster(None if name == "ray" else name, gpus=1 if device.startswith("cuda") else 0)
    try:
        yield cluster
    finally:
        cluster.close()
