"""Tensors on disk, as safetensors."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from swaypoint.folder.writing import replace_file


def write_tensors(path: Path, tensors: dict[str, Tensor], *, key: str | None = None) -> None:
    """As safetensors, with a key in its metadata; the tensors are made contiguous."""
    owned = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = None if key is None else {"key": key}
    replace_file(path, lambda temporary: save_file(owned, temporary, metadata))


def read_kept(path: Path, key: str) -> dict[str, Tensor] | None:
    """What :func:`write_tensors` wrote with this key; None where there is no such file, or another one."""
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("key") != key:
                return None
            return {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except SafetensorError:  # not ours: ours are whole or not there
        return None
