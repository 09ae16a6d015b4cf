"""Exports and retrainings that who runs the review starts from the page: one at a time, in a process of its
own, which goes on while the page is closed or loaded anew."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import zipfile
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from swaypoint.errors import InputError
from swaypoint.review.cleaning.exporters import exporters
from swaypoint.review.cleaning.policy import POLICIES
from swaypoint.review.items import Items
from swaypoint.review.log.sessions import Session
from swaypoint.review.page.saved import Forbidden

LARGEST = 200_000_000
"""Bytes of an export that is given as one file; a larger one stays where it is."""
MOST_SEEDS = 20
_SUFFIXES = {"labelstudio": "json", "cleanlab": "csv"}
_KEPT = 20
State = Literal["running", "done", "failed", "stopped"]


@dataclass(frozen=True)
class Job:
    """One of them.

    Attributes:
        what: in words.
        by, begun: who started it and when, UTC time (ISO 8601).
        stage: what it does; ``done`` of ``total`` parts of that, 0 of 0 where they are not known.
        said: what came of it, or why it failed.
        place: where an export is, beside the audit; "" of a retraining.
        bytes: how large; 0: it is none, or too large to be given as one file.
    """

    id: str
    what: str
    by: str
    begun: str
    state: State = "running"
    stage: str = "starting"
    done: int = 0
    total: int = 0
    said: str = ""
    place: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class WorkPage:
    """What can be started, and what was, the last first."""

    formats: tuple[str, ...]
    policies: tuple[str, ...]
    jobs: tuple[Job, ...]
    most_seeds: int = MOST_SEEDS

    @property
    def running(self) -> bool:
        return any(job.state == "running" for job in self.jobs)


class Work:
    """Those of a review since its server started.

    Args:
        store: where the log is, as :func:`~swaypoint.review.log.store.open_store` takes it.
    """

    def __init__(self, items: Items, store: str) -> None:
        self.items, self.store = items, store
        self._jobs: dict[str, Job] = {}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def page(self) -> WorkPage:
        with self._lock:
            return WorkPage(tuple(exporters), POLICIES, tuple(self._jobs.values())[::-1])

    def perform(self, session: Session, sent: dict[str, Any]) -> None:
        """What the page sends: ``do`` is export, retrain or stop. No path comes from there.

        Raises:
            Forbidden: it is not who runs the review.
            InputError: it makes no sense, or something runs already.
        """
        if not session.owner:
            raise Forbidden("Only who runs the review exports and retrains.")
        try:
            id, do = str(UUID(sent["id"])), sent["do"]
        except (KeyError, ValueError, TypeError, AttributeError):
            raise InputError("what was sent makes no sense: it needs an id, a UUID, and what to do") from None
        if do == "stop":
            self.stop()
            return
        policy = sent.get("policy")
        if policy not in POLICIES:
            raise InputError(f"policy is {policy!r}; expected one of {', '.join(POLICIES)}")
        asked = {"do": do, "audit": str(self.items.folder.path), "store": self.store, "policy": policy}
        if do == "export":
            self._start(Job(id, self._exported(sent, asked), session.reviewer, ""), asked)
        elif do == "retrain":
            seeds = sent.get("seeds")
            if type(seeds) is not int or not 1 <= seeds <= MOST_SEEDS:
                raise InputError(f"seeds is {seeds!r}; expected 1 to {MOST_SEEDS}")
            asked["seeds"] = seeds
            self._start(Job(id, f"Retrain, {policy}, {seeds} seeds", session.reviewer, ""), asked)
        else:
            raise InputError(f"do is {do!r}; expected export, retrain or stop")

    def _exported(self, sent: dict[str, Any], asked: dict[str, Any]) -> str:
        """In words what is exported; ``asked`` gets where to."""
        to = sent.get("to")
        if not isinstance(to, str) or to not in exporters:
            raise InputError(f"to is {to!r}; expected one of {', '.join(exporters)}")
        reviewers = sent.get("reviewers") is True
        audit = self.items.folder.path.resolve()
        stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
        name = "data" if exporters.named(to).folder else f"data.{_SUFFIXES.get(to, to)}"
        out = audit.with_name(f"{audit.name}-exports") / f"{stamp}-{to}" / name
        asked |= {"to": to, "reviewers": reviewers, "out": str(out)}
        return f"Export, {to}, {asked['policy']}{', with names' if reviewers else ''}"

    def _start(self, job: Job, asked: dict[str, Any]) -> None:
        with self._lock:
            if job.id in self._jobs:  # the answer to the first try was lost
                return
            if any(one.state == "running" for one in self._jobs.values()):
                raise InputError("something is running already: wait for it, or stop it")
            process = subprocess.Popen(
                # -P: no code of the folder that the server was started in.
                [sys.executable, "-P", "-m", "swaypoint.review.cleaning.task"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
            )
            place = str(Path(asked["out"]).parent) if "out" in asked else ""
            begun = datetime.now(UTC).isoformat(timespec="seconds")
            self._jobs[job.id] = replace(job, begun=begun, place=place)
            self._process = process
            while len(self._jobs) > _KEPT:
                del self._jobs[next(iter(self._jobs))]
        threading.Thread(target=self._follow, args=(job.id, process, asked), daemon=True).start()

    def _follow(self, id: str, process: subprocess.Popen[str], asked: dict[str, Any]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        noise: list[str] = []
        errors = process.stderr
        assert errors is not None
        reader = threading.Thread(target=lambda: noise.append(errors.read()[-2000:]), daemon=True)
        reader.start()
        with suppress(BrokenPipeError):
            json.dump(asked, process.stdin)
            process.stdin.close()
        told: dict[str, Any] = {}
        for line in process.stdout:
            with suppress(ValueError):  # of a library that prints
                told = json.loads(line)
                self._set(id, **{name: told[name] for name in ("stage", "done", "total") if name in told})
        process.wait()
        reader.join(5)
        last = "".join(noise).strip().rpartition("\n")[2]
        if "said" in told:
            self._set(id, state="done", said=told["said"], bytes=_size(self._jobs[id].place))
        elif self._jobs[id].state == "running":
            self._set(id, state="failed", said=told.get("error") or last or "it ended without a word")

    def _set(self, id: str, **values: Any) -> None:
        with self._lock:
            if id in self._jobs:
                self._jobs[id] = replace(self._jobs[id], **values)

    def stop(self) -> None:
        """What runs, if anything does; models that a retraining has finished are kept for the next."""
        with self._lock:
            process = self._process
            running = [one.id for one in self._jobs.values() if one.state == "running"]
        if process is None or not running:
            return
        self._set(running[0], state="stopped", said="")
        process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()

    def zipped(self, id: str) -> Path:
        """The export as one temporary file, for the caller to delete.

        Raises:
            InputError: there is none, or it is too large.
        """
        job = self._jobs.get(id)
        if job is None or job.state != "done" or not job.bytes:
            raise InputError("there is no such export to be downloaded")
        folder = Path(job.place)
        handle, name = tempfile.mkstemp(suffix=".zip")
        os.close(handle)
        with zipfile.ZipFile(name, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and not file.is_symlink():
                    packed.write(file, file.relative_to(folder))
        return Path(name)


def _size(place: str) -> int:
    """Of all files in a folder; 0 of none, and where they are too large together."""
    files = Path(place).rglob("*") if place else ()
    total = sum(file.stat().st_size for file in files if file.is_file() and not file.is_symlink())
    return total if total <= LARGEST else 0
