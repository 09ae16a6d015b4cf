"""What records hold, as their audit keeps it: to tell exact copies, and near ones."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.findings.duplicates.nearest import near_rows
from swaypoint.findings.duplicates.pictures import near_pictures, sketched
from swaypoint.findings.duplicates.texts import near_texts
from swaypoint.findings.regions.folder import inputs_file, is_tabular
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.tensors import map_tensor

_CHUNK = 16_384


def contents(folder: AuditFolder) -> np.ndarray | None:
    """Of each record a number that those of the same content share, ``(n,)`` int64; None where the folder
    does not keep it."""
    kept = inputs_file(folder)
    place = kept[0] if kept is not None else folder.path / "items.arrow"
    if (is_tabular(folder.manifest()) and kept is None) or not place.is_file():
        return None
    state = place.stat()  # the finders of exact and of near copies ask one after the other
    return _contents(folder, place, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1)
def _contents(folder: AuditFolder, place: Path, changed: int, size: int) -> np.ndarray | None:
    if is_tabular(folder.manifest()):  # what a person reads of a row is rounded
        values = _values(folder)
        assert values is not None
        return hashed(
            row.tobytes() for start in range(0, len(values), _CHUNK) for row in values[start : start + _CHUNK]
        )
    _, items = folder.items()
    column = items["picture" if folder.manifest().data.kind == "images" else "row"]
    if column.null_count or len(column) != len(folder.scores()):
        return None
    return hashed(value.as_buffer() for value in column)


def near_copies(folder: AuditFolder, rows: np.ndarray) -> np.ndarray:
    """Pairs of near copies among the records ``rows`` (m,), whose contents all differ: positions ``(p, 2)``
    int64. The folder keeps their contents.

    Raises:
        MissingExtra: Pillow is not installed, for pictures.
    """
    data = folder.manifest().data
    if is_tabular(folder.manifest()):
        values = _values(folder)
        assert values is not None
        chosen = values if len(rows) == len(values) else values[rows]  # no copy of what may be large
        return rows[near_rows(chosen, tolerance=data.kind == "rows")]
    _, items = folder.items()
    if data.kind == "images":
        column = items["picture"]
        return rows[near_pictures(sketched(column[row].as_buffer() for row in rows.tolist()))]
    described = (folder.row(items["row"][row].as_py()) for row in rows.tolist())
    return rows[near_texts(["\n".join(one.get(name, "") for name in data.columns) for one in described])]


def _values(folder: AuditFolder) -> np.ndarray | None:
    kept = inputs_file(folder)
    return None if kept is None else map_tensor(*kept, folder.scores().num_rows)


def hashed(contents: Iterable[Any]) -> np.ndarray:
    """Numbers from 0 on, ``(n,)`` int64, the same for equal ``contents``, by digests of 16 bytes."""
    digests = pa.array((blake2b(content, digest_size=16).digest() for content in contents), pa.binary(16))
    return np.asarray(digests.dictionary_encode().indices.to_numpy(), dtype=np.int64)
