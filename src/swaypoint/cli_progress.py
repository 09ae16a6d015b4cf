"""Progress in the terminal: one line a stage."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from swaypoint.flow import Listener


@contextmanager
def progress() -> Iterator[Listener]:
    """A listener that shows stages on stderr, with a bar where the length is known."""
    from swaypoint.flow import Listener

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        bars = _Bars(shown)
        yield Listener(bars.stage, bars.records, bars.epoch)


@dataclass
class _Bars:
    progress: Progress
    task: TaskID | None = None

    def stage(self, name: str) -> None:
        if self.task is not None:
            self.progress.update(self.task, visible=False)
        self.task = self.progress.add_task(name, total=None, note="")

    def records(self, done: int, total: int) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=done, total=total)

    def epoch(self, done: int, total: int, loss: float, validation: float) -> None:
        if self.task is None:
            return
        note = f"loss {loss:.3f}, validation {validation:.3f}"
        self.progress.update(self.task, completed=done, total=total, note=note)
        self.progress.console.print(f"epoch {done}/{total}: {note}", highlight=False)
