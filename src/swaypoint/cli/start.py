"""What a command's process is spared of what heavy libraries do when they are imported."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_own = False


@contextmanager
def importing() -> Iterator[None]:
    """Around the imports of a command: what they make stays until the end, and need not be looked through for
    cycles, then or later."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def own_process() -> None:
    """The process is this command's alone: nothing that calls it goes on afterwards."""
    global _own
    _own = True


def leave_pandas_out(source: str, model: str, engine: str) -> None:
    """Let Arrow believe that pandas is not installed, until somebody imports it; only where no code but ours
    runs.

    Arrow imports pandas, if it can, with the first sequence or array that it converts, to tell a frame from a
    list; that takes longer than the whole work on a small table. It asks once: from here on it converts
    lists and arrays as ever, but does not know ``pandas.NA``. So not for what is more than a file, for a
    model of somebody else's, or beside installed packages that extend this one.
    """
    plain = Path(source).is_file() and ":" not in model and engine == "in-process"
    if not (_own and plain) or "pandas" in sys.modules:
        return
    from importlib.metadata import entry_points

    if any(group.startswith("swaypoint.") for group in entry_points().groups):
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        import pyarrow as pa

        pa.array([True]).to_numpy(zero_copy_only=False)
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder to which there is no pandas."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name=name)
