"""The audit folder: what lies in it, read with clear errors and written whole or not at all."""

from __future__ import annotations

import errno
import json
import mmap
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import misfit, read_json, read_parquet, require_file

if TYPE_CHECKING:
    from pyarrow.dataset import Dataset
    from torch import Tensor

REMEDY = "make the audit again"
PARQUET = {"compression": "zstd", "write_page_checksum": True}
_ORDERS = ("cook", "loss", "random")
_CHECKS = {"name": str, "value": str, "verdict": {"fit", "caution", "unfit"}, "meaning": str, "remedy": str}
MANIFEST = {
    "swaypoint": str,
    "key": str,
    "created": str,
    "data": {
        "name": str,
        "kind": {"images", "rows", "features"},
        "train": int,
        "validation": int,
        "classes": [str],
        "columns": [str],
        "fingerprint": str,
        "skipped": [{"where": str, "reason": str}],
    },
    "arguments": {
        "seed": int,
        "flip": float,
        "model": {"name": str, "epochs": (int, None), **dict.fromkeys(("transform", "layer"), (str, None))},
        "objective": {"loss": str, "l2": (float, None)},
    },
    "model": {
        "name": str,
        "hash": (str, None),
        "layer": str,
        "outputs": int,
        "features": int,
        "loss": str,
        "l2": float,
        "damping": float,
        "accuracy": {"train": (float, None), "validation": (float, None)},
    },
    "diagnostics": {
        "verdict": {"fit", "caution", "unfit"},
        "solver": str,
        "precision": str,
        "outcome": str,
        "estimated_error": float,
        "checks": [_CHECKS],
    },
    "timings": {},
    "versions": {},
    "ranked_by": {"cooks_distance", "models", "auto"},
    "flipped": (
        None,
        {
            "share": float,
            "seed": int,
            "in_training": int,
            "found": [
                {"inspected": float, "hits": dict.fromkeys(_ORDERS, int), **dict.fromkeys(_ORDERS, float)}
            ],
        },
    ),
}
"""What every finished audit's manifest has, see :func:`~swaypoint.folder.documents.misfit`."""
_STREAMED = {"streamed": {"points": int, "leverage": float, "parts": int}}
_KINDS: dict[str, Callable[[pa.DataType], bool]] = {
    "integer": pa.types.is_integer,
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind),
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    "binary": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
}
SCORES = dict.fromkeys(("index", "rank"), "integer") | {"kind": "text"}
SCORES |= dict.fromkeys(
    ("label", "cook", "loss", "loo_loss", "margin", "leverage", "suggested_label"), "number"
)
ITEMS = {"id": "text", "name": "text", "picture": "binary?", "row": "text?", "x": "number", "y": "number"}
EXAMPLES = dict.fromkeys(("rank", "index"), "integer") | {
    "name": "text",
    "picture": "binary?",
    "row": "text?",
}
EXAMPLES |= dict.fromkeys(("neighbour_agreement", "neighbour_distance"), "number?")


@dataclass(frozen=True)
class AuditFolder:
    """A finished audit on disk."""

    path: Path

    def manifest(self) -> dict[str, Any]:
        """``manifest.json``.

        Raises:
            InputError: there is none, it cannot be read or lacks what an audit writes, or the audit did not
                finish.
        """
        file = self.path / "manifest.json"
        if not file.is_file():
            raise InputError(
                f"{self.path} is not an audit folder; make one with: swaypoint audit DATA --out {self.path}"
            )
        manifest: dict[str, Any] = read_json(file, {"status": str}, REMEDY)
        if manifest["status"] != "complete":
            raise InputError(
                f"the audit in {self.path} was interrupted during {manifest['status'][:60]!r};"
                " run the same `swaypoint audit` command again to resume it"
            )
        shape = MANIFEST | _STREAMED if self.streamed else MANIFEST
        if (problem := misfit(manifest, shape)) is not None:
            raise InputError(f"{file}: {problem}; {REMEDY}")
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
        file = self.path / ("top.parquet" if self.streamed else "scores.parquet")
        table = self._table(file.name, SCORES)
        data = self.manifest()["data"]
        n, classes = len(table), len(data["classes"])
        values = {name: table[name].to_numpy() for name in ("rank", "cook", "label", "suggested_label")}
        if not n or (n > data["train"] if self.streamed else n != data["train"]):
            raise InputError(f"{file} has {n} points, its audit {data['train']}; {REMEDY}")
        if not (np.sort(values["rank"]) == np.arange(1, n + 1)).all():
            raise InputError(f"{file}: its ranks are not 1 to {n}; {REMEDY}")
        if not (values["cook"] >= 0).all():
            raise InputError(f"{file}: cook is not always a number of at least 0; {REMEDY}")
        for name in ("label", "suggested_label") if classes else ():
            if not ((values[name] >= 0) & (values[name] < classes)).all():
                raise InputError(f"{file}: {name} is not always one of the {classes} classes; {REMEDY}")
        return table

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
            raise InputError(f"{place} has {len(files)} of {expected} files; {REMEDY}")
        with reading(place, "parquet files", REMEDY):
            return pyarrow.dataset.dataset([str(file) for file in files], format="parquet")

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
        return self._table("examples.parquet", EXAMPLES)

    def row(self, text: str | None) -> dict[str, str]:
        """Column -> readable value, as ``items.arrow`` and ``examples.parquet`` hold a record.

        Raises:
            InputError: damaged.
        """
        with reading(self.path, "an audit folder, its items and examples", REMEDY):
            values = json.loads(text) if text else {}
            return {str(name): str(value) for name, value in values.items()}

    def items(self) -> tuple[mmap.mmap, pa.Table]:
        """What a review shows of the points, in the order of the scores, and the mapping it is read from.

        Raises:
            InputError: missing or damaged.
        """
        file = self.path / "items.arrow"
        require_file(file, REMEDY)
        with reading(file, "an Arrow file", REMEDY):
            with file.open("rb") as opened:
                mapping = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            table = pa.ipc.open_file(pa.py_buffer(mapping)).read_all()
            table.validate(full=True)  # of the pictures only where each begins: they stay on the disk
        _check_columns(file, table, ITEMS)
        return mapping, table

    def _table(self, name: str, columns: dict[str, str]) -> pa.Table:
        file = self.path / name
        table = read_parquet(file, REMEDY)
        _check_columns(file, table, columns)
        return table


def _check_columns(file: Path, table: pa.Table, columns: dict[str, str]) -> None:
    """Every column of an audit's table is there, once, and of its kind; with a ``?`` after the kind values
    may be missing.

    Raises:
        InputError: one is not.
    """
    for name, kind in columns.items():
        if (count := table.column_names.count(name)) != 1:
            raise InputError(f"{file}: it has {count} columns {name!r}, expected one; {REMEDY}")
        column, optional = table[name], kind.endswith("?")
        if not (_KINDS[kind.removesuffix("?")](column.type) or (optional and pa.types.is_null(column.type))):
            raise InputError(f"{file}: column {name!r} is {column.type}, expected {kind}; {REMEDY}")
        if column.null_count and not optional:
            raise InputError(f"{file}: column {name!r} has missing values; {REMEDY}")


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


def read_tensors(path: Path, axes: dict[str, str], **lengths: int) -> dict[str, np.ndarray]:
    """Of an audit's safetensors file, without torch; empty where there is none.

    Args:
        axes: of each tensor its axes, a letter each, such as ``"nd"``; those of one letter are of one
            length. A ``?`` after them: the tensor need not be there.
        lengths: known ones, by letter.

    Raises:
        InputError: it is damaged, lacks a tensor, or one has other axes or is not finite.
    """
    from safetensors.numpy import load_file

    if not path.is_file():
        return {}
    with reading(path, "a safetensors file", REMEDY):
        found = load_file(path)
    for name, letters in axes.items():
        if name in found or not letters.endswith("?"):
            _check_tensor(path, name, found.get(name), letters.removesuffix("?"), lengths)
    return {name: found[name] for name in axes if name in found}


def map_tensor(path: Path, name: str, n: int) -> np.ndarray | None:
    """A float32 tensor (n, D) of a safetensors file, memory-mapped; None where there is no such file.

    Not by the safetensors package, which reads the whole: the features of a million points need not
    stay in memory, the kernel may drop their pages.

    Raises:
        InputError: it is damaged, or another tensor.
    """
    if not path.is_file():
        return None
    with reading(path, "a safetensors file", REMEDY):
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > path.stat().st_size:
                raise ValueError(f"a header of {length} bytes")
            entry = json.loads(file.read(length))[name]
        start, shape = entry["data_offsets"][0], tuple(entry["shape"])
        if entry["dtype"] != "F32" or start < 0:
            raise ValueError(f"{entry}")
        tensor = np.memmap(path, np.float32, "r", offset=8 + length + start, shape=shape)
    _check_tensor(path, name, tensor, "nd", {"n": n})
    return tensor


def _check_tensor(
    path: Path, name: str, value: np.ndarray | None, axes: str, lengths: dict[str, int]
) -> None:
    """As :func:`read_tensors`; adds to ``lengths`` those of axes not met before."""
    if value is None or value.ndim != len(axes) or value.dtype.kind != "f":
        what = "missing" if value is None else f"{value.dtype} of shape {value.shape}"
        raise InputError(
            f"{path}: tensor {name!r} is {what}, expected numbers with {len(axes)} axes; {REMEDY}"
        )
    expected = tuple(lengths.setdefault(axis, size) for axis, size in zip(axes, value.shape, strict=True))
    if value.shape != expected:
        raise InputError(f"{path}: tensor {name!r} has shape {value.shape}, expected {expected}; {REMEDY}")
    if not isinstance(value, np.memmap) and not np.isfinite(value).all():
        raise InputError(f"{path}: tensor {name!r} holds values that are not finite; {REMEDY}")


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
