"""How much a parquet file unpacks to, found out before: a few kilobytes may repeat one value for ever."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from swaypoint.errors import InputError

_FLOOR, _RATIO = 16 << 20, 200
_BATCH = 16_384
_BYTES = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT96": 12, "BYTE_ARRAY": 4}  # others 8 at least


def require_fair(path: Path, metadata: pq.FileMetaData, remedy: str) -> None:
    """Refuse a file that unpacks to more than 16 MiB and 200 times its size. No more than that is taken to
    find out: the numbers' count is in the file's footer, and texts are looked at as the dictionaries that
    they are repeated from.

    Raises:
        InputError: it is such a file.
    """
    most = max(_FLOOR, _RATIO * path.stat().st_size)
    columns = [metadata.schema.column(place) for place in range(len(metadata.schema))]
    texts, size = {column.path for column in columns if column.physical_type == "BYTE_ARRAY"}, 0
    for number in range(metadata.num_row_groups):
        group, values = metadata.row_group(number), 0
        for place, column in enumerate(columns):
            # How many values lists have is told by their chunk alone; of a damaged file pyarrow aborts the
            # program there, so that columns of one value a row, as our own are, are not asked.
            listed = column.max_repetition_level > 0
            count = group.column(place).num_values if listed else group.num_rows
            values += count * _BYTES.get(column.physical_type, 8)
        size += max(values, group.total_byte_size)
    if size <= most and texts:
        with pq.ParquetFile(path, read_dictionary=sorted(texts)) as file:
            for batch in file.iter_batches(_BATCH, columns=sorted(texts), use_threads=False):
                size += sum(map(_length, batch.columns))
                if size > most:
                    break
    if size > most:
        raise InputError(
            f"{path}: its {path.stat().st_size:,} bytes unpack to more than {most >> 20:,} MiB, as no table"
            f" of such a size does; {remedy}"
        )


def _length(array: pa.Array) -> int:
    """Bytes of the texts in it, each as often as it stands there."""
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return pc.sum(lengths.cast(pa.int64())).as_py() or 0
    if pa.types.is_nested(array.type):
        found = array.flatten()
        return sum(map(_length, found if isinstance(found, list) else [found]))
    return int(array.nbytes)
