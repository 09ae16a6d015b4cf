"""The audit folder: what lies in it, read with clear errors and written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.errors import InputError

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset
    from torch import Tensor


@dataclass(frozen=True)
class AuditFolder:
    """A finished audit on disk."""

    path: Path

    def manifest(self) -> dict[str, Any]:
        """``manifest.json``.

        Raises:
            InputError: there is none, it cannot be read, or the audit did not finish.
        """
        file = self.path / "manifest.json"
        if not file.is_file():
            raise InputError(
                f"{self.path} is not an audit folder; make one with: swaypoint audit DATA --out {self.path}"
            )
        manifest = read_json(file)
        if manifest.get("status") != "complete":
            raise InputError(
                f"the audit in {self.path} was interrupted during {manifest.get('status')!r};"
                " run the same `swaypoint audit` command again to resume it"
            )
        return manifest

    @property
    def streamed(self) -> bool:
        """Its data were larger than memory: what is held of single points is the top of the ranking."""
        return (self.path / "top.parquet").is_file()

    def scores(self) -> pa.Table:
        """One row a training point, in dataset order; of a streamed audit those of the top alone.

        Raises:
            InputError: missing or damaged.
        """
        return self._table("top.parquet" if self.streamed else "scores.parquet")

    def every_score(self) -> Dataset:
        """The scores of all training points, to be scanned without loading them whole, in dataset order;
        a streamed audit has no ranks among them.

        Raises:
            InputError: missing or damaged.
        """
        import pyarrow.dataset

        place = self.path / ("scores" if self.streamed else "scores.parquet")
        files = sorted(place.glob("part-*.parquet")) if place.is_dir() else [place]
        expected = self.manifest()["streamed"]["parts"] if self.streamed else 1
        if len(files) != expected:
            raise InputError(f"{place} has {len(files)} of {expected} files; make the audit again")
        try:
            return pyarrow.dataset.dataset([str(file) for file in files], format="parquet")
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"cannot read {place}: {error}; make the audit again") from error

    def check_whole(self, what: str) -> None:
        """Refuse ``what`` for a streamed audit.

        Raises:
            InputError: it is one.
        """
        if self.streamed:
            raise InputError(
                f"{self.path} was streamed: it holds the top of its ranking, and {what} needs every point;"
                " audit a part of the data in memory, or work with its scores/*.parquet"
            )

    def examples(self) -> pa.Table:
        """The top of the ranking with pictures or rows, and neighbours.

        Raises:
            InputError: missing or damaged.
        """
        return self._table("examples.parquet")

    def _table(self, name: str) -> pa.Table:
        file = self.path / name
        try:
            return pq.read_table(file)
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"cannot read {file}: {error}; make the audit again") from error


def read_json(path: Path) -> Any:
    """
    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not readable JSON ({error}); make the audit again") from error


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, default=str) + "\n")


def write_text(path: Path, text: str) -> None:
    replace_file(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_table(path: Path, table: pa.Table) -> None:
    replace_file(path, lambda temporary: pq.write_table(table, temporary, compression="zstd"))


def write_arrow(path: Path, table: pa.Table) -> None:
    """Uncompressed, to be memory-mapped."""

    def write(temporary: Path) -> None:
        with pa.ipc.new_file(str(temporary), table.schema) as writer:
            writer.write_table(table.combine_chunks())

    replace_file(path, write)


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Of a safetensors file, without torch; empty where there is none."""
    from safetensors.numpy import load_file

    return load_file(path) if path.is_file() else {}


def write_tensors(path: Path, tensors: dict[str, Tensor], *, key: str | None = None) -> None:
    """As safetensors, with a key in its metadata; the tensors are made contiguous."""
    from safetensors.torch import save_file

    owned = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = None if key is None else {"key": key}
    replace_file(path, lambda temporary: save_file(owned, temporary, metadata))


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
