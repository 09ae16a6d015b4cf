"""Findings: what a finder gives, all of an audit, and the command that prints them."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.dataset import ReadOptions
from swaypoint.errors import InputError, MissingExtra
from swaypoint.findings import SEVERITIES, Finding, find, findings, found, keep
from swaypoint.findings import base as registered
from swaypoint.findings.regions import Exploration, explore, write_regions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions


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


# -- kept in the folder --------------------------------------------------------------------------------


@pytest.fixture
def copy(audited_rows, tmp_path):
    """A finished audit to change."""
    path = Path(shutil.copytree(audited_rows, tmp_path / "wine"))
    return AuditFolder(path)


def stored(folder: AuditFolder) -> dict:
    return json.loads((folder.path / "findings.json").read_text())


def as_json(found_) -> list[dict]:
    return [each.described() for each in found_.findings]


class Counted:
    """A finder that counts how often it was asked."""

    def __init__(self, *given: Finding, missing: str = ""):
        self.given, self.missing, self.asked = list(given), missing, 0

    def __call__(self, folder):
        self.asked += 1
        if self.missing:
            raise MissingExtra(self.missing)
        return self.given


def test_an_audit_keeps_what_was_found(audited_rows):
    folder = AuditFolder(audited_rows)
    file = stored(folder)
    assert file["key"] == folder.manifest().key
    assert [one["name"] for one in file["finders"]] == list(findings)
    assert folder.manifest().timings.keys() >= {"explaining", "findings"}
    assert [each.name for each in found(folder).findings] == [each.name for each in find(folder).findings]


def test_the_stage_is_told(tmp_path):
    stages = []
    data = tmp_path / "points.csv"
    numbers = np.random.default_rng(0).normal(size=(60, 2))
    rows = [f"{a:.4f},{b:.4f},{'xy'[int(a > 0)]}" for a, b in numbers]
    data.write_text("\n".join(["a,b,label", *rows]))
    made = {"options": AuditOptions(model=ModelOptions(epochs=1)), "read": ReadOptions(label="label")}
    swaypoint.audit(data, tmp_path / "audit", **made, listener=Listener(stage=stages.append))
    assert stages[-1] == "findings"
    stages.clear()
    swaypoint.audit(data, tmp_path / "audit", **made, listener=Listener(stage=stages.append))
    assert "findings" not in stages  # a finished audit has them
    (tmp_path / "audit" / "regions.json").write_text('{"key": "of the old"}')
    numbers = numbers[::-1]
    data.write_text("\n".join(["a,b,label", *(f"{a:.4f},{b:.4f},{'xy'[int(b > 0)]}" for a, b in numbers)]))
    new = swaypoint.audit(data, tmp_path / "audit", **made, force=True)
    assert stored(new)["key"] == new.manifest().key
    assert not (new.path / "regions.json").exists()


def test_finders_are_asked_once(copy, finders):
    one = Counted(finding(evidence={"share": 0.25, "margin": np.nan}, severity="high"))
    finders(stain=one)
    first = found(copy)
    before = contents(copy.path)
    again = found(copy)
    assert one.asked == 1
    assert as_json(again) == as_json(first)
    assert np.isnan(again.findings[0].evidence["margin"])
    assert again.findings[0].index.dtype == np.int64
    assert contents(copy.path) == before


def test_a_finder_that_was_added_is_asked_alone(copy, finders):
    one, two = Counted(finding(name="one")), Counted(finding(name="two", severity="high"))
    finders(one=one)
    keep(copy)
    finders(one=one, two=two)
    for _ in range(2):
        assert [each.name for each in found(copy).findings] == ["two", "one"]
    assert (one.asked, two.asked) == (1, 1)
    finders(two=two)
    assert [each.name for each in found(copy).findings] == ["two"]


def test_what_was_missing_is_asked_for_again(copy, finders):
    one, two = Counted(missing="tubs is not installed"), Counted(finding())
    finders(one=one, two=two)
    assert keep(copy).notes == ("one: tubs is not installed",)
    before = contents(copy.path)
    assert found(copy).notes == ("one: tubs is not installed",)
    assert contents(copy.path) == before
    one.missing, one.given = "", [finding(name="tub", severity="high")]
    assert [each.name for each in found(copy).findings] == ["tub", "stain 1"]
    assert found(copy).notes == ()
    assert (one.asked, two.asked) == (3, 1)


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.unlink(),
        lambda file: file.write_text("{"),
        lambda file: file.write_text(file.read_text().replace('"key": "', '"key": "of another ')),
        lambda file: file.write_text(file.read_text().replace("[\n      3,", "[\n      300000,")),
        lambda file: file.write_text(file.read_text().replace('"severity": "low"', '"severity": "grave"')),
        lambda file: file.write_text(file.read_text().replace('"share": 0.5', '"share": []')),
    ],
)
def test_what_cannot_be_used_is_found_anew(change, copy, finders):
    one = Counted(finding())
    finders(stain=one)
    keep(copy)
    file = copy.path / "findings.json"
    file.write_text(json.dumps(json.loads(file.read_text()), indent=1))
    assert found(copy).findings
    assert one.asked == 1
    before = stored(copy)
    change(copy.path / "findings.json")
    assert as_json(found(copy)) == [finding().described()]
    assert one.asked == 2
    assert stored(copy) == before


def test_a_finder_that_fails_leaves_a_note(copy, finders):
    def broken(_):
        raise ZeroDivisionError("by nought")

    finders(broken=broken, junk=lambda _: ["a stain"], stain=lambda _: [finding()])
    assert [each.name for each in keep(copy).findings] == ["stain 1"]
    assert [note.partition(":")[0] for note in found(copy).notes] == ["broken", "junk"]
    assert "ZeroDivisionError: by nought" in found(copy).notes[0]


def test_a_folder_that_moved_is_named_where_it_is_now(copy, finders, tmp_path):
    def remedy(folder):
        return [finding(remedy=f"see swaypoint review {folder.path}, then stop; {folder.path}")]

    finders(stain=remedy)
    keep(copy)
    moved = AuditFolder(copy.path.rename(tmp_path / "moved"))
    (one,) = found(moved).findings
    assert one.remedy == f"see swaypoint review {moved.path}, then stop; {copy.path}"


def test_a_folder_that_is_not_ours_is_read(copy, finders, monkeypatch):
    def refuse(*_):
        raise PermissionError("not ours")

    finders(stain=lambda _: [finding()])
    monkeypatch.setattr("swaypoint.findings.kept.write_json", refuse)
    assert len(found(copy).findings) == 1


# -- regions -----------------------------------------------------------------------------------------


def test_regions_that_are_not_typical_are_findings(audited_rows):
    folder = AuditFolder(audited_rows)
    expected = explore(folder).regions
    found = findings["regions"](folder)
    numbers = [int(each.name.removeprefix("region ")) for each in found]
    assert numbers == [n for n, region in enumerate(expected, 1) if region.action != "keep"][:12]
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
    keep(AuditFolder(copy))
    write_regions(AuditFolder(copy), Exploration(some, all_.points, all_.table, all_.top))
    assert [each.name for each in findings["regions"](AuditFolder(copy))] == ["region 1", "region 2"]
    regions = [each.name for each in found(AuditFolder(copy)).findings if each.name.startswith("region ")]
    assert regions == ["region 1", "region 2"]


# -- the command -------------------------------------------------------------------------------------


def test_the_command_prints_and_writes_nothing(audited_rows):
    before = contents(audited_rows)
    every = found(AuditFolder(audited_rows)).findings
    lines = run(audited_rows).stdout.splitlines()
    weighed = [each for each in every if "held_out_loss_change" in each.evidence]
    assert len(lines) == 3 * len(every) + len(weighed) > 0
    records = "1 record" if len(every[0].index) == 1 else f"{len(every[0].index)} records"
    assert lines[0] == f"{every[0].name}: {every[0].severity}, {records}"
    assert lines[1] == f"  {every[0].sentence}"
    assert lines[2].startswith("  Without its ")
    assert lines[3] == f"  {every[0].remedy}"
    assert json.loads(run(audited_rows, "--json").stdout) == [each.described() for each in every]
    assert contents(audited_rows) == before


def test_nothing_is_found_and_what_is_found_is_printed_as_it_is(folder, finders):
    there = {"regions", "drift"}  # digits were written by one person after the other
    finders(**{name: finder for name, finder in findings.items() if name not in there})
    said = run(folder).stdout
    assert said.startswith("Nothing was found. Looked for were class pairs, ")
    assert "near duplicates" in said
    assert json.loads(run(folder, "--json").stdout) == []
    finders(stain=lambda _: [finding(sentence="[red]\x1b[2J")])
    assert "  [red]\\x1b[2J\n" in run(folder).stdout


def test_findings_need_no_torch():
    code = "import sys, swaypoint.findings; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
