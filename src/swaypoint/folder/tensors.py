"""An audit's tensors, read without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import REMEDY

if TYPE_CHECKING:
    pass


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
