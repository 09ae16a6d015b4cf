"""Finished pieces of the toy study on disk: one parquet file each, reused while its settings are equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.folder import write_table

_KEY = b"cell"


@dataclass(frozen=True)
class Cell:
    """What one problem and seed gave: ``measured``, plain numbers, and ``points``, one row a point."""

    measured: dict[str, Any]
    points: pa.Table


def cell(path: Path, settings: dict[str, Any], make: Callable[[], Cell]) -> Cell:
    """The cell of ``path`` if it was made with these ``settings``, else a new one, written there.

    Settings and measurements stand in the file's metadata: they come and go with the points.
    """
    settings = json.loads(json.dumps(settings))  # tuples become lists, as they do in the file
    found = _read(path, settings)
    if found is not None:
        return found
    made = make()
    text = json.dumps({"settings": settings, "measured": made.measured})
    write_table(path, made.points.replace_schema_metadata({_KEY: text.encode()}))
    return made


def _read(path: Path, settings: dict[str, Any]) -> Cell | None:
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        written = json.loads((table.schema.metadata or {})[_KEY])
    except (OSError, pa.ArrowInvalid, KeyError, ValueError):
        return None  # not ours, or damaged: it is made again
    if written.get("settings") != settings:
        return None
    return Cell(written["measured"], table.replace_schema_metadata())
