"""A reader of NAME.toy: a record a line, numbers with spaces between them, the last one the label."""

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import Reader
from swaypoint.data.readers.sources import read_table
from swaypoint.errors import reading


def matches(source: str) -> bool:
    return source.endswith(".toy")


def stored(source: str, options: ReadOptions) -> pa.Table:
    """The records as they are stored, for an export."""
    with reading(source, "lines of numbers", "give every line as many"):
        values = np.loadtxt(source, ndmin=2)
    names = [*(f"x{i}" for i in range(values.shape[1] - 1)), "label"]
    return pa.table(dict(zip(names, values.T, strict=True)))


def read(source: str, options: ReadOptions) -> Dataset:
    return read_table(source, stored(source, options), options)


toy = Reader(matches=matches, read=read, stored=stored)
