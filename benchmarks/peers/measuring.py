"""One peer on one workload in a process of its own: what it took and what it answered, kept on disk."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

import swaypoint
from benchmarks.peers.environments import requirements
from benchmarks.peers.worker import load
from benchmarks.peers.workloads import VERSION, Workload

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Limits:
    """Of one process: seconds, and bytes of memory of its own."""

    seconds: float
    memory: float


@dataclass(frozen=True)
class Peer:
    """An adapter, imported; its package is not."""

    name: str
    module: ModuleType

    @classmethod
    def named(cls, name: str) -> Peer:
        return cls(name, load(_HERE / "adapters" / f"{name}.py"))

    @property
    def environment(self) -> str:
        return str(getattr(self.module, "ENVIRONMENT", self.name))

    @property
    def cannot(self) -> dict[str, str]:
        return getattr(self.module, "CANNOT", {})

    @property
    def title(self) -> str:
        return str(self.module.PEER)


@dataclass(frozen=True)
class Measured:
    """One round. ``failure`` is empty, or says in a phrase why there are no values."""

    failure: str = ""
    seconds: float = float("nan")
    peak: float = float("nan")
    version: str = ""
    values: np.ndarray | None = None


def measure(
    peer: Peer, work: Workload, python: Path, arrays: Path, kept: Path, number: int, limits: Limits
) -> Measured:
    """Round ``number``, or what is kept of it from the same adapter, requirements and arrays."""
    kept.mkdir(parents=True, exist_ok=True)
    stem = kept / f"{work.name}-{peer.name}-{_key(peer, work, arrays)}"
    answer, failed = Path(f"{stem}-{number}.npz"), Path(f"{stem}-failed.json")
    if failed.is_file():
        known = json.loads(failed.read_text())
        if known["limits"] == asdict(limits) or not known["limited"]:
            return Measured(known["failure"])
    if not answer.is_file():
        failure, limited = _start(peer, work, python, arrays, answer, limits)
        if failure:
            failed.write_text(json.dumps({"failure": failure, "limited": limited, "limits": asdict(limits)}))
            return Measured(failure)
    with np.load(answer) as file:
        return Measured("", float(file["seconds"]), float(file["peak"]), str(file["version"]), file["values"])


def _key(peer: Peer, work: Workload, arrays: Path) -> str:
    source = Path(str(peer.module.__file__)).read_text()
    parts = [source, requirements(peer.environment), (arrays / "size.json").read_text(), str(VERSION)]
    parts += [(_HERE / name).read_text() for name in ("worker.py", "adapters/heads.py")]
    if peer.environment == "swaypoint":  # its version stays while it is worked on
        parts += [file.read_text() for file in sorted(Path(swaypoint.__file__).parent.rglob("*.py"))]
    return hashlib.sha256("\0".join([*parts, work.task]).encode()).hexdigest()[:12]


def _start(
    peer: Peer, work: Workload, python: Path, arrays: Path, answer: Path, limits: Limits
) -> tuple[str, bool]:
    """Why it failed, in a phrase, empty if it did not; and whether a limit is what it ran into."""

    def confine() -> None:
        """A peer that wants all memory must not take the machine with it."""
        resource.setrlimit(resource.RLIMIT_DATA, (int(limits.memory), int(limits.memory)))

    partial = answer.with_suffix(".part.npz")
    command = [str(python), "-P", str(_HERE / "worker.py"), str(peer.module.__file__), work.task, str(arrays)]
    try:
        run = subprocess.run(
            [*command, str(partial)],
            capture_output=True,
            text=True,
            timeout=limits.seconds,
            preexec_fn=confine,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"stopped after {limits.seconds:,.0f} s", True
    if run.returncode == 0:
        partial.rename(answer)
        return "", False
    return phrase(run.returncode, run.stderr, limits)


def phrase(code: int, errors: str, limits: Limits) -> tuple[str, bool]:
    """What a traceback says, for a cell of the table."""
    if any(
        sign in errors for sign in ("MemoryError", "not enough memory", "can't allocate", "bad_alloc", "OOM")
    ):
        return f"wants more than {limits.memory / 1e9:.0f} GB of memory", True
    if code < 0:
        return f"ended by signal {-code}", True
    lines = [line for line in errors.splitlines() if line.strip()]
    return f"fails: {lines[-1].strip()[:120]}" if lines else f"ended with status {code}", False
