"""The audited dataset with the verdicts applied, in the format of a training pipeline or of another tool."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from swaypoint.data.readers.images import Progress
from swaypoint.errors import InputError
from swaypoint.review.cleaning.acting import Acted, act
from swaypoint.review.cleaning.exporters import exporters
from swaypoint.review.cleaning.policy import Policy, clean
from swaypoint.review.cleaning.records import ALL, PERSONAL, Records, label_name, records
from swaypoint.review.cleaning.source import origin, read_source
from swaypoint.review.cleaning.spreadsheet import write_cells
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review

CHANGES = (
    "id",
    "source",
    "label_before",
    "label_after",
    "verdict",
    "reviewer",
    "decided_at",
    "note",
    "finding",
)
"""Columns of the changelog; ``label_after`` is empty where the record was left out, ``finding`` says by which
finding if by one, and those that tell of people are there only where reviewers are asked for."""

UNVERIFIED = "the log did not verify"
"""In place of an id in the changelog's first line, with the reason as its source, where the log was not as
written."""


@dataclass(frozen=True)
class ExportOptions:
    """What is exported.

    Attributes:
        policy: see :func:`swaypoint.review.cleaning.policy.clean`.
        split: ``all``, or only the records of one: ``train``, ``held_out``, or one of the source's own.
        columns: add the canonical columns to the source's own.
        link: link the source's own files instead of copying them, where the format copies any.
        source: where the source is now; default: where it was.
        reviewers: with reviewers' names and notes, and their ``comments`` by item.
        doubt: why the log of verdicts did not verify, where it is exported all the same: the first line of
            the changelog says it.
        act: names of findings whose remedy is followed, see :func:`swaypoint.review.cleaning.acting.act`.
    """

    policy: Policy = "flag"
    split: str = ALL
    columns: bool = True
    link: bool = False
    source: Path | None = None
    reviewers: bool = False
    doubt: str = ""
    act: tuple[str, ...] = ()
    comments: Mapping[str, str] = field(default_factory=dict)


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
    exporter = exporters.named(to)
    if options.split not in (known := (ALL, *items.splits)):
        raise InputError(f"split is {options.split!r}; expected one of {', '.join(known)}")
    acted = act(items, review, options.act)
    cleaned = clean(items, review, options.policy, acted.leaving)
    _check_free(out, folder=exporter.folder)
    source = read_source(items, options.source, on_progress)
    if Path(source.path).exists() and out.resolve().is_relative_to(Path(source.path).resolve()):
        raise InputError(f"{out} lies within the source {source.path}, which stays as it is; choose another")
    chosen = records(
        items,
        source,
        review,
        cleaned,
        split=options.split,
        columns=options.columns,
        reviewers=options.reviewers,
        comments=options.comments,
    )
    write = exporter.link if options.link and exporter.link is not None else exporter.write
    asked = (options.split == ALL) | (items.scores["split"] == options.split)
    dropped, other = asked & ~cleaned.kept, cleaned.labels != items.scores["label"]
    changed = source.ranked[dropped | (asked & other)]
    with _staged(out, folder=exporter.folder) as staged:
        write(chosen, staged)
        changes = staged / "changes.csv" if exporter.folder else staged.with_name(_changes(out))
        _write_changes(chosen, changed, changes, options.doubt, acted)
    return Exported(
        out,
        out / "changes.csv" if exporter.folder else out.with_name(_changes(out)),
        records=len(chosen),
        relabeled=int((asked & cleaned.kept & other).sum()),
        dropped=int(dropped.sum()),
        notes=(
            *((f"the log did not verify: {options.doubt}",) if options.doubt else ()),
            *((f"{acted.spared:,} points stay that a person judged",) if acted.spared else ()),
            *_notes(chosen),
        ),
    )


def _write_changes(chosen: Records, changed: np.ndarray, path: Path, doubt: str, acted: Acted) -> None:
    """The changelog of the records ``changed``, positions in the dataset."""
    kept = set(chosen.rows.tolist())
    rows: list[tuple[str | None, ...]] = []
    if doubt:
        rows.append((UNVERIFIED, doubt, *[None] * (len(CHANGES) - 2)))
    for row in changed.tolist():
        ruling = chosen.ruling(row)
        assert ruling is not None
        after = chosen.label(row) if row in kept else None
        source = chosen.source
        said = (ruling.verdict, ruling.reviewer, ruling.decided_at, ruling.note)
        by = acted.leaving.get(int(chosen.positions[row]))
        rows.append((source.ids[row], source.place(row), chosen.given(row), after, *said, by))
    columns = list(zip(*rows, strict=True)) or [()] * len(CHANGES)
    table = pa.table([pa.array(c, pa.string()) for c in columns], names=CHANGES)
    if not chosen.reviewers:
        table = table.drop_columns([name for name in CHANGES if name in PERSONAL])
    write_cells(path, iter([table]))


def _notes(chosen: Records) -> Iterator[str]:
    items, source = chosen.items, chosen.source
    arguments, read = items.manifest.arguments, origin(items)
    if source.planted:
        yield (
            f"the audit planted {source.planted:,} wrong labels (--flip {arguments['flip']:g}, seed"
            f" {arguments['seed']}): the export holds them, as audited, but where a verdict corrects them"
        )
    if skipped := len(source.dataset.skipped):
        yield f"{skipped:,} records that the audit could not read are left out"
    if (of := source.dataset.of) is not None:
        yield f"a first look: {len(source):,} of {of:,} records were audited (--quick); others are left out"
    elif read is not None and read[1].limit is not None:
        yield f"only the first {read[1].limit:,} records were audited (--limit); others are left out"
    if not chosen.standing:
        yield "nothing has been reviewed yet"
    if conflicts := sum(ruling.verdict == "conflict" for ruling in chosen.standing.values()):
        yield f"{conflicts:,} points are in conflict between reviewers and keep their label"
    if items.classes:
        written = source.ranked[np.isin(source.split[source.ranked], source.split[chosen.rows])]
        emptied = np.setdiff1d(source.dataset.labels[written], chosen.labels[chosen.rows])
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
