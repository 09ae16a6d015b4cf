"""Records as a folder of texts by class."""

from __future__ import annotations

from pathlib import Path

from swaypoint.errors import InputError
from swaypoint.review.cleaning.exporters import Exporter, exporters
from swaypoint.review.cleaning.image_folder import class_places, write_metadata
from swaypoint.review.cleaning.records import Records


def write_text_folder(records: Records, path: Path) -> None:
    """``CLASS/FILE.txt`` in UTF-8 by the label after the policy, and ``metadata.csv`` of the other columns.

    Raises:
        InputError: points are no texts, are several each, have no classes, or a class's name is none for a
            folder.
    """
    name, dataset = records.source.path, records.source.dataset
    if dataset.kind != "texts":
        raise InputError(f"{name} holds no texts, which --to textfolder is for; choose --to parquet or csv")
    if dataset.inputs.shape[1] > 1:
        raise InputError(
            f"{name} holds {dataset.inputs.shape[1]} texts a record, and a file one; choose --to parquet"
        )
    if not records.items.classes:
        raise InputError(
            f"{name} has real values for labels, and --to textfolder needs classes; choose parquet"
        )
    names = class_places(records, lambda row: ".txt")
    for row, place in names.items():
        (path / place).parent.mkdir(parents=True, exist_ok=True)
        # As bytes: a text keeps the ends of its lines.
        (path / place).write_bytes(dataset.inputs[row, 0].encode("utf-8"))
    write_metadata(records, names, path)


exporters.register("textfolder", Exporter(write_text_folder, folder=True))
