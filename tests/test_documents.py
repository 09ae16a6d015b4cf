"""The documents are contracts: what they say of the command line is what it does."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from swaypoint.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.py"))


def test_commands_md_is_what_the_commands_say():
    made = subprocess.run(
        [
            *(sys.executable, "-m", "typer", "swaypoint.cli.main", "utils", "docs"),
            *("--name", "swaypoint", "--title", "The command line"),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert made.strip() == (ROOT / "docs/commands.md").read_text().strip(), "make readme writes it anew"


@pytest.mark.parametrize("page", NOTEBOOKS, ids=lambda page: page.name)
def test_every_command_that_a_notebook_gives_is_taken(page):
    """Parsed to its end, as tests/test_pages.py has those of the pages."""
    group = typer.main.get_command(app)
    for line in re.findall(r"^# !swaypoint (.*)$", page.read_text(encoding="utf-8"), re.M):
        name, *words = shlex.split(re.sub(r"\{\w+\}", "", line))  # what Python fills in
        command = group.get_command(None, name)
        assert command is not None, line
        command.make_context(name, words)


def python_blocks(page: Path) -> list[str]:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".py":
        return [cell for cell in re.split(r"^# %%", text, flags=re.M) if not cell.startswith(" [markdown]")]
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


WITH_PYTHON = [*(page for page in PAGES if python_blocks(page)), *NOTEBOOKS]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.name)
def test_what_the_python_of_a_page_takes_from_swaypoint_is_there(page):
    names = []
    for node in (node for block in python_blocks(page) for node in ast.walk(ast.parse(block))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "swaypoint":
            names += [(node.module, alias.name) for alias in node.names]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "swaypoint":
            names.append(("swaypoint", node.attr))
    for module, name in names:
        found = importlib.import_module(module)
        assert hasattr(found, name) or importlib.import_module(f"{module}.{name}"), name


@pytest.mark.parametrize(
    ("page", "said", "written"),
    [
        ("estimators.md", ["11 of 11 among the first 20 of 569"], []),
        (
            "notebooks/embeddings.py",
            ["36 of 36 among the first 90 by C", "36 of 36 among the first 90 by their odds"],
            ["embeddings.npz"],
        ),
    ],
)
def test_the_python_of_a_page_that_brings_its_data_runs(page, said, written, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in python_blocks(ROOT / "docs" / page):
        exec(block, names)
    out = capsys.readouterr().out
    assert [line for line in said if line not in out] == []
    assert [file.name for file in tmp_path.iterdir()] == written


def test_every_page_has_its_place_on_the_site():
    """``make docs`` says so too, and checks every link; this takes no Sphinx."""
    inside, waiting = set(), ["index"]
    while waiting:
        page = waiting.pop()
        inside.add(page)
        if page.startswith("notebooks/"):
            continue
        text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
        for listed in re.findall(r"^```\{toctree\}\n(.*?)^```", text, re.M | re.S):
            lines = [line for line in listed.split("\n") if line and not line.startswith(":")]
            waiting += [line.rpartition("<")[2].rstrip(">") for line in lines]
    notebooks = {f"notebooks/{notebook.stem}" for notebook in NOTEBOOKS}
    assert inside == {page.stem for page in PAGES} - {"README"} | notebooks
