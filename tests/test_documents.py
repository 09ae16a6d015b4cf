"""The documents are contracts: what they say of the command line is what it does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from swaypoint.cli.main import app

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_that_a_page_names_is_there(page):
    group = typer.main.get_command(app)
    commands = {name: group.get_command(None, name) for name in group.list_commands(None)}
    commands |= {f"study {name}": command for name, command in commands["study"].commands.items()}
    blocks = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(), re.M | re.S))
    for line in re.findall(r"^swaypoint (.*)$", blocks.replace("\\\n", " "), re.M):
        words = line.split("#")[0].split()
        name = " ".join(words[:2]) if words[0] == "study" else words[0]
        if name.startswith("-"):
            continue
        assert name in commands, line
        known = {
            option
            for parameter in commands[name].params
            for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word.split("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}, line
