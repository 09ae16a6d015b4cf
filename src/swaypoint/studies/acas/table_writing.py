"""Writing a table block by block: interrupted, it goes on where it was; the file appears when complete.

Blocks go as plain bytes into a folder beside the file, with a byte a block that says it is there: killed
at any moment, what was written is known and whole, which an HDF5 file open for writing does not promise.
At the end they are packed into the HDF5 file, which is renamed into place.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from swaypoint.errors import InputError, require
from swaypoint.folder.documents import read_json
from swaypoint.folder.writing import full_disk, replace_file, write_json
from swaypoint.studies.acas.tables import EXTRA, Axis, Table, block_place, leading_axes

_LEVEL = 1  # of gzip: 4 saves another tenth of the bytes and takes twice as long


@dataclass(frozen=True, eq=False)
class Plan:
    """What a table will hold.

    Attributes:
        name, axes, actions: as of :class:`~swaypoint.studies.acas.tables.Table`.
        costs: whether costs are written too.
        origin: what the values are computed from, such as the hash of networks; written into the file,
            and an interrupted table is only resumed where it is the same.
        leading: how many leading axes number the blocks; default: as for reading.
    """

    name: str
    axes: tuple[Axis, ...]
    actions: tuple[str, ...]
    costs: bool = False
    origin: str = ""
    leading: int | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(len(axis) for axis in self.axes)

    @property
    def heads(self) -> tuple[int, ...]:
        """Lengths of the axes that number the blocks."""
        return self.shape[: leading_axes(self.shape) if self.leading is None else self.leading]

    @property
    def block_count(self) -> int:
        return math.prod(self.heads)

    @property
    def block_shape(self) -> tuple[int, ...]:
        return self.shape[len(self.heads) :]

    def fingerprint(self) -> str:
        """Equal for equal plans."""
        digest = hashlib.sha256(repr((self.name, self.actions, self.costs, self.origin, self.heads)).encode())
        for axis in self.axes:
            digest.update(repr((axis.name, axis.unit, len(axis))).encode() + axis.values.tobytes())
        return digest.hexdigest()


def finished(path: Path, plan: Plan) -> Table | None:
    """The complete table of the same plan at ``path``; None if there is nothing.

    Raises:
        InputError: another table is there.
    """
    if not path.exists():
        return None
    table = Table.open(path)
    with require("h5py", EXTRA).File(path, "r") as file:
        found = file.attrs.get("fingerprint")
    if found != plan.fingerprint():
        raise InputError(f"{path} holds another table ({table.name}); remove it, or write to another file")
    return table


class TableWriter:
    """The blocks of one table that are on disk, and those that are missing; a context manager.

    Raises:
        InputError: the place cannot be written to, or the disk is full.
    """

    def __init__(self, path: Path, plan: Plan) -> None:
        self.path, self.plan = path, plan
        self._folder = path.parent / f".{path.name}.part"
        with _disk(path):
            self._start()
            self._done = np.fromfile(self._folder / "done", np.uint8)
            self._open = ExitStack()
            self._flags = self._open.enter_context((self._folder / "done").open("rb+"))
            self._files = {
                name: self._open.enter_context((self._folder / name).open("rb+")) for name in self._types()
            }

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _disk(self.path):
            self._open.close()

    @property
    def missing(self) -> list[int]:
        """Numbers of the blocks that are not written yet."""
        return [int(block) for block in np.flatnonzero(self._done == 0)]

    def put(self, block: int, decisions: NDArray[np.uint8], costs: NDArray[np.float32] | None = None) -> None:
        """Write one block, flat: decisions (b,), and costs (b, actions) where the plan says so."""
        values = {"decision": decisions, "cost": costs}
        with _disk(self.path):
            for name, file in self._files.items():
                dtype, shape = self._types()[name]
                array = np.ascontiguousarray(values[name], dtype)
                assert array.size == math.prod(shape), f"{name}: {array.shape} for a block of {shape}"
                file.seek(block * array.nbytes)
                file.write(array.data)
                file.flush()
            self._flags.seek(block)
            self._flags.write(b"\x01")
            self._flags.flush()
        self._done[block] = 1

    def finish(self, on_progress: Callable[[int, int], None] | None = None) -> Table:
        """Pack the complete table into the file, and open it.

        Args:
            on_progress: told how many blocks of how many are packed.
        """
        assert not self.missing, f"blocks {self.missing[:3]}… are missing"
        self._require_space()
        replace_file(self.path, lambda temporary: self._pack(temporary, on_progress))
        shutil.rmtree(self._folder)
        return Table.open(self.path)

    def _types(self) -> dict[str, tuple[type[Any], tuple[int, ...]]]:
        """Type and block shape of every dataset."""
        types: dict[str, tuple[type[Any], tuple[int, ...]]] = {"decision": (np.uint8, self.plan.block_shape)}
        if self.plan.costs:
            types["cost"] = (np.float32, (*self.plan.block_shape, len(self.plan.actions)))
        return types

    def _require_space(self) -> None:
        """Before HDF5 writes: the library crashes the process when the disk fills."""
        values = sum(os.fstat(file.fileno()).st_size for file in self._files.values())
        with _disk(self.path):
            if shutil.disk_usage(self.path.parent).free < values + (1 << 20):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _start(self) -> None:
        """Keep what an interrupted writing of the same plan left, or begin anew."""
        task = self._folder / "task.json"
        if task.exists():
            stored = read_json(task, {"fingerprint": str}, f"remove the folder {self._folder}")
            if stored["fingerprint"] == self.plan.fingerprint():
                return
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        for name in self._types():
            (self._folder / name).touch()
        (self._folder / "done").write_bytes(bytes(self.plan.block_count))
        write_json(task, {"fingerprint": self.plan.fingerprint()})

    def _pack(self, path: Path, on_progress: Callable[[int, int], None] | None) -> None:
        h5py = require("h5py", EXTRA)
        plan = self.plan
        with h5py.File(path, "w") as file:
            file.attrs["name"], file.attrs["fingerprint"] = plan.name, plan.fingerprint()
            file.attrs["axes"] = [axis.name for axis in plan.axes]
            file.attrs["actions"] = list(plan.actions)
            file.attrs["origin"] = plan.origin
            for axis in plan.axes:
                file.create_dataset(axis.name, data=axis.values).attrs["unit"] = axis.unit
            stored = {}
            for name, (dtype, shape) in self._types().items():
                stored[name] = file.create_dataset(
                    name,
                    (*plan.heads, *shape),
                    dtype,
                    chunks=(1,) * len(plan.heads) + shape,
                    compression="gzip",
                    compression_opts=_LEVEL,
                    shuffle=name == "cost",
                )
            for block in range(plan.block_count):
                for name, (dtype, shape) in self._types().items():
                    stored[name][block_place(plan.heads, block)] = _block(
                        self._files[name], block, dtype, shape
                    )
                if on_progress:
                    on_progress(block + 1, plan.block_count)


def _block(file: BinaryIO, block: int, dtype: type[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    count = math.prod(shape)
    file.seek(block * count * np.dtype(dtype).itemsize)
    return np.fromfile(file, dtype, count).reshape(shape)


@contextmanager
def _disk(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise full_disk(path) from error
        raise InputError(f"cannot write {path}: {error}; write to another place") from error
