"""Text in CSV cells that no spreadsheet takes for a formula, written and read back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from swaypoint.errors import InputError

# Apostrophes before the sign count too, so that reading takes away exactly what writing added.
# Some programs take the full-width signs for the usual ones, and drop a line feed in front of one.
_SIGNS = r"[=+\-@\t\r\n＝＋－＠]"
_FORMULA = f"^('*{_SIGNS})"
_NEUTRAL = f"^'('*{_SIGNS})"


def neutral(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """A leading apostrophe before what starts like a formula.

    >>> neutral(pa.array(["=1+1", "'=1", "2-1", None])).to_pylist()
    ["'=1+1", "''=1", '2-1', None]
    """
    return pc.replace_substring_regex(texts, _FORMULA, r"'\1")


def literal(texts: pa.ChunkedArray | pa.Array) -> pa.ChunkedArray | pa.Array:
    """The inverse of :func:`neutral`.

    >>> literal(pa.array(["'=1+1", "''=1", "'quoted'", None])).to_pylist()
    ['=1+1', "'=1", "'quoted'", None]
    """
    return pc.replace_substring_regex(texts, _NEUTRAL, r"\1")


def write_cells(path: Path, chunks: Iterator[pa.Table]) -> None:
    """Tables of one schema as one CSV file; texts and column names made :func:`neutral`.

    At least one table is expected, be it empty.
    """
    first = _neutral_table(next(chunks))
    with pa_csv.CSVWriter(path, first.schema) as writer:
        writer.write_table(first)
        for chunk in chunks:
            writer.write_table(_neutral_table(chunk))


def _neutral_table(table: pa.Table) -> pa.Table:
    columns = [neutral(column) if _is_text(column.type) else column for column in table.columns]
    names = neutral(pa.array(table.column_names, pa.string())).to_pylist()
    return pa.table(columns, names=names)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def read_cells(path: Path) -> dict[str, list[str]]:
    """Every column of a CSV file as text, "" where it is empty; what :func:`neutral` added taken away.

    Raises:
        InputError: it cannot be read as a CSV file with a header.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a CSV file")
    size = path.stat().st_size
    if size == 0:
        raise InputError(f"{path} is empty; expected a CSV file with a header")
    try:
        # One block: Arrow refuses a record with line breaks that straddles two.
        read = pa_csv.ReadOptions(block_size=min(size + 1, 2**31 - 1))
        parse = pa_csv.ParseOptions(newlines_in_values=True)
        names = pa_csv.open_csv(path, read_options=read, parse_options=parse).schema.names
        kinds = dict.fromkeys(names, pa.string())
        convert = pa_csv.ConvertOptions(column_types=kinds, strings_can_be_null=False)
        table = pa_csv.read_csv(path, read_options=read, parse_options=parse, convert_options=convert)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        detail = " ".join(str(error).split())
        raise InputError(
            f"{path} is not a CSV file that can be read ({detail}); save it as CSV with commas, in UTF-8"
        ) from error
    headers = literal(pa.array(table.column_names, pa.string())).to_pylist()
    if len(set(headers)) < len(headers):
        raise InputError(f"{path}: two columns have the same name; rename one")
    return {name: literal(column).to_pylist() for name, column in zip(headers, table.columns, strict=True)}
