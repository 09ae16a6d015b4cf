"""Findings: what a finder gives, all of an audit, and the command that prints them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from swaypoint.cli.main import app
from swaypoint.errors import InputError, MissingExtra
from swaypoint.findings import SEVERITIES, Finding, find, findings
from swaypoint.findings import base as registered
from swaypoint.findings.regions import Exploration, explore, write_regions
from swaypoint.folder.audit_folder import AuditFolder


def finding(**changes) -> Finding:
    fields = {
        "name": "stain 1", "sentence": "a stain", "severity": "low", "evidence": {"share": 0.5},
        "index": np.array([3, 1]), "remedy": "wash it",
    }  # fmt: skip
    return Finding(**fields | changes)


@pytest.fixture
def finders(monkeypatch):
    """Sets the finders of the registry."""

    def only(**functions):
        monkeypatch.setattr(registered, "findings", functions)

    return only


def run(*arguments: str | Path):
    result = CliRunner().invoke(app, ["findings", *map(str, arguments)])
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def contents(path: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in path.iterdir()}


# -- a finding ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"severity": "grave"}, "stain 1: severity is 'grave'; expected high, medium, low"),
        ({"index": np.zeros((2, 2), np.int64)}, r"stain 1: index is int64 of shape \(2, 2\)"),
        ({"index": np.zeros(2)}, r"stain 1: index is float64 .*; expected int64 positions"),
        ({"drop": np.zeros(2)}, r"stain 1: drop is float64 .*; expected int64 positions"),
    ],
)
def test_what_is_no_finding_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        finding(**changes)


def test_as_json_what_is_not_known_is_null():
    described = finding(evidence={"share": np.float32(0.5), "margin": np.nan, "size": 3}).described()
    assert json.loads(json.dumps(described, allow_nan=False)) == {
        "name": "stain 1", "sentence": "a stain", "severity": "low", "index": [3, 1], "remedy": "wash it",
        "evidence": {"share": 0.5, "margin": None, "size": 3.0}, "drop": [],
    }  # fmt: skip


# -- all of an audit ---------------------------------------------------------------------------------


def test_the_most_severe_come_first_and_who_cannot_look_leaves_a_note(audited, finders):
    def missing(_):
        raise MissingExtra("tubs is not installed")

    finders(
        a=lambda _: [finding(name="a1"), finding(name="a2", severity="high")],
        b=missing,
        c=lambda _: [finding(name="c1", severity="medium"), finding(name="c2", severity="high")],
    )
    found = find(AuditFolder(audited))
    assert [each.name for each in found.findings] == ["a2", "c2", "c1", "a1"]
    assert found.notes == ("b: tubs is not installed",)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([finding(index=np.array([0, 1_797]))], "'stain' names records .*; expected positions 0 to 1,796"),
        ([finding(index=np.array([-1]))], "'stain' names records"),
        (["a stain"], "'stain' gave a str; expected Findings"),
    ],
)
def test_what_a_finder_gives_is_looked_at(given, words, audited, finders):
    finders(stain=lambda _: given)
    with pytest.raises(InputError, match=words):
        find(AuditFolder(audited))


def test_no_audit_no_findings(tmp_path):
    with pytest.raises(InputError, match="is not an audit folder"):
        find(AuditFolder(tmp_path))


# -- regions -----------------------------------------------------------------------------------------


def test_regions_that_are_not_typical_are_findings(audited_rows):
    folder = AuditFolder(audited_rows)
    expected = explore(folder).regions
    found = findings["regions"](folder)
    numbers = [int(each.name.removeprefix("region ")) for each in found]
    assert numbers == [n for n, region in enumerate(expected, 1) if region.action != "keep"]
    scores = folder.scores().to_pandas()
    cook = scores["cook"].where(scores["split"] == "train", 0.0).to_numpy()  # of what the model depends on
    for each, number in zip(found, numbers, strict=True):
        region = expected[number - 1]
        assert each.index.tolist() == list(region.members)
        share = cook[each.index].sum() / cook.sum()
        assert each.evidence["share"] == pytest.approx(share, rel=1e-6)
        assert each.severity == SEVERITIES[int(share < 0.1) + int(share < 0.01)]
        assert region.reason in each.sentence
        assert ("swaypoint review" in each.remedy) == (region.action == "check labels")
        assert ("--propose" in each.remedy) == (region.action in ("gather", "boundary"))


def test_regions_that_were_written_are_the_ones_that_are_found(audited_rows, tmp_path):
    copy = tmp_path / "wine"
    subprocess.run(["cp", "-r", audited_rows, copy], check=True)
    all_ = explore(AuditFolder(copy))
    some = tuple(region for region in all_.regions if region.action != "keep")[:2]
    write_regions(AuditFolder(copy), Exploration(some, all_.points, all_.table, all_.top))
    assert [each.name for each in findings["regions"](AuditFolder(copy))] == ["region 1", "region 2"]


# -- the command -------------------------------------------------------------------------------------


def test_the_command_prints_and_writes_nothing(audited_rows):
    before = contents(audited_rows)
    found = find(AuditFolder(audited_rows)).findings
    lines = run(audited_rows).stdout.splitlines()
    assert len(lines) == 3 * len(found) > 0
    records = "1 record" if len(found[0].index) == 1 else f"{len(found[0].index)} records"
    assert lines[0] == f"{found[0].name}: {found[0].severity}, {records}"
    assert lines[1] == f"  {found[0].sentence}"
    assert lines[2] == f"  {found[0].remedy}"
    assert json.loads(run(audited_rows, "--json").stdout) == [each.described() for each in found]
    assert contents(audited_rows) == before


def test_of_pictures_nothing_is_found(audited, finders):
    assert run(audited).stdout == "nothing found\n"
    assert json.loads(run(audited, "--json").stdout) == []
    finders(stain=lambda _: [finding(sentence="[red]\x1b[2J")])
    assert "  [red]\\x1b[2J\n" in run(audited).stdout


def test_findings_need_no_torch():
    code = "import sys, swaypoint.findings; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
