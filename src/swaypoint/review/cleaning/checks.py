"""Points whose label is known, by which one tells how often reviewers err: a file that the owner keeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from swaypoint.errors import InputError, reading
from swaypoint.folder.documents import read_parquet, require_file
from swaypoint.review.cleaning.policy import label_value
from swaypoint.review.items import Items

REMEDY = "expected CSV or parquet with the columns label and index (as in scores.parquet) or id"


def read_labels(items: Items, path: Path, remedy: str = REMEDY) -> dict[int, str]:
    """True labels by position, from a file with the column ``label`` and either ``id`` or ``index`` (the
    record's position in the source, as in scores.parquet).

    Raises:
        InputError: the file is of another form.
    """
    require_file(path, remedy)
    with reading(path, "a table of true labels", remedy):
        table: pa.Table = read_parquet(path, remedy) if path.suffix == ".parquet" else pa_csv.read_csv(path)
        by_id = "id" in table.column_names
        keys = table["id" if by_id else "index"].to_pylist()
        labels = dict(zip(keys, table["label"].to_pylist(), strict=True))
    places: dict[Any, int] = (
        {item: position for position, item in enumerate(items.ids)}
        if by_id
        else {int(index): position for position, index in enumerate(items.scores["index"])}
    )
    known = {key: label for key, label in labels.items() if key in places and label is not None}
    return {places[key]: str(label) for key, label in known.items()}


def read_checks(items: Items, path: Path) -> dict[str, bool]:
    """By id of each point of the file, whether its given label is another than the known one.

    Raises:
        InputError: the file is of another form, or none of its points is in the audit.
    """
    labels = read_labels(items, path)
    if not labels:
        raise InputError(f"{path}: none of its points is in {items.name}; {REMEDY}")
    return {items.ids[position]: differs(items, position, label) for position, label in labels.items()}


def differs(items: Items, position: int, true: str) -> bool:
    """Whether the point's given label is another than ``true``, values to nine digits.

    Raises:
        InputError: values are asked for and ``true`` is none.
    """
    if items.classes:
        return items.label(position) != true
    value = label_value(items, true, f"the true label of {items.ids[position]}")
    return not np.isclose(items.scores["label"][position], value, rtol=1e-9, atol=0.0)
