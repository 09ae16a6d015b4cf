"""Columns of Arrow from lists of Python values of any types, as spreadsheets and SQLite hold them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import pyarrow as pa


def table_of(columns: Mapping[str, list[Any]]) -> pa.Table:
    """A table of columns of Python values, None where missing; values of several types become text."""
    return pa.Table.from_arrays([column_of(values) for values in columns.values()], list(map(str, columns)))


def column_of(values: list[Any]) -> pa.Array:
    """One column.

    >>> column_of([1.0, None, 3.0]).type, column_of([1, "a"]).to_pylist()
    (DataType(int64), ['1', 'a'])
    """
    kinds = {type(value) for value in values if value is not None}
    if kinds == {date, datetime}:
        values = [datetime(v.year, v.month, v.day) if type(v) is date else v for v in values]
    whole = float in kinds and kinds <= {int, float}
    if whole and all(v is None or (v == v and abs(v) < 2**53 and v == int(v)) for v in values):
        values = [None if value is None else int(value) for value in values]  # as spreadsheets store them
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
