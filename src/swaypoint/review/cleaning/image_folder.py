"""Records as a folder of pictures by class."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from swaypoint.data.dataset import Dataset
from swaypoint.errors import InputError
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.records import Records
from swaypoint.review.cleaning.spreadsheet import write_cells
from swaypoint.review.cleaning.text import flat, readable

# Not in a folder's name on one of the common systems; "/" and ".." would leave the export's folder.
_NO_FOLDER = re.compile(r'[/\\<>:"|?*\x00-\x1f\x7f]|^[. ]|[. ]$|^$')
_NAME_BYTES = 200


def write_image_folder(records: Records, path: Path, *, link: bool = False) -> None:
    """``CLASS/FILE`` by the label after the policy, and ``metadata.csv``, as ``datasets`` reads it; of a
    source with splits, ``SPLIT/CLASS/FILE`` and one beside the classes of each.

    Args:
        link: link files instead of copying them, where the file system can.

    Raises:
        InputError: points are no pictures, have no classes, or a class's name is none for a folder.
    """
    check_pictures(records, "imagefolder")
    pictures = records.source.pictures
    assert pictures is not None
    names = class_places(records, pictures.suffix)
    for row, name in names.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        put_picture(records, row, path / name, link=link)
    write_metadata(records, names, path)


def write_metadata(records: Records, names: dict[int, str], path: Path) -> None:
    """The other columns beside the files that ``names`` has by row, as ``metadata.csv`` of each split."""
    metadata = pa.concat_tables(map(flat, readable(records)))
    dataset = records.source.dataset
    filed = {records.source.image, *(dataset.columns if dataset.kind == "texts" else ())}
    metadata = metadata.drop_columns([name for name in metadata.column_names if name in filed])
    metadata = metadata.rename_columns([_no_file(name) for name in metadata.column_names])
    # "./": a folder's name that starts like a formula stays a path, without an apostrophe.
    rows = records.rows.tolist()
    splits = [_split(dataset, row) for row in rows]
    places = [names[row].removeprefix(split) for row, split in zip(rows, splits, strict=True)]
    files = pa.array([f"./{place}" for place in places], pa.string())
    metadata = metadata.add_column(0, "file_name", files)
    for split in dict.fromkeys(splits):
        own = metadata.filter(pa.array([other == split for other in splits]))
        write_cells(path / split / "metadata.csv", iter([_types_first(own)]))


def check_pictures(records: Records, what: str) -> None:
    """Refuse what the format ``what`` cannot show.

    Raises:
        InputError: points are no pictures, or have no classes.
    """
    name = records.source.path
    if records.source.pictures is None:
        raise InputError(f"{name} holds no pictures, which --to {what} is for; choose --to parquet or csv")
    if not records.items.classes:
        raise InputError(f"{name} has real values for labels, and --to {what} needs classes; choose parquet")


def _check_folder_name(name: str) -> None:
    if _NO_FOLDER.search(name) or len(name.encode()) > _NAME_BYTES:
        raise InputError(
            f"the class {name!r} cannot name a folder: empty, too long, with a dot or space at an end, or one"
            ' of / \\ < > : " | ? * in it; choose --to parquet or hf'
        )


def class_places(records: Records, suffix: Callable[[int], str]) -> dict[int, str]:
    """``CLASS/FILE`` by row, within its split where there are several. Files keep their name, but a moved one
    whose name is taken gets its id; what is no file yet is called by its id and ``suffix``.

    Raises:
        InputError: a class's name is none for a folder.
    """
    for name in records.items.classes:
        _check_folder_name(name)
    source, labels = records.source, {row: records.label(row) for row in records.rows.tolist()}
    own = [name.removeprefix(_split(source.dataset, row)) for row, name in enumerate(source.dataset.names)]
    moved = {row for row, label in labels.items() if own and own[row].split("/")[0] != label}
    places: dict[int, str] = {}
    taken: set[str] = set()
    for row in sorted(labels, key=lambda row: row in moved):
        name = own[row].split("/", 1)[1] if own else source.ids[row] + suffix(row)
        folder = f"{_split(source.dataset, row)}{labels[row]}"
        place = f"{folder}/{name}"
        if place.casefold() in taken and row in moved:
            name = Path(name).with_stem(f"{Path(name).stem}-{source.ids[row]}").as_posix()
            place = f"{folder}/{name}"
        taken.add(place.casefold())  # some file systems take Cat.png for cat.png
        places[row] = place
    return places


def _split(dataset: Dataset, row: int) -> str:
    """``SPLIT/`` where the dataset has several."""
    return "" if dataset.split is None else f"{dataset.split[row]}/"


def put_picture(records: Records, row: int, file: Path, *, link: bool = False) -> None:
    """The original file or its bytes at ``file``."""
    assert records.source.pictures is not None
    original = records.source.pictures.file(row)
    if original is None:
        file.write_bytes(records.source.pictures.encoded(row))
        return
    if link:
        try:
            os.link(original.resolve(), file)
            return
        except OSError:  # another file system, or one without links
            pass
    shutil.copyfile(original, file)


def _no_file(name: str) -> str:
    """``datasets`` takes every column called ``…file_name`` for pictures, and makes one called ``image``."""
    return "image_column" if name == "image" else re.sub(r"(^|_)file_name(s?)$", r"\1file\2", name)


def _types_first(table: pa.Table) -> pa.Table:
    """Rows that show each text column to be text come first.

    ``datasets`` takes the columns' types from the first 10,000 rows: a column that is empty until then,
    as the reviewers' are, would be one of numbers.
    """
    first = []
    for column in table.columns:
        if pa.types.is_string(column.type):
            telling = pc.match_substring_regex(column, r"[^0-9.\s]").fill_null(False)
            first += np.flatnonzero(telling.to_numpy())[:1].tolist()
    order = list(dict.fromkeys([*first, *range(len(table))]))
    return table.take(pa.array(order, pa.int64()))


exporters.register(
    "imagefolder",
    Exporter(write_image_folder, folder=True, link=partial(write_image_folder, link=True)),
)
