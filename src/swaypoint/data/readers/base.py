"""What a reader is: how one kind of source becomes a dataset. One a file; all in :data:`readers`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers.images import Progress
from swaypoint.data.readers.stored import Stored
from swaypoint.extending import Registry


@dataclass(frozen=True)
class Wanted:
    """One record of a source, whose picture is asked for.

    Attributes:
        name: its file's name within the source, as ``Dataset.names`` have it.
        index: its position in the source, counted from 0.
        most: bytes; a larger picture is not wanted.
    """

    name: str
    index: int
    most: int


@dataclass(frozen=True)
class Reader:
    """How one kind of source is read; a source is the path, URL or name as it was given.

    Attributes:
        matches: whether a source is of this kind, by its name and what lies there, without reading it; never
            raises.
        read: the labelled dataset, checked. Called with the source, what to read of it, and what to call with
            (records done, records in all) where reading takes long, or None. Raises InputError in one
            sentence: source, what is wrong, remedy.
        stored: the dataset and its records as they are stored, to write a cleaner dataset of them; None: what
            was read cannot be written again.
        texts: whether it heeds ``options.text``, the columns of a table; otherwise that is refused.
        picture: one record's picture as it is encoded there, found without reading the others; None where it
            is too large, or there is none. May raise OSError and pyarrow.ArrowException where it cannot be
            read. Whoever asks may not be trusted: nothing outside the source may be returned, whatever the
            name. None: the source's pictures cannot be reached one by one.
    """

    matches: Callable[[str], bool]
    read: Callable[[str, ReadOptions, Progress], Dataset]
    stored: Callable[[str, ReadOptions, Progress], Stored] | None = None
    picture: Callable[[str, ReadOptions, Wanted], bytes | None] | None = None
    texts: bool = False


readers: Registry[Reader] = Registry("reader", "swaypoint.readers", Reader, home="swaypoint.data.readers")
"""By name. The one that joined last is asked first: those of other packages before our own, whose kinds of
sources exclude each other."""
