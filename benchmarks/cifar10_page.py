"""The tables and curves of docs/cifar10.md, from the parquet files beside it; no training.

python -m benchmarks.cifar10_page                # tables and pictures anew
python -m benchmarks.cifar10_page --add cifar10  # after the models of a study's folder were added
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from swaypoint.folder.writing import write_table, write_text
from swaypoint.studies.cifar10.pictures import draw_fitness, draw_regime
from swaypoint.studies.cifar10.summary import REGIME, Detections, fitness_table, overview, regime_tables

DOCS = Path(__file__).parent.parent / "docs"
NAME = "CIFAR-10 (JPEG re-encoded)"
_MODEL = (*REGIME, "noise_seed", "member")
_KEYS = {
    "detections": (*_MODEL, "score"),
    "wrong": ("share", "seed", "kind"),
    "fitness": (*_MODEL, "epoch"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="The tables and curves of docs/cifar10.md.")
    parser.add_argument("--add", type=Path, help="a study's folder, whose models are added first")
    parser.add_argument("--name", default=NAME, help="what the pictures call the data")
    options = parser.parse_args()
    if options.add is not None:
        for part, key in _KEYS.items():
            kept = DOCS / f"cifar10-{part}.parquet"
            write_table(
                kept, merged(pq.read_table(kept), pq.read_table(options.add / f"{part}.parquet"), key)
            )
    detections, fitness = results()
    for regime in detections.regimes():
        picture = DOCS / f"cifar10-roc-{detections.slug(regime)}.png"
        draw_regime(detections, regime, picture, options.name)
    draw_fitness(fitness, DOCS / "cifar10-fitness.png", options.name)
    page = DOCS / "cifar10.md"
    write_text(page, filled(page.read_text(), sections(detections, fitness)))


def merged(old: pa.Table, new: pa.Table, key: Sequence[str]) -> pa.Table:
    """Rows of both; of those that agree in ``key`` the new one."""
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in (*old.to_pylist(), *new.to_pylist()):
        rows[tuple(row[name] for name in key)] = row
    ordered = sorted(rows, key=lambda name: [(part is not None, part) for part in name])
    return pa.Table.from_pylist([rows[name] for name in ordered], schema=old.schema)


def results() -> tuple[Detections, list[dict[str, Any]]]:
    """What the page is made of: detections, and the rows of its table of fitness."""
    detections = pq.read_table(DOCS / "cifar10-detections.parquet").to_pylist()
    return Detections.from_rows(detections), pq.read_table(DOCS / "cifar10-fitness.parquet").to_pylist()


def sections(detections: Detections, fitness: Sequence[dict[str, Any]]) -> dict[str, str]:
    """What stands between the page's marks, by their names."""
    return {
        "overview": overview(detections),
        "detection": regime_tables(detections, level=3, curves="cifar10-roc-"),
        "fitness": fitness_table(fitness),
    }


def filled(page: str, parts: dict[str, str]) -> str:
    """``page`` with each ``<!-- NAME -->`` to ``<!-- end -->`` around the part of that name."""
    for name, part in parts.items():
        before, _, rest = page.partition(f"<!-- {name} -->\n")
        _, _, after = rest.partition("<!-- end -->")
        page = f"{before}<!-- {name} -->\n{part}\n<!-- end -->{after}"
    return page


if __name__ == "__main__":
    main()
