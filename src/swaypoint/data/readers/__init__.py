"""Readers: from a path, a URL or a name to a dataset. One file a kind of source, all in :data:`readers`.

A package adds a kind of its own with one :class:`Reader`, under the entry points ``swaypoint.readers``; where
its sources are tables, :func:`table_reader` makes one of two functions.
"""

# Each registers itself.
from swaypoint.data.readers import (
    arrow_files,
    builtin,
    databases,
    delimited,
    hub,
    image_folder,
    json_lines,
    npz,
    parquet_in_memory,
    saved,
    spreadsheets,
    text_folder,
)
from swaypoint.data.readers.base import Reader, Wanted, readers
from swaypoint.data.readers.frames import read_frame
from swaypoint.data.readers.labelled_tables import read_table, table_reader
from swaypoint.data.readers.sources import read_dataset, read_stored, reader_of
from swaypoint.data.readers.stored import Stored, StoredPictures

__all__ = [
    "Reader",
    "Stored",
    "StoredPictures",
    "Wanted",
    "arrow_files",
    "builtin",
    "databases",
    "delimited",
    "hub",
    "image_folder",
    "json_lines",
    "npz",
    "parquet_in_memory",
    "read_dataset",
    "read_frame",
    "read_stored",
    "read_table",
    "reader_of",
    "readers",
    "saved",
    "spreadsheets",
    "table_reader",
    "text_folder",
]
