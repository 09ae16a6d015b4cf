"""A reader of NAME.toy: a record a line, numbers with spaces between them, the last one the label."""

import numpy as np
import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import table_reader
from swaypoint.errors import reading


def matches(source: str) -> bool:
    return source.endswith(".toy")


def records(source: str, options: ReadOptions) -> pa.Table:
    """As they are stored."""
    with reading(source, "lines of numbers", "give every line as many"):
        values = np.loadtxt(source, ndmin=2)
    names = [*(f"x{i}" for i in range(values.shape[1] - 1)), "label"]
    return pa.table(dict(zip(names, values.T, strict=True)))


toy = table_reader(matches, records)
