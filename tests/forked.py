"""A command of swaypoint in a process of its own that need not import anything first: forked off a process
that has, which takes a hundredth of the time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.reduction import DupFd

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["swaypoint.cli.main", "swaypoint.cli.review", "swaypoint.review.page.serve"])


class Forked:
    """``swaypoint`` with ``arguments``; what it says is read from ``stdout``, one line at a time."""

    def __init__(self, *arguments: str) -> None:
        readable, writable = os.pipe()
        self._process = _FORKS.Process(
            target=_run, args=(DupFd(writable), arguments, dict(os.environ)), daemon=True
        )
        self._process.start()
        os.close(writable)
        self.stdout = os.fdopen(readable)

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, how: int = signal.SIGTERM) -> None:
        os.kill(self._process.pid, how)

    def wait(self, seconds: float) -> None:
        self._process.join(seconds)
        assert self.poll() is not None, "it goes on"


def _run(output, arguments, environment) -> None:
    descriptor = output.detach()
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    sys.stdout, sys.stderr = (os.fdopen(stream, "w", buffering=1) for stream in (1, 2))
    os.environ |= environment | {"COLUMNS": "200"}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as where a shell starts it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from swaypoint.cli.main import main

    sys.argv = ["swaypoint", *arguments]
    main()
