"""A page as PDF, by a headless Chromium where the machine has one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from swaypoint.errors import InputError
from swaypoint.folder.writing import replace_file

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_PATIENCE = 120  # seconds
_FLAGS = (
    "--headless",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-pdf-header-footer",
)


def chromium() -> str:
    """The program that prints.

    Raises:
        InputError: there is none.
    """
    found = next((path for name in (*_NAMES, *_PLACES) if (path := shutil.which(name))), None)
    if found is None:
        raise InputError(
            "there is no Chromium or Chrome on this machine to make a PDF; give --out a name that ends in"
            " .html, open the page in a browser and print it"
        )
    return found


def write_pdf(path: Path, page: str) -> None:
    """``page``, HTML that needs nothing else and runs no script, as PDF: whole or not at all.

    Raises:
        InputError: there is no Chromium, or it does not print; the disk is full.
    """
    program = chromium()
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "page.html"
        source.write_text(page, encoding="utf-8")
        replace_file(path, lambda temporary: _print(program, source, temporary))


def _print(program: str, source: Path, target: Path) -> None:
    # Chromium's sandbox does not start as root; the page is ours, escaped, and has no script.
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    command = [program, *_FLAGS, *(["--no-sandbox"] if root else [])]
    command += [f"--user-data-dir={source.parent / 'profile'}", f"--print-to-pdf={target.resolve()}"]
    try:
        run = subprocess.run(
            [*command, source.as_uri()], capture_output=True, timeout=_PATIENCE, check=False, text=True
        )
        said = run.stderr.strip().rpartition("\n")[2]
    except subprocess.TimeoutExpired:
        said = f"nothing within {_PATIENCE} s"
    except OSError as error:
        said = str(error)
    if not target.read_bytes().startswith(b"%PDF"):
        raise InputError(
            f"{program} makes no PDF ({said[:200]}); give --out a name that ends in .html, open the page in a"
            " browser and print it"
        )
