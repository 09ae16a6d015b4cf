"""A dataset of the Hugging Face hub, by its name ``owner/name``, where no such path exists."""

from __future__ import annotations

import pyarrow as pa

from swaypoint.data.dataset import ReadOptions
from swaypoint.data.names import is_hub_name
from swaypoint.data.readers.base import readers
from swaypoint.data.readers.labelled_tables import table_reader
from swaypoint.data.readers.saved import rows_table
from swaypoint.errors import reading, require


def _table(source: str, options: ReadOptions) -> pa.Table:
    datasets = require("datasets", "hub")
    with reading(
        source, "a path that exists, nor a dataset of the Hugging Face hub", "check name and network"
    ):
        loaded = datasets.load_dataset(source, split=options.split)
    return rows_table(source, loaded, options)


HUB = readers.register("hub", table_reader(is_hub_name, _table))
