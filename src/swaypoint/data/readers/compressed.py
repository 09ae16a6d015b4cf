"""Files of text that may be compressed."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

_COMPRESSED = (".gz", ".bz2", ".zst")


def inner_suffix(source: str) -> str:
    """The extension in small letters, without that of a compression.

    >>> inner_suffix("a/Table.CSV.gz")
    '.csv'
    """
    path = Path(source)
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).suffix.lower()


def opened(path: str | Path) -> pa.NativeFile:
    """The bytes of a file, decompressed by what its name says."""
    return pa.input_stream(str(path), compression="detect")
