"""Files written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.errors import InputError

if TYPE_CHECKING:
    pass


PARQUET = {"compression": "zstd", "write_page_checksum": True}


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_table(path: Path, table: pa.Table) -> None:
    replace_file(path, lambda temporary: pq.write_table(table, temporary, **PARQUET))


def write_arrow(path: Path, table: pa.Table) -> None:
    """Uncompressed, to be memory-mapped."""

    def write(temporary: Path) -> None:
        with pa.ipc.new_file(str(temporary), table.schema) as writer:
            writer.write_table(table.combine_chunks())

    replace_file(path, write)


def full_disk(path: Path) -> InputError:
    """What to say when there is no space for ``path``."""
    return InputError(
        f"no space left on {path.parent} while writing {path.name}; free some and run the same"
        " command again: it resumes"
    )


def replace_file(path: Path, write: Callable[[Path], Any]) -> None:
    """Write to a temporary name beside ``path``, then rename: the old file or the new one, never half.

    Raises:
        InputError: the disk is full.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise full_disk(path) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)
