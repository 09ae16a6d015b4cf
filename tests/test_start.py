"""Help and refusals come at once: nothing is imported that they do not need."""

from __future__ import annotations

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
        (["--help"], 0, "Rank every training point by Cook's distance"),
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
    assert not set(loaded) & {"sklearn", "scipy", "lightning", "matplotlib", "PIL", "pandas"}
    assert (tmp_path / "tiny-audit" / "report.html").is_file()


@pytest.mark.parametrize(
    ("own", "model", "known"),
    [("own_process()", "none", False), ("own_process()", "package:net", True), ("", "none", True)],
    ids=["a command's process", "a model of somebody's", "a caller's process"],
)
def test_arrow_knows_pandas_wherever_other_code_runs(tmp_path, own, model, known):
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    script = (
        "import sys; from swaypoint.cli.start import leave_pandas_out, own_process\n"
        f"{own}\n"
        "leave_pandas_out(*sys.argv[1:], 'in-process')\n"
        "import pyarrow, pandas\n"
        "try: found = pyarrow.array(pandas.Series([pandas.NA, 'a'], dtype=object)).null_count == 1\n"
        "except pyarrow.ArrowInvalid: found = False\n"
        "print(found)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "a.csv"), model]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(known)
