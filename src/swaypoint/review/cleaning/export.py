"""The audited dataset with the verdicts applied, in the format of a training pipeline or of another tool."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from swaypoint.data.readers.images import Progress
from swaypoint.errors import InputError
from swaypoint.review.cleaning.cleanlab import write_issues
from swaypoint.review.cleaning.fiftyone import write_fiftyone
from swaypoint.review.cleaning.formats import (
    write_csv,
    write_hugging_face,
    write_image_folder,
    write_json,
    write_parquet,
)
from swaypoint.review.cleaning.labelstudio import write_tasks
from swaypoint.review.cleaning.policy import Policy, clean
from swaypoint.review.cleaning.records import Records, label_name, records
from swaypoint.review.cleaning.source import origin, read_source
from swaypoint.review.cleaning.spreadsheet import write_cells
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review

CHANGES = ("id", "source", "label_before", "label_after", "verdict", "reviewer", "decided_at", "note")
"""Columns of the changelog; ``label_after`` is empty where the record was left out."""


@dataclass(frozen=True)
class Format:
    """How a format is written, and whether as a folder."""

    write: Callable[[Records, Path], None]
    folder: bool = False


formats: dict[str, Format] = {
    "parquet": Format(write_parquet),
    "csv": Format(write_csv),
    "json": Format(write_json),
    "hf": Format(write_hugging_face, folder=True),
    "imagefolder": Format(write_image_folder, folder=True),
    "labelstudio": Format(write_tasks),
    "fiftyone": Format(write_fiftyone, folder=True),
    "cleanlab": Format(write_issues),
}


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Attributes:
        policy: see :func:`swaypoint.review.cleaning.policy.clean`.
        split: ``train``: only the ranked points; ``all``: with those held out, untouched.
        columns: add the canonical columns to the source's own.
        link: link the files of pictures instead of copying them (``imagefolder``).
        source: where the source is now; default: where it was.
    """

    policy: Policy = "flag"
    split: Literal["train", "all"] = "all"
    columns: bool = True
    link: bool = False
    source: Path | None = None


@dataclass(frozen=True)
class Exported:
    """What was written: ``records`` of them, ``relabeled`` among them, ``dropped`` not; ``notes`` are
    what a reader of the export should know, a line each."""

    path: Path
    changes: Path
    records: int
    relabeled: int
    dropped: int
    notes: tuple[str, ...]


def export(
    items: Items,
    review: Review,
    out: Path,
    to: str,
    *,
    options: ExportOptions | None = None,
    on_progress: Progress = None,
) -> Exported:
    """Write the audited dataset to ``out``, which must not be there yet, in the format ``to``.

    The source is only read. A changelog lies in a folder as ``changes.csv``, beside a file as
    ``NAME.changes.csv``.

    Raises:
        InputError: an unknown format, policy or split; ``out`` is taken or within the source; the source
            is gone or changed; a verdict names no class; the format does not suit the data; the disk is
            full.
        MissingExtra: the source, or the format, needs an extra.
    """
    options = options or ExportOptions()
    if to not in formats:
        raise InputError(f"there is no format {to!r}; expected one of {', '.join(formats)}")
    if options.split not in ("train", "all"):
        raise InputError(f"split is {options.split!r}; expected train or all")
    cleaned = clean(items, review, options.policy)
    _check_free(out, folder=formats[to].folder)
    source = read_source(items, options.source, on_progress)
    if Path(source.path).exists() and out.resolve().is_relative_to(Path(source.path).resolve()):
        raise InputError(f"{out} lies within the source {source.path}, which stays as it is; choose another")
    chosen = records(items, source, review, cleaned, held_out=options.split == "all", columns=options.columns)
    write = (
        partial(write_image_folder, link=True) if to == "imagefolder" and options.link else formats[to].write
    )
    changed = source.train[~cleaned.kept | (cleaned.labels != items.scores["label"])]
    with _staged(out, folder=formats[to].folder) as staged:
        write(chosen, staged)
        changes = staged / "changes.csv" if formats[to].folder else staged.with_name(_changes(out))
        _write_changes(chosen, changed, changes)
    return Exported(
        out,
        out / "changes.csv" if formats[to].folder else out.with_name(_changes(out)),
        records=len(chosen),
        relabeled=int(cleaned.kept[cleaned.labels != items.scores["label"]].sum()),
        dropped=int((~cleaned.kept).sum()),
        notes=tuple(_notes(chosen)),
    )


def _write_changes(chosen: Records, changed: np.ndarray, path: Path) -> None:
    """The changelog of the records ``changed``, positions in the dataset."""
    kept = set(chosen.rows.tolist())
    rows = []
    for row in changed.tolist():
        ruling = chosen.ruling(row)
        assert ruling is not None
        after = chosen.label(row) if row in kept else None
        source = chosen.source
        said = (ruling.verdict, ruling.reviewer, ruling.decided_at, ruling.note)
        rows.append((source.ids[row], source.place(row), chosen.given(row), after, *said))
    columns = list(zip(*rows, strict=True)) or [()] * len(CHANGES)
    write_cells(path, iter([pa.table([pa.array(c, pa.string()) for c in columns], names=CHANGES)]))


def _notes(chosen: Records) -> Iterator[str]:
    items, source = chosen.items, chosen.source
    arguments, read = items.manifest["arguments"], origin(items)
    if source.planted:
        yield (
            f"the audit planted {source.planted:,} wrong labels (--flip {arguments['flip']:g}, seed"
            f" {arguments['seed']}): the export holds them, as audited, but where a verdict corrects them"
        )
    if skipped := len(source.dataset.skipped):
        yield f"{skipped:,} records that the audit could not read are left out"
    if read is not None and read[1].limit is not None:
        yield f"only the first {read[1].limit:,} records were audited (--limit); others are left out"
    if not chosen.standing:
        yield "nothing has been reviewed yet"
    if conflicts := sum(ruling.verdict == "conflict" for ruling in chosen.standing.values()):
        yield f"{conflicts:,} points are in conflict between reviewers and keep their label"
    if items.classes:
        emptied = np.setdiff1d(source.dataset.labels[source.train], chosen.labels[chosen.rows])
        for label in emptied.tolist():
            yield f"no record of class {label_name(items, label)} is left"


# -- nothing half-written -------------------------------------------------------------------------


def _changes(out: Path) -> str:
    return f"{out.stem}.changes.csv"


def _check_free(out: Path, *, folder: bool) -> None:
    if folder and out.is_dir() and not any(out.iterdir()):
        return
    for path in (out,) if folder else (out, out.with_name(_changes(out))):
        if path.exists():
            raise InputError(f"{path} is there already; remove it, or choose another --out")


@contextmanager
def _staged(out: Path, *, folder: bool) -> Iterator[Path]:
    """Where to write first: beside ``out``, and renamed to it once everything is there.

    Yields a folder, or the name of a file in one whose other files are renamed to be beside ``out``.

    Raises:
        InputError: the disk is full, or a file beside ``out`` would be overwritten.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield scratch if folder else scratch / out.name
        if folder:
            scratch.chmod(0o755)
            scratch.rename(out)
        else:
            # The export itself last: once it is there, so is what belongs to it.
            written = sorted(scratch.iterdir(), key=lambda file: file.name == out.name)
            for file in written:
                _check_free(out.with_name(file.name), folder=True)
                _synchronise(file)
            for file in written:
                file.rename(out.with_name(file.name))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(
                f"no space left on {out.parent} while writing {out.name}; free some and export again"
            ) from error
        raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _synchronise(file: Path) -> None:
    with file.open("rb+") as handle:
        os.fsync(handle.fileno())
