"""A streamed audit of many small shards, to be killed: python stream_driver.py DATA OUT ENGINE."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import streamed_data
import swaypoint
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import parquet, parquet_files

read = parquet_files.ParquetFiles.read


def slowly(self: Any, *arguments: Any, **named: Any) -> Iterator[Any]:
    """Takes its time, so that there is a middle of a pass; in this process only."""
    time.sleep(0.03)
    yield from read(self, *arguments, **named)


if __name__ == "__main__":
    data, out, engine = sys.argv[1:]
    parquet.SHARD_BYTES = 4 * streamed_data.WIDTH  # a row group each
    parquet_files.ParquetFiles.read = slowly
    options = ReadOptions(features="embedding", label="label")
    scale = Scale(engine=engine, max_memory=0.0)
    swaypoint.audit(data, out, options=AuditOptions(top=50), read=options, scale=scale)
