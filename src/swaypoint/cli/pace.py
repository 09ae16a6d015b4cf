"""How fast a long step goes: beside its bar, or where there is none in a line now and then."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

EVERY = 30.0
"""Seconds from one line to the next."""


@dataclass
class Pace:
    """Of a step ``name``, from where it is first told of; a count that falls is another one."""

    name: str
    first: int = -1
    done: int = -1
    begun: float = field(default_factory=time.monotonic)
    last: float = 0.0

    def said(self, done: int, total: int) -> str:
        """A line where one is due, else "".

        >>> pace = Pace("reading", first=0, begun=time.monotonic() - 60.0)
        >>> pace.said(300, 1000)
        'reading: 300 of 1,000, 5.0 a second, 140 s left'
        >>> Pace("training", first=0, begun=time.monotonic() - 60.0).said(2, 15)
        'training: 2 of 15, 30 s each, 390 s left'
        """
        now = time.monotonic()
        if self.first < 0 or done < self.done:
            self.first, self.begun = done, now
        self.done = done
        if done == total or now - max(self.begun, self.last) < EVERY or done == self.first:
            return ""
        self.last = now
        rate = (done - self.first) / (now - self.begun)
        pace = f"{rate:,.1f} a second" if rate >= 0.1 else f"{1 / rate:,.0f} s each"
        return f"{self.name}: {done:,} of {total:,}, {pace}, {(total - done) / rate:,.0f} s left"


def rate_column() -> ProgressColumn:
    """Of a bar: how many a second; empty where it is not known."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            rate = task.finished_speed or task.speed
            return Text("" if rate is None else f"{rate:,.{0 if rate >= 100 else 1}f}/s")

    return Rate()
