"""The command line for people who have probabilities: ``swaypoint labels``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from swaypoint.cli.commands import Family
from swaypoint.cli.terminal import plain, screen
from swaypoint.errors import InputError

family = Family()


@family.command()
def labels(
    file: Annotated[
        Path, typer.Argument(help="An .npz of probabilities (n, C) and labels (n,), class indices.")
    ],
    top: Annotated[int, typer.Option(help="How many to print.")] = 20,
    out: Annotated[
        Path | None, typer.Option(help="CSV of every record: row, label, likely, score, p_wrong.")
    ] = None,
) -> None:
    """Which labels are probably wrong, from the probabilities of any model that has not seen them.

    The probabilities must be out of sample: out of fold, or leave one out. docs/labels.md has the score, and
    what its probability of being wrong is worth.

      swaypoint labels probabilities.npz --out suspects.csv
    """
    import numpy as np
    import pyarrow as pa
    from pyarrow import csv
    from rich.table import Table

    from swaypoint.data.readers.npz import npz_arrays
    from swaypoint.folder.documents import require_file
    from swaypoint.folder.writing import replace_file
    from swaypoint.scoring.wrong_labels import wrong_labels

    require_file(file, "expected an .npz of probabilities and labels")
    arrays = npz_arrays(str(file))
    for name in ("probabilities", "labels"):
        if name not in arrays:
            raise InputError(f"{file}: no array {name!r}; it has {', '.join(arrays) or 'none'}")
    probabilities, given = arrays["probabilities"], arrays["labels"]
    found = wrong_labels(probabilities, given)
    order = np.argsort(-found.score, kind="stable")
    others = np.array(probabilities, dtype=np.float32)
    others[np.arange(len(given)), given.astype(np.int64)] = -1.0
    likely = others.argmax(1)
    console = screen()
    channel = f"a channel by classes is told ({found.evidence:.0f} nats)" if found.believed else "no channel"
    console.print(
        f"{plain(str(file))}: {len(given):,} labels, {found.expected:,.0f} expected to be wrong by the"
        f" model's own estimate (no bound); {channel}",
        highlight=False,
        soft_wrap=True,
    )
    shown = Table("rank", "row", "label", "likely", "p wrong", "score", box=None)
    for rank, row in enumerate(order[:top].tolist(), 1):
        values = (rank, row, int(given[row]), int(likely[row]))
        shown.add_row(*map(str, values), f"{found.p_wrong[row]:.2f}", f"{found.score[row]:+.2f}")
    console.print(shown)
    if out is not None:
        columns = {"row": order, "label": given[order], "likely": likely[order]}
        columns |= {"score": found.score[order], "p_wrong": found.p_wrong[order]}
        replace_file(out, lambda path: csv.write_csv(pa.table(columns), path))
        console.print(f"written: {plain(str(out))}", soft_wrap=True, highlight=False)
