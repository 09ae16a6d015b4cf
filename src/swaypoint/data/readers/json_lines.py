"""Records as JSON: one a line (``.jsonl``, ``.ndjson``), or one list of them (``.json``)."""

from __future__ import annotations

import json
import os
from typing import Any

import pyarrow as pa
import pyarrow.json as pa_json

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.compressed import inner_suffix, opened
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.data.readers.python_values import table_of
from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import checked_table

_SUFFIXES = (".jsonl", ".ndjson", ".json")
_BLOCK = 64 << 20  # no record may be longer
_EXPECTED = "one JSON object a line, or a list of objects"


def _matches(source: str) -> bool:
    return inner_suffix(source) in _SUFFIXES and os.path.isfile(source)


def _table(source: str, options: ReadOptions) -> pa.Table:
    with reading(source, _EXPECTED, "check that every record has the same fields, each of one type"):
        with opened(source) as stream:
            begin = stream.read(64).lstrip()
        if not begin:
            raise InputError(f"{source}: it is empty; expected {_EXPECTED}")
        with opened(source) as stream:
            if begin[:1] == b"{" and inner_suffix(source) != ".json":
                blocks = pa_json.ReadOptions(block_size=_BLOCK)
                return checked_table(pa_json.read_json(stream, read_options=blocks))
            return table_of(_columns(source, stream.read()))


def _columns(source: str, content: bytes) -> dict[str, list[Any]]:
    try:
        found = json.loads(content)
    except json.JSONDecodeError:
        found = [json.loads(line) for line in content.splitlines() if line.strip()]
    if isinstance(found, dict):  # by columns, as pandas writes them
        return {
            name: list(values.values() if isinstance(values, dict) else values)
            for name, values in found.items()
        }
    if not isinstance(found, list) or not all(isinstance(record, dict) for record in found):
        raise InputError(f"{source}: expected {_EXPECTED}")
    names = dict.fromkeys(name for record in found for name in record)
    return {name: [record.get(name) for record in found] for name in names}


JSON_LINES = readers.register("json", table_reader(_matches, _table))
