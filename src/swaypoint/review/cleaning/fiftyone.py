"""FiftyOne: a CSV file of pictures with labels and tags, a dataset there from it, and its tags back."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from swaypoint.errors import InputError, MissingExtra
from swaypoint.review.cleaning.claims import Claim, decided, is_verdict, point
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.image_folder import check_pictures, put_picture
from swaypoint.review.cleaning.records import Records
from swaypoint.review.cleaning.spreadsheet import read_cells, write_cells
from swaypoint.review.items import Items

COLUMNS = ("filepath", "label", "influence", "tags", "swaypoint_id")
_REVIEWER = "fiftyone"


def write_fiftyone(records: Records, path: Path) -> None:
    """``labels.csv``; pictures that are no files of their own lie beside it in ``data``.

    Tags are the split and, as ``verdict:bad``, what reviewers said.

    Raises:
        InputError: points are no pictures, or have no classes.
    """
    check_pictures(records, "fiftyone")
    assert records.source.pictures is not None
    (path / "data").mkdir()
    files, rows = [], records.rows.tolist()
    for row in rows:
        file = records.source.pictures.file(row)
        if file is None:
            name = f"data/{records.source.ids[row]}{records.source.pictures.suffix(row)}"
            put_picture(records, row, path / name)
        files.append(name if file is None else str(file.absolute()))
    ranked = records.positions[records.rows]
    influence = np.ma.array(records.items.scores["cook"][ranked].astype(np.float64), mask=ranked < 0)
    columns = {
        "filepath": files,
        "label": [records.label(row) for row in rows],
        "influence": influence,
        "tags": [_tags(records, row) for row in rows],
        "swaypoint_id": [records.source.ids[row] for row in rows],
    }
    write_cells(path / "labels.csv", iter([pa.table(columns)]))


def _tags(records: Records, row: int) -> str:
    ruling = records.ruling(row)
    return records.split(row) + ("" if ruling is None else f",verdict:{ruling.verdict}")


exporters.register("fiftyone", Exporter(write_fiftyone, folder=True))


def to_fiftyone(folder: Path) -> Any:
    """A ``fiftyone.Dataset`` of an export: ``ground_truth``, ``influence`` (HIGH = look first), tags.

    Raises:
        InputError: ``folder`` is no such export.
        MissingExtra: FiftyOne is not installed.
    """
    cells = _cells(folder / "labels.csv", COLUMNS)
    try:
        fiftyone = importlib.import_module("fiftyone")
    except ModuleNotFoundError as error:
        raise MissingExtra("fiftyone is not installed; it comes with: pip install fiftyone") from error
    samples = []
    for file, label, influence, tags, item in zip(*(cells[name] for name in COLUMNS), strict=True):
        sample = fiftyone.Sample(filepath=str(folder.absolute() / file), tags=tags.split(","))
        sample["ground_truth"] = fiftyone.Classification(label=label)
        sample["influence"] = float(influence) if influence else None
        sample["swaypoint_id"] = item
        samples.append(sample)
    dataset = fiftyone.Dataset()
    dataset.add_samples(samples)
    return dataset


def read_tags(path: Path, items: Items, reviewer: str | None) -> list[Claim]:
    """What changed in FiftyOne, of its CSV export: a tag that is a verdict is one; a label other than the
    given says mislabeled; a line with neither says nothing. Labels are in ``label`` or ``ground_truth``.

    Args:
        reviewer: default ``fiftyone``.

    Raises:
        InputError: not such a file, or a line that makes no sense; the row is named.
    """
    cells = _cells(path, ("swaypoint_id", "tags"))
    labels = cells.get("label") or cells.get("ground_truth") or cells.get("ground_truth.label")
    if labels is None:
        raise InputError(f"{path}: no column label or ground_truth; export that field too")
    claims = []
    rows = zip(cells["swaypoint_id"], labels, cells["tags"], strict=True)
    for number, (item, label, tags) in enumerate(rows, 1):
        where = f"{path}, row {number}"
        found = [tag for tag in re.split(r"[][\s,;'\"]+", tags) if is_verdict(tag)]
        if len(found) > 1:
            raise InputError(f"{where}: the tags {' and '.join(found)}; expected one verdict")
        if not found and items.position(item) is None:
            continue  # held out: exported so that nothing is missing there
        position = point(items, item, where)
        decision = decided(items, position, label or None, found[0] if found else None, "", where)
        if decision is not None:
            claims.append(Claim(item, reviewer or _REVIEWER, decision))
    return claims


def _cells(path: Path, needed: tuple[str, ...]) -> dict[str, list[str]]:
    cells = read_cells(path)
    if missing := [name for name in needed if name not in cells]:
        raise InputError(
            f"{path}: no column {missing[0]}; expected {', '.join(needed)}, as swaypoint exports"
        )
    return cells
