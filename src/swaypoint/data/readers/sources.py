"""From a path, a URL or a name to a dataset: the one door, behind which :data:`readers` are asked in turn."""

from __future__ import annotations

import os
from pathlib import Path

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.names import absent
from swaypoint.data.readers.base import Reader, readers
from swaypoint.data.readers.images import Progress
from swaypoint.data.readers.stored import Stored
from swaypoint.errors import InputError
from swaypoint.folder.documents import require_file

_EXPECTED = "expected a dataset's file, directory or hub name"


def read_dataset(
    source: str | Path, *, options: ReadOptions | None = None, on_progress: Progress = None
) -> Dataset:
    """Read and check a labelled dataset.

    Args:
        source: a directory of class subfolders with images, of parquet files, or of a saved Hugging
            Face dataset; a table as ``.parquet``, ``.csv``, ``.tsv``, ``.jsonl``, ``.json``, ``.xlsx``,
            ``.feather``, ``.arrow``, SQLite or DuckDB; an ``.npz`` file; ``sklearn:digits`` and its like; a
            hub name ``owner/name`` where no such path exists; or whatever a reader of another
            package takes.
        on_progress: called with (records done, records in all) while images are decoded.

    Raises:
        InputError: the source is missing, damaged, or no labelled dataset; one line with the remedy.
        MissingExtra: the source needs Pillow, scikit-learn or ``datasets``, or a package that
            reads its kind of table.
    """
    options = options or ReadOptions()
    return _checked_reader(str(source), options).read(str(source), options, on_progress)


def read_stored(
    source: str | Path, *, options: ReadOptions | None = None, on_progress: Progress = None
) -> Stored:
    """A labelled dataset and its records as they are stored, to write them out again.

    Raises:
        InputError: as :func:`read_dataset`, or its reader cannot give them back.
        MissingExtra: as :func:`read_dataset`.
    """
    options = options or ReadOptions()
    reader = _checked_reader(str(source), options)
    if reader.stored is None:
        raise InputError(
            f"{source}: its reader gives no stored records back, so it cannot be written again; save it as"
            " another kind of file, and audit that"
        )
    return reader.stored(str(source), options, on_progress)


def reader_of(source: str | Path) -> Reader | None:
    """The reader that takes a source, None where there is none: the one that joined last is asked first.

    Raises:
        InputError: none takes what is there, and one of another package, which might, cannot be imported.
    """
    broken: list[InputError] = []
    for name in reversed(list(readers)):
        try:
            reader = readers[name]
        except InputError as error:  # of another package: the others go on
            broken.append(error)
            continue
        if reader.matches(str(source)):
            return reader
    if broken and os.path.exists(source):
        raise broken[0]
    return None


def _checked_reader(source: str, options: ReadOptions) -> Reader:
    if options.limit is not None and options.limit < 1:
        raise InputError(f"limit is {options.limit}; expected a positive number of records")
    if options.image_size is not None and options.image_size < 1:
        raise InputError(f"image_size is {options.image_size}; expected a positive number of pixels")
    if (reader := reader_of(source)) is not None:
        if options.text is not None and not reader.texts:
            raise InputError(
                f"{source}: --text {options.text} names a column of a table, and this is none; leave it out"
            )
        return reader
    if not os.path.exists(source):  # not Path.exists(), which raises for a name too long
        raise absent(source)
    require_file(Path(source), _EXPECTED)
    kind = Path(source).suffix.lower() or "(no extension)"
    raise InputError(
        f"{source}: unknown kind of file {kind}; expected .parquet, .csv, .tsv, .jsonl, .json, .xlsx,"
        " .feather, .arrow, .sqlite, .duckdb, .npz, or a directory"
    )
