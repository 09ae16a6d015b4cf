"""Tensors on disk, as safetensors."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from swaypoint.folder.writing import replace_file


def write_tensors(path: Path, tensors: dict[str, Tensor], *, key: str | None = None) -> None:
    """As safetensors, with a key in its metadata; the tensors are made contiguous."""
    owned = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    metadata = None if key is None else {"key": key}
    replace_file(path, lambda temporary: save_file(owned, temporary, metadata))
