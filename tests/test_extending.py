"""Another package adds a loss, a solver, a score, a reader, a finding and an exporter, a file each.

tests/toy_package is that package. It is installed as pip would for a process of its own, which runs the
commands: its modules on the path, its entry points beside them. A package that cannot be imported lies there
too.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.numpy import load_file

PACKAGE = Path(__file__).parent / "toy_package"
PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
PIECES = ("loss", "solver", "score", "reader", "finding", "exporter")
GROUPS = ("losses", "solvers", "scores", "readers", "findings", "exporters")
BROKEN = "no module named 'what it needs'"
RECORDS = 80
COMMANDS = """
import contextlib, io, json, sys

from swaypoint.cli.main import main

for line in sys.stdin:
    sys.argv = ["swaypoint", *json.loads(line)]
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as stopped:
            code = stopped.code or 0
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


class Done(NamedTuple):
    """A command's exit code and what it said."""

    code: int
    out: str
    err: str


def install(place: Path, name: str, points: dict[str, dict[str, str]]) -> None:
    """What pip leaves of a package beside its modules."""
    info = place / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.0\n")
    with (info / "entry_points.txt").open("w") as file:
        for group, own in points.items():
            print(f"[{group}]", *(f"{key} = {value}" for key, value in own.items()), sep="\n", file=file)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A working folder with the toy package, a broken one, and data."""
    place = tmp_path_factory.mktemp("extended")
    shutil.copytree(PACKAGE / "swaypoint_toy", place / "swaypoint_toy")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    install(place, "swaypoint_toy", project["entry-points"])
    (place / "swaypoint_broken.py").write_text(f'raise ImportError("{BROKEN}")\n')
    broken = {f"swaypoint.{group}": {"broken": "swaypoint_broken:thing"} for group in GROUPS}
    install(place, "swaypoint_broken", broken)
    values = np.random.default_rng(0).normal(size=(RECORDS, 3))
    values = np.c_[values, values[:, 0] + 0.1 * values[:, 1] ** 2]
    np.savetxt(place / "data.toy", values)
    rows = [",".join([*map(repr, row[:3].tolist()), "ab"[int(row[3] > 0)]]) for row in values]
    (place / "data.csv").write_text("\n".join(["x0,x1,x2,label", *rows, ""]))
    return place


def python(place: Path, code: str, given: str = "") -> str:
    """What ``code`` prints in a process that has the packages of ``place``."""
    path = os.pathsep.join([str(place), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
        input=given,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def commands(place: Path, *lines: str) -> dict[str, Done]:
    """Each of the commands, and what became of it."""
    said = python(place, COMMANDS, "\n".join(json.dumps(line.split()) for line in lines))
    return dict(zip(lines, (Done(*json.loads(line)) for line in said.splitlines()), strict=True))


def refusal(done: Done) -> str:
    """Its one sentence; what stages of progress say apart."""
    assert done.code == 1, done
    (line,) = [line for line in done.err.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


# -- what a stranger writes --------------------------------------------------------------------------


@pytest.mark.parametrize("piece", PIECES)
def test_a_piece_is_one_short_file(piece):
    assert len((PACKAGE / "swaypoint_toy" / f"{piece}.py").read_text().splitlines()) <= 30


def test_the_page_shows_the_package():
    shown = dict(re.findall(r"^`(\S+)`:\n\n```(?:python|toml)\n(.*?)^```$", PAGE.read_text(), re.M | re.S))
    names = ["pyproject.toml", *(f"swaypoint_toy/{piece}.py" for piece in PIECES)]
    assert list(shown) == names
    for name in names:
        assert shown[name] == (PACKAGE / name).read_text(), name


@pytest.mark.parametrize("group", GROUPS)
def test_the_page_names_every_group(group):
    assert f"| `swaypoint.{group}` |" in PAGE.read_text()


def test_the_loss_has_its_own_derivatives(monkeypatch):
    monkeypatch.syspath_prepend(str(PACKAGE))
    from swaypoint_toy.loss import LogCosh

    logits = torch.linspace(-4, 4, 9, dtype=torch.float64).unsqueeze(1).requires_grad_()
    terms = LogCosh().terms(logits, torch.zeros(9, 1, dtype=torch.float64))
    torch.testing.assert_close(terms.value, logits.cosh().log().sum(1))
    (first,) = torch.autograd.grad(terms.value.sum(), logits, create_graph=True)
    torch.testing.assert_close(terms.residual, first)
    (second,) = torch.autograd.grad(first.sum(), logits)
    torch.testing.assert_close(terms.curvature.diagonal(), second)


# -- scores, findings, exporters ---------------------------------------------------------------------

AUDIT = "audit data.csv --score toy --epochs 2 --out table-audit"
FIND, FIND_JSON = "findings table-audit", "findings table-audit --json"
EXPORT = "export table-audit --to toy --out reviewed.txt"
REFUSED = {
    "audit data.csv --score {} --out none": "score",
    "export table-audit --to {} --out none": "format",
}


@pytest.fixture(scope="module")
def done(place) -> dict[str, Done]:
    refused = [line.format(name) for line in REFUSED for name in ("unheard-of", "broken")]
    return commands(place, AUDIT, FIND, FIND_JSON, EXPORT, *refused)


def test_the_score_is_a_column(place, done):
    assert done[AUDIT].code == 0, done[AUDIT]
    scores = pq.read_table(place / "table-audit" / "scores.parquet").to_pandas()
    column, held_out = scores["toy"], scores["split"] == "held_out"
    assert column[held_out].isna().all()  # it is not pointwise: of points trained on alone
    features = load_file(place / "table-audit" / "features.safetensors")["features"].astype(np.float64)
    expected = np.sqrt(1.0 + np.square(features).sum(1))
    np.testing.assert_allclose(column[~held_out], expected[~held_out], rtol=1e-6)


def test_the_score_is_in_python(place):
    code = "import swaypoint; print(swaypoint.scores['toy'].summary, {'toy', 'broken'} < {*swaypoint.scores})"
    assert python(place, code) == "length of the features True\n"


def test_the_finding_is_among_those_of_the_audit(place, done):
    cook = pq.read_table(place / "table-audit" / "scores.parquet")["cook"].to_numpy().astype(np.float64)
    (found,) = [each for each in json.loads(done[FIND_JSON].out) if each["name"] == "half of the influence"]
    index = found["index"]
    assert 2 * cook[index].sum() >= cook.sum() > 2 * cook[index[:-1]].sum()
    assert found["evidence"]["share"] == len(index) / len(cook)
    assert f"{len(index)} of {len(cook)} points carry half of the influence" in done[FIND].out
    assert f"swaypoint show table-audit --top {len(index)}" in done[FIND].out


def test_the_exporter_writes_its_format(place, done):
    assert done[EXPORT].code == 0, done[EXPORT]
    lines = [line.split("\t") for line in (place / "reviewed.txt").read_text().splitlines()]
    given = [line.rsplit(",", 1)[1] for line in (place / "data.csv").read_text().splitlines()[1:]]
    assert [label for label, _ in lines] == given
    assert len({item for _, item in lines}) == RECORDS


@pytest.mark.parametrize("line", REFUSED)
def test_an_unknown_name_lists_all(line, done):
    words = refusal(done[line.format("unheard-of")])
    assert re.match(rf"there is no {REFUSED[line]} 'unheard-of'; expected .*\bbroken, .*\btoy\b", words)


# -- a package that cannot be imported ---------------------------------------------------------------


@pytest.mark.parametrize("line", REFUSED)
def test_a_broken_piece_is_one_sentence(line, done):
    assert refusal(done[line.format("broken")]) == (
        f"the {REFUSED[line]} 'broken' of swaypoint-broken cannot be imported: {BROKEN}; mend or uninstall it"
    )


def test_a_broken_finding_is_a_note_beside_the_others(done):
    assert done[FIND].code == 0
    assert done[FIND].err == (
        f"note: the finding 'broken' of swaypoint-broken cannot be imported: {BROKEN}; mend or uninstall it\n"
    )


# -- losses, solvers and readers, and all of them at once ----------------------------------------------

ALL = "audit data.toy --loss toy --params * --solver toy --score toy,gradient_norm --epochs 2 --out toy-audit"
FIND_ALL, EXPORT_ALL = "findings toy-audit", "export toy-audit --to toy --out all.txt"
REFUSED_ALL = {
    "audit data.csv --loss {} --epochs 1 --out no-loss": "loss",
    "audit data.csv --params * --solver {} --epochs 1 --out no-solver": "solver",
}


@pytest.fixture(scope="module")
def all_done(place) -> dict[str, Done]:
    refused = [line.format(name) for line in REFUSED_ALL for name in ("unheard-of", "broken")]
    return commands(place, ALL, FIND_ALL, EXPORT_ALL, *refused)


def test_an_audit_of_all_of_them(place, all_done):
    for line in (ALL, FIND_ALL, EXPORT_ALL):
        assert all_done[line].code == 0, all_done[line]
    manifest = json.loads((place / "toy-audit" / "manifest.json").read_text())
    assert manifest["model"]["loss"] == "toy"
    assert "a step of gradient descent" in manifest["diagnostics"]["outcome"]
    scores = pq.read_table(place / "toy-audit" / "scores.parquet").to_pandas()
    assert "toy" in scores
    rates = scores["cook"] / scores["gradient_norm"] ** 2
    np.testing.assert_allclose(rates, rates[0], rtol=1e-4)
    values = np.loadtxt(place / "data.toy")
    np.testing.assert_allclose(scores["label"], values[scores["index"], 3])
    assert "carry half of the influence" in all_done[FIND_ALL].out
    labels = [float(line.split("\t")[0]) for line in (place / "all.txt").read_text().splitlines()]
    np.testing.assert_allclose(labels, values[:, 3])


@pytest.mark.parametrize("line", REFUSED_ALL)
def test_an_unknown_loss_or_solver_lists_all(line, all_done):
    assert re.search(r"'unheard-of'; expected .*\btoy\b", refusal(all_done[line.format("unheard-of")]))
    words = refusal(all_done[line.format("broken")])
    assert words.startswith(f"the {REFUSED_ALL[line]} 'broken' of swaypoint-broken cannot be imported")
