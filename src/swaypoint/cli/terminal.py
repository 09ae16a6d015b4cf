"""What the commands share: arguments, progress with one line a stage, and how errors are said."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from swaypoint.cli.pace import Pace, rate_column

if TYPE_CHECKING:
    from rich.console import Console
    from rich.markdown import Markdown
    from rich.progress import Progress, TaskID

    from swaypoint.auditing.run import Listener

OBJECTIVE, MODEL, DATA, RUN, SERVER = "Objective", "Model", "Data", "Run", "Server"
"""Panels of a command's help."""


_KERNEL = "JPY_PARENT_PID"  # which Jupyter sets for its kernels, and they for what they start

Audit = Annotated[Path, typer.Argument(help="An audit folder.", metavar="AUDIT")]
StoreAt = Annotated[
    str | None,
    typer.Option(
        help="Where the verdicts are: a file, or postgresql://… for a team.",
        metavar="URL",
        show_default="AUDIT/review.sqlite",
    ),
]
Checks = Annotated[
    Path | None,
    typer.Option(
        help="Points whose label is known, to tell how often reviewers err: CSV or parquet with the columns"
        " label, and index or id.",
        metavar="FILE",
    ),
]
Source = Annotated[Path | None, typer.Option(help="Where the audited data is now, if moved.")]
Json = Annotated[bool, typer.Option("--json", help="For a machine: as JSON.")]
Device = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]
Threads = Annotated[
    int | None,
    typer.Option(help="Threads of torch, numpy and scikit-learn.", show_default="as many as they take"),
]


def log_place(folder: Path, store: str | None) -> str | Path:
    """Where the verdicts on the audit in ``folder`` are, by :data:`StoreAt`."""
    return folder / "review.sqlite" if store is None else store


def fail(message: str, code: int) -> NoReturn:
    # Not by rich: importing it takes longer than the whole rest of an error.
    coloured = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    start = "\033[1;31merror:\033[0m" if coloured else "error:"
    print(start, _printable(message), file=sys.stderr)
    sys.exit(code)


def screen(*, stderr: bool = False) -> Console:
    """Where commands print; rich is imported when one does. ``!swaypoint`` in a notebook has a terminal, but
    of what moves on it the notebook keeps every frame: there stderr, with the bars, is none."""
    from rich.console import Console

    return Console(stderr=stderr, force_terminal=False if stderr and _KERNEL in os.environ else None)


def markdown(text: str) -> Markdown:
    """To be printed on a :func:`screen`."""
    from rich.markdown import Markdown

    return Markdown(text)


def plain(text: str) -> str:
    """On one line, without markup, and without what could steer the terminal or not be printed on it."""
    return _printable(text).replace("[", r"\[")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextmanager
def progress(*, quiet: bool = False, verbose: bool = False) -> Iterator[Listener]:
    """A listener that shows stages on stderr, with a bar where the length is known; ``quiet``: none of it,
    ``verbose``: also a line a stage and an epoch, which stays."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from swaypoint.auditing.run import Listener

    if quiet:
        yield Listener()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        rate_column(),
        TimeRemainingColumn(),
    )
    console = screen(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        bars = _Bars(shown, verbose)
        yield Listener(bars.stage, bars.records, bars.epoch, bars.note)


@dataclass
class _Bars:
    progress: Progress
    verbose: bool
    task: TaskID | None = None
    pace: Pace | None = None

    def stage(self, name: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, visible=False)
        self.task, self.pace = self.progress.add_task(name, total=None), Pace(name)
        self._say(name)

    def records(self, done: int, total: int) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total)
        self._pace(done, total)

    def epoch(self, done: int, total: int, loss: float, validation: float) -> None:
        if self.task is None:
            return
        note = f"loss {loss:.3f}, validation {validation:.3f}"
        name = f"training, epoch {done} of {total}: {note}"
        self.progress.update(self.task, completed=done, total=total, description=name)
        self._say(f"epoch {done}/{total}: {note}")
        self._pace(done, total)

    def note(self, text: str) -> None:
        self.progress.console.print(plain(text), highlight=False)

    def _pace(self, done: int, total: int) -> None:
        console = self.progress.console
        if self.pace is not None and not console.is_terminal and (line := self.pace.said(done, total)):
            console.print(line, highlight=False)

    def _say(self, text: str) -> None:
        if self.verbose:
            self.progress.console.print(text, highlight=False)


def save_report(folder: Path, out: Path | None, console: Console) -> None:
    """Write an audit's report, and say where it is."""
    from swaypoint.folder.audit_folder import AuditFolder
    from swaypoint.report.html import write_report

    path = write_report(AuditFolder(folder), folder / "report.html" if out is None else out)
    console.print(f"report: {plain(str(path))}", soft_wrap=True, highlight=False)
