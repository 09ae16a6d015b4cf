"""Help and refusals come at once: nothing is imported that they do not need."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "sklearn", "scipy", "pyarrow", "pandas", "numpy", "rich", "pydantic", "jinja2")
SCRIPT = """
import sys
from swaypoint.cli.main import main
sys.argv = ["swaypoint", *sys.argv[1:]]
code = 0
try:
    main()
except SystemExit as ended:
    code = ended.code or 0
print("code", code, "loaded", *sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--help"], 0, "Rank every record by Cook's distance"),
        (["--version"], 0, "swaypoint "),
        (["audit", "--help"], 0, "--refit-ridge"),
        (["review", "--help"], 0, "--password-file"),
        (["audit", "there-is-none.csv"], 1, "error: there-is-none.csv does not exist"),
        (["audit", "there-is-none.csv", "--epochs", "3"], 1, "error: there-is-none.csv does not exist"),
        (["show", "there-is-none"], 1, "error: there-is-none is not an audit folder"),
        (["audit"], 2, "Missing argument 'DATA'."),
        (["audit", "--lable", "y", "x.csv"], 2, "No such option: --lable"),
        (["adit", "x.csv"], 2, "Did you mean 'audit'?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_sentence_or_help_imports_nothing_heavy(tmp_path, words, code, said):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    *printed, last = done.stdout.splitlines()
    _, ended, _, *loaded = last.split()
    assert int(ended) == code
    assert said in done.stderr + "\n".join(printed)
    assert not set(loaded) & set(HEAVY)


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("swaypoint re", {"report", "regions", "review"}),
        ("swaypoint audit --fo", {"--folds", "--force"}),
        ("swaypoint study c", {"cifar10"}),
    ],
)
def test_a_shell_completes_commands_and_options_and_nothing_heavy(typed, completed, tmp_path):
    asked = {
        "_SWAYPOINT_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(typed.count(" ")),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, **asked},
    )
    *printed, last = done.stdout.splitlines()
    assert set(printed) == completed
    assert not set(last.split()[3:]) & {*HEAVY} - {"rich", "pydantic"}


def test_help_has_a_section_a_panel(tmp_path):
    words = [sys.executable, "-m", "swaypoint.cli", "audit", "--help"]
    text = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    sections = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert sections == ["Arguments:", "Run:", "Data:", "Model:", "Objective:", "Options:"]


def test_a_tiny_table_is_audited_without_what_only_regions_and_large_trainings_need(tmp_path):
    rows = [f"{i / 7:.3f},{'abc'[i % 3]},{'yes' if i % 2 else 'no'}" for i in range(12)]
    (tmp_path / "tiny.csv").write_text("a,b,outcome\n" + "\n".join(rows) + "\n")
    words = [sys.executable, "-c", SCRIPT, "audit", "tiny.csv", "--label", "outcome"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, check=True)
    *_, last = done.stdout.splitlines()
    _, ended, _, *loaded = last.split()
    assert (ended, done.stderr) == ("0", "")
    assert not set(loaded) & {"sklearn", "scipy", "lightning", "matplotlib", "PIL"}
    assert (tmp_path / "tiny-audit" / "report.html").is_file()
