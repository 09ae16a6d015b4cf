"""JSON and parquet files: read and checked at once, so that whoever uses the content need not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.errors import InputError, reading, shortened
from swaypoint.folder.unpacked import require_fair

REMEDY = "make the audit again"
"""For what an audit wrote and is not as it was."""
_MOST = 2**63


def read_json(path: Path, shape: Any, remedy: str) -> Any:
    """The content of a JSON file, which has the shape; see :func:`misfit`.

    Raises:
        InputError: it is missing, no JSON, or of another shape; it is said where, and ``remedy``.
    """
    require_file(path, remedy)
    with reading(path, "a JSON file", remedy):
        value = json.loads(path.read_text(encoding="utf-8"))
    if (problem := misfit(value, shape)) is not None:
        raise InputError(f"{path}: {problem}; {remedy}")
    return value


def misfit(value: Any, shape: Any, where: str = "its content") -> str | None:
    """What in ``value`` does not have the shape; None where all of it has.

    A shape is a type (``str`` of text that UTF-8 can hold, ``float`` of any number, ``int`` of one that 64
    bits hold, ``bool``), None, a set of the possible texts, a list of one shape (any number of such), a
    dict (an object with at least these names), or a tuple of shapes (any of them).

    >>> misfit({"seed": 0, "tags": ["a", 1]}, {"seed": int, "tags": [str]})
    "'tags'[1] is 1, no str"
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return f"{where} is {_shown(value)}, no object"
        missing = [name for name in shape if name not in value]
        if missing:
            return f"{where} has no {missing[0]!r}"
        inner = ((value[name], part, repr(name)) for name, part in shape.items())
        return next((found for args in inner if (found := misfit(*args)) is not None), None)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{where} is {_shown(value)}, no list"
        parts = ((part, shape[0], f"{where}[{i}]") for i, part in enumerate(value))
        return next((found for args in parts if (found := misfit(*args)) is not None), None)
    if isinstance(shape, tuple):
        problems = [misfit(value, part, where) for part in shape]
        return None if None in problems else problems[-1]
    if isinstance(shape, set):
        fits = isinstance(value, str) and value in shape
        return None if fits else f"{where} is {_shown(value)}, none of {', '.join(sorted(shape))}"
    return (
        None if _is(value, shape) else f"{where} is {_shown(value)}, no {getattr(shape, '__name__', shape)}"
    )


def _is(value: Any, kind: Any) -> bool:
    if kind is None or kind is bool:
        return value is None if kind is None else isinstance(value, bool)
    if kind is str:
        return isinstance(value, str) and value.encode("utf-8", "ignore").decode() == value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return kind is float if isinstance(value, float) else abs(value) < _MOST


def _shown(value: Any) -> str:
    return shortened(repr(value), 60)


def read_parquet(path: Path, remedy: str, *, limit: int | None = None, own: bool = False) -> pa.Table:
    """A parquet file whose checksums, offsets and text have been looked at: damage shows here, not later.

    Args:
        limit: so many records, and the rest of their last row group, are read; None: all.
        own: it is the user's dataset, which may repeat itself as much as it likes.

    Raises:
        InputError: it is missing, damaged, larger than the memory or than a file of its size can be, or two
            columns have the same name.
    """
    require_file(path, remedy)
    with (
        reading(path, "a parquet file", remedy),
        pq.ParquetFile(path, page_checksum_verification=True) as file,
    ):
        schema, counts = file.schema_arrow, _rows_of_groups(file.metadata, limit)
        _decode_names(schema)
        widths = sum(_width(kind) for kind in schema.types)
        if len(set(schema.names)) < len(schema.names):
            raise InputError(f"{path}: two columns have the same name; rename one")
        require_memory(path, sum(counts) * widths, f"{sum(counts):,} records")
        if not own:
            require_fair(path, file.metadata, remedy)
        table = file.read_row_groups(range(len(counts)))
        return checked_table(table)


def _rows_of_groups(metadata: pq.FileMetaData, limit: int | None) -> list[int]:
    """Of the first row groups, as many as hold ``limit`` records."""
    counts: list[int] = []
    for number in range(metadata.num_row_groups):
        if limit is not None and sum(counts) >= limit:
            break
        counts.append(metadata.row_group(number).num_rows)
    return counts


def checked_table(table: pa.Table) -> pa.Table:
    """The table, its names and texts checked to be UTF-8, which not every reader of Arrow's does, and in
    Arrow's usual layout.

    Raises:
        ValueError: they are not UTF-8, or the table is damaged otherwise.
    """
    _decode_names(table.schema)
    table.validate(full=True)
    return _without_views(table)


def _without_views(table: pa.Table) -> pa.Table:
    """Texts and bytes in Arrow's usual layout: of the newer one many of its functions know nothing."""
    for place, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type) or pa.types.is_binary_view(field.type):
            kind = pa.large_string() if pa.types.is_string_view(field.type) else pa.large_binary()
            table = table.set_column(place, field.with_type(kind), table.column(place).cast(kind))
    return table


def _decode_names(fields: Iterable[pa.Field]) -> None:
    for field in fields:
        field.name  # noqa: B018  raises where it is not UTF-8
        if pa.types.is_nested(field.type):
            _decode_names(field.type.field(i) for i in range(field.type.num_fields))


def _width(kind: pa.DataType) -> int:
    """Bytes that a value takes at least."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size * _width(kind.value_type)
    if pa.types.is_struct(kind):
        return sum(_width(field.type) for field in kind)
    try:
        return -(-kind.bit_width // 8)
    except ValueError:  # of texts and lists, where each begins
        return 4


def require_file(path: Path, remedy: str) -> None:
    """Refuse what is no file of bytes: a folder, or a pipe, for which a reader would wait.

    Raises:
        InputError: it is none, or is not there.
    """
    if not os.path.isfile(path):  # not Path.is_file(), which raises for a name too long
        raise InputError(f"{path}: there is no such file; {remedy}")


def machine_memory() -> float:
    """Bytes that this machine has; infinite where the system does not say (Windows), so that nothing is
    refused or streamed on a guess."""
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return float("inf")
    return float(pages * size) if pages > 0 and size > 0 else float("inf")  # -1: not determined


def free_memory() -> float:
    """Bytes that a computation may take now: nine tenths of this machine's memory, less where a container or
    ``ulimit -d`` allows less."""
    limits = [0.9 * machine_memory()]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(0.9 * int(Path(path).read_text()))
    with suppress(ImportError, OSError):  # Linux: others do not hold a process to it
        import resource

        soft = resource.getrlimit(resource.RLIMIT_DATA)[0]
        if soft != resource.RLIM_INFINITY:
            # What the kernel holds to it; ru_maxrss begins with that of the process that started this one.
            pages = int(Path("/proc/self/statm").read_text().split()[5])
            limits.append(0.9 * max(soft - pages * resource.getpagesize(), 0))
    return min(limits)


def require_memory(name: object, size: int, what: str) -> None:
    """Refuse what cannot be held: a few bytes may declare, or unpack to, more than any machine has.

    Args:
        size: bytes it takes.
        what: it is, in the message.

    Raises:
        InputError: this machine has less memory.
    """
    memory = machine_memory()
    if size > memory:
        raise InputError(
            f"{name}: {what} take {size / 2**30:,.1f} GiB, more than this machine's {memory / 2**30:,.1f};"
            " read less of it, or repair it if it should be smaller"
        )
