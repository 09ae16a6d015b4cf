"""A virtual environment for each peer, from its file of requirements."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

REQUIREMENTS = Path(__file__).parent / "requirements"


class NotInstalledError(Exception):
    """Says in a line why not."""


def requirements(name: str) -> str:
    """The text of its requirements; that of ``NAME.bare.txt`` is installed without dependencies, and what
    ``NAME.without.txt`` names is removed in the end."""
    files = (REQUIREMENTS / f"{name}{kind}.txt" for kind in ("", ".bare", ".without"))
    return "\n".join(file.read_text() for file in files if file.is_file())


def python(name: str, folder: Path) -> Path:
    """The python of the environment ``name`` in ``folder``, which is made if it is not there.

    A folder ``sources/NAME`` beside the environments takes the place of ``NAME.bare.txt``: a checkout of a
    peer that is on GitHub alone, for where that cannot be reached.

    Raises:
        NotInstalledError: pip failed.
    """
    if name == "swaypoint":
        return Path(sys.executable)
    path, done = folder / name, folder / name / "installed.txt"
    executable = path / "bin" / "python"
    if done.is_file() and done.read_text() == requirements(name):
        return executable
    print(f"installing {name}", flush=True)
    venv.create(path, with_pip=True, clear=True)
    listed, bare = REQUIREMENTS / f"{name}.txt", REQUIREMENTS / f"{name}.bare.txt"
    first = next(line for line in listed.read_text().splitlines() if not line.startswith("#"))
    _pip(executable, "install", first)  # torch where there is one: the rest would bring another build of it
    _pip(executable, "install", "-r", str(listed))
    source = folder / "sources" / name
    if source.is_dir():
        _pip(executable, "install", "--no-deps", "--no-build-isolation", str(source))
    elif bare.is_file():
        _pip(executable, "install", "--no-deps", "-r", str(bare))
    without = REQUIREMENTS / f"{name}.without.txt"
    if without.is_file():
        _pip(executable, "uninstall", "-y", "-r", str(without))
    done.write_text(requirements(name))
    return executable


def _pip(executable: Path, *arguments: str) -> None:
    command = [str(executable), "-m", "pip", "-q", "--disable-pip-version-check", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        errors = [line for line in run.stderr.splitlines() if "error" in line.lower() or "fatal" in line]
        raise NotInstalledError((errors or run.stderr.splitlines() or ["pip failed"])[-1].strip()[:160])
