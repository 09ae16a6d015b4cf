"""Finished pieces of a study on disk: one parquet file each, reused while its settings are equal."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.folder.writing import write_table

_KEY = b"cell"


@dataclass(frozen=True)
class Cell:
    """What one piece gave: ``measured``, plain numbers, and ``points``, one row a point."""

    measured: dict[str, Any]
    points: pa.Table


def cell(path: Path, settings: dict[str, Any], make: Callable[[], Cell]) -> Cell:
    """The cell of ``path`` if it was made with these ``settings``, else a new one, written there.

    Settings and measurements stand in the file's metadata: they come and go with the points.
    """
    settings = json.loads(json.dumps(settings))  # tuples become lists, as they do in the file
    found = read(path)
    if found is not None and found[0] == settings:
        return found[1]
    made = make()
    text = json.dumps({"settings": settings, "measured": made.measured})
    write_table(path, made.points.replace_schema_metadata({_KEY: text.encode()}))
    return made


def read(path: Path) -> tuple[dict[str, Any], Cell] | None:
    """The settings and the cell of ``path``; None: not there, not ours, or damaged."""
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        written = json.loads((table.schema.metadata or {})[_KEY])
        return written["settings"], Cell(written["measured"], table.replace_schema_metadata())
    except (OSError, pa.ArrowInvalid, KeyError, ValueError):
        return None
