"""Notebooks, Python in ``docs/notebooks``: executed by ``make notebooks``, and shown so by ``make docs``."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

SOURCES = Path(__file__).parent / "notebooks"
EXECUTED = Path(__file__).parents[1] / "build" / "notebooks"
_SECONDS = 300  # a cell


def read(text: str) -> NotebookNode:
    """What the site shows of a source: with outputs where it was executed as it is now, and a link to it."""
    (name,) = (file.stem for file in SOURCES.glob("*.py") if file.read_text(encoding="utf-8") == text)
    shown = jupytext.reads(text, fmt="py:percent")
    file = EXECUTED / f"{name}.ipynb"
    if file.is_file() and _cells(executed := nbformat.read(file, as_version=4)) == _cells(shown):
        shown = executed
    shown.metadata.setdefault("language_info", {"name": "python", "pygments_lexer": "ipython3"})
    shown.cells[0].source += f'\n\n<a download href="{name}.ipynb">This page as a notebook</a>'
    return shown


def write(folder: Path) -> None:
    """Every notebook, without outputs, for whoever follows that link."""
    for source in SOURCES.glob("*.py"):
        nbformat.write(jupytext.read(source, fmt="py:percent"), folder / f"{source.stem}.ipynb")


def execute(source: Path) -> NotebookNode:
    """In a fresh kernel, in an empty folder.

    Raises:
        CellExecutionError: a cell failed.
        RuntimeError: the kernel died, or did not start.
        TimeoutError: a cell took too long.
    """
    notebook = jupytext.read(source, fmt="py:percent")
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(
            notebook,
            kernel_name="python3",
            resources=resources,
            timeout=_SECONDS,
            startup_timeout=_SECONDS,
            extra_arguments=["--log-level=ERROR"],
        ).execute()
    return notebook


def main(names: list[str]) -> int:
    """Execute the notebooks called ``names``, or all; how many failed."""
    # The commands in a notebook are those of this environment, and as wide as a page.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ["COLUMNS"] = "88"
    EXECUTED.mkdir(parents=True, exist_ok=True)
    failed, begun = [], time.monotonic()
    for source in sorted(SOURCES.glob("*.py")):
        if names and source.stem not in names:
            continue
        start, file = time.monotonic(), EXECUTED / f"{source.stem}.ipynb"
        file.unlink(missing_ok=True)
        try:
            nbformat.write(execute(source), file)
        except (CellExecutionError, RuntimeError, TimeoutError) as error:
            print(error, file=sys.stderr)
            failed.append(source.stem)
        print(f"{source.stem}: {time.monotonic() - start:.0f} s", flush=True)
    print(f"{time.monotonic() - begun:.0f} s in all; failed: {', '.join(failed) or 'none'}")
    return len(failed)


def _cells(notebook: NotebookNode) -> list[tuple[str, str]]:
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
