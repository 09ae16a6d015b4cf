"""An exporter: a line a record, its label after the policy and its id."""

from pathlib import Path

from swaypoint.review.cleaning.exporters import Exporter
from swaypoint.review.cleaning.records import Records


def write(records: Records, path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for row in records.rows.tolist():
            file.write(f"{records.label(row)}\t{records.source.ids[row]}\n")


toy = Exporter(write)
