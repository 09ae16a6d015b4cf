"""The engines by name: where a fold runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from swaypoint.data.folds.base import Fold
from swaypoint.data.folds.in_process import InProcess
from swaypoint.errors import InputError

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
    from swaypoint.data.folds.ray_cluster import RayCluster

    cluster = RayCluster(None if name == "ray" else name, gpus=1 if device.startswith("cuda") else 0)
    try:
        yield cluster
    finally:
        cluster.close()
