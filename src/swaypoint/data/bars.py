"""A bar that shows how far a long step is: on a terminal, or in a notebook as HTML that takes no widgets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from html import escape

Told = Callable[[str, int, int], None]
"""Called with a step's name, how much of it is done, and of how much; of 0: that is not known."""
_PAUSE = 0.1
"""Seconds between two updates of a notebook, which keeps up with few messages."""


@contextmanager
def bar() -> Iterator[Told]:
    """On stderr where that is a terminal, below the cell in a notebook, else nowhere; it goes at the end."""
    with _in_notebook() if _a_notebook() else _on_terminal() as told:
        yield told


def _a_notebook() -> bool:
    """Rather than a terminal, IPython's included. There rich takes ipywidgets, and complains without."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


@contextmanager
def _in_notebook() -> Iterator[Told]:
    from IPython.display import HTML, display

    handle, last = display(HTML(""), display_id=True), ("", 0.0)

    def told(name: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if name == last[0] and now - last[1] < _PAUSE:
            return
        last = name, now
        known = f" value='{done}' max='{total}'" if total else ""
        count = f" {done:,} of {total:,}" if total else ""
        handle.update(HTML(f"<progress{known}></progress> {escape(name)}{count}"))

    try:
        yield told
    finally:
        handle.update(HTML(""))


@contextmanager
def _on_terminal() -> Iterator[Told]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as shown:
        task, begun = shown.add_task("", total=None), ""

        def told(name: str, done: int, total: int) -> None:
            nonlocal begun
            if name != begun:
                shown.reset(task, description=name, total=None)
                begun = name
            shown.update(task, completed=done, total=total or None)

        yield told
