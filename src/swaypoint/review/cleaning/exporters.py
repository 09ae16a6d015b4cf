"""What a format of an export is, and all of them by name.

A format is one file: a function that writes :class:`~swaypoint.review.cleaning.records.Records`, entered in
:data:`exporters`, or named by another package's entry point of ``swaypoint.exporters``. From there it is in
``swaypoint export --to``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swaypoint.extending import Registry
from swaypoint.review.cleaning.records import Records


@dataclass(frozen=True)
class Exporter:
    """How records are written in a format.

    Attributes:
        write: to a path that is not there yet, and perhaps further files beside it; with ``folder``, into an
            empty folder that is.
        folder: whether the format is a folder.
        link: the same, with the source's own files linked instead of copied; None where it copies none.
    """

    write: Callable[[Records, Path], None]
    folder: bool = False
    link: Callable[[Records, Path], None] | None = None


exporters: Registry[Exporter] = Registry(
    "format", "swaypoint.exporters", Exporter, home="swaypoint.review.cleaning.formats"
)
