"""Exports and retrainings from the page: who may, one at a time, without a path from outside, to the end."""

from __future__ import annotations

import io
import json
import shutil
import time
import zipfile
from pathlib import Path
from uuid import uuid4

import pyarrow.csv
import pytest

from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.cleaning import task
from swaypoint.review.items import Items
from swaypoint.review.page import work
from swaypoint.review.page.work import Job, Work


@pytest.fixture
def owner(site):
    return site.page("eve", owner=True)


def sent(tab, status=200, **what):
    answer = tab.post("/work", {"id": str(uuid4()), **what})
    assert answer.status_code == status, answer.text
    return answer.json()


def ended(tab):
    """The last one, when it has."""
    for _ in range(600):
        job = tab.json("/work.json")["jobs"][0]
        if job["state"] != "running":
            return job
        time.sleep(0.1)
    raise AssertionError(job)


EXPORT = {"do": "export", "to": "csv", "policy": "relabel"}


def test_an_export_lies_beside_the_audit_and_is_downloaded(site, owner, folder):
    item = site.items.ids[0]
    right = "8" if site.items.label(0) != "8" else "3"
    owner.decide(item, "mislabeled", label=right, note="a note")
    sent(owner, **EXPORT)
    shown = owner.get("/work")
    assert shown.status_code == 200
    job = ended(owner)
    assert job["state"] == "done", job
    assert "1 relabeled" in job["said"]
    (place,) = folder.with_name(f"{folder.name}-exports").iterdir()
    assert job["place"] == str(place)
    packed = zipfile.ZipFile(io.BytesIO(owner.get(f"/work/{job['id']}.zip").content))
    assert sorted(packed.namelist()) == ["data.changes.csv", "data.csv"]
    table = pyarrow.csv.read_csv(io.BytesIO(packed.read("data.csv")))
    said = dict(zip(table["id"].to_pylist(), table["new_label"].to_pylist(), strict=True))
    assert str(said[item]) == right
    assert "note" not in table.column_names
    assert site.log()[0].item == item  # the log is whole


def test_only_who_runs_the_review(site, owner):
    for tab in (site.page("ada"), site.page("")):
        assert tab.post("/work", {"id": str(uuid4()), **EXPORT}).status_code == 403
        assert tab.get("/work").status_code == 403
        assert tab.json("/work.json", 403)["error"]
        assert tab.get("/work/x.zip").status_code == 403
    assert site.stranger().get("/work").status_code == 403
    assert "/work" not in site.page("ada").get("/gallery").text
    assert 'href="/work"' in owner.get("/gallery").text
    assert owner.json("/work.json")["jobs"] == []


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"to": "../x"}, "expected one of"),
        ({"to": ["csv"]}, "expected one of"),
        ({"to": None}, "expected one of"),
        ({"policy": "burn"}, "expected one of drop"),
        ({"policy": []}, "expected one of drop"),
        ({"do": "retrain"}, "expected 1 to 20"),
        ({"do": "retrain", "seeds": 0}, "expected 1 to 20"),
        ({"do": "retrain", "seeds": 21}, "expected 1 to 20"),
        ({"do": "retrain", "seeds": True}, "expected 1 to 20"),
        ({"do": "rm"}, "expected export, retrain or stop"),
        ({"id": "x"}, "a UUID"),
    ],
)
def test_nonsense_is_refused(site, owner, what, words):
    assert words in sent(owner, 400, **EXPORT | what)["error"]
    assert owner.json("/work.json")["jobs"] == []


def test_no_path_from_outside_is_used(site, owner, monkeypatch):
    asked = []
    monkeypatch.setattr(Work, "_start", lambda self, job, what: asked.append(what))
    outside = {"out": "/etc/x", "audit": "/etc", "store": "/etc/x", "source": "/etc", "act": ["x"]}
    sent(owner, **EXPORT | outside)
    sent(owner, do="retrain", policy="drop", seeds=2, **outside)
    for one in asked:
        assert one["audit"] == str(site.items.folder.path)
        assert one["store"] == site.store.address
        assert not {"source", "act"} & one.keys()
    assert Path(asked[0]["out"]).parent.parent == site.items.folder.path.with_name("digits-exports")


def test_one_at_a_time_and_it_can_be_stopped(site, owner, monkeypatch):
    (site.items.folder.path / "slow.py").write_text("import time; print('{}', flush=True); time.sleep(60)")
    command = ["-c", (site.items.folder.path / "slow.py").read_text()]
    popen = work.subprocess.Popen
    monkeypatch.setattr(work.subprocess, "Popen", lambda words, **more: popen([words[0], *command], **more))
    id = str(uuid4())
    for _ in range(2):  # the answer to the first was lost
        sent(owner, id=id, **EXPORT)
    assert "running already" in sent(owner, 400, **EXPORT)["error"]
    other = site.page("eve", owner=True)  # the page loaded anew
    assert [job["state"] for job in other.json("/work.json")["jobs"]] == ["running"]
    sent(other, do="stop")
    assert ended(owner)["state"] == "stopped"
    assert owner.get(f"/work/{id}.zip").status_code == 400
    sent(owner, do="stop")  # nothing runs: nothing happens
    monkeypatch.setattr(
        work.subprocess, "Popen", lambda words, **more: popen([words[0], "-c", "1/0"], **more)
    )
    sent(owner, **EXPORT)
    failed = ended(owner)
    assert (failed["state"], failed["said"]) == ("failed", "ZeroDivisionError: division by zero")


def test_what_is_too_large_is_not_packed(tmp_path, monkeypatch):
    out = tmp_path / "out"
    out.mkdir()
    (out / "data.csv").write_text("x" * 100)
    assert work._size(str(out)) == 100
    monkeypatch.setattr(work, "LARGEST", 99)
    assert work._size(str(out)) == 0
    assert work._size("") == 0


def test_links_are_not_followed(tmp_path, site):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "data.csv").write_text("x")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "secret")
    made = Work(site.items, site.store.address)
    made._jobs["a"] = Job("a", "x", "eve", "", state="done", place=str(tmp_path / "out"), bytes=1)
    packed = made.zipped("a")
    assert zipfile.ZipFile(packed).namelist() == ["data.csv"]
    packed.unlink()


def test_a_task_retrains(audited_rows, tmp_path, capsys):
    folder = Path(shutil.copytree(audited_rows, tmp_path / "wine"))
    asked = {"do": "retrain", "audit": str(folder), "store": str(folder / "review.sqlite")}
    said = task.perform(asked | {"policy": "relabel", "seeds": 1})
    assert "no difference beyond chance" in said
    assert (folder / "compare.html").exists()
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    stages = [one["stage"] for one in told if "stage" in one]
    assert stages == ["reading the source", "as given, seed 1 of 1", "cleaned, seed 1 of 1"]


def test_a_task_says_why_it_cannot(site, tmp_path, monkeypatch, capsys):
    asked = {"do": "export", "audit": str(tmp_path), "store": "x", "policy": "flag"}
    monkeypatch.setattr(task.sys, "stdin", io.StringIO(json.dumps(asked)))
    assert task.main() == 1
    assert "is not an audit folder" in json.loads(capsys.readouterr().out)["error"]


def test_a_task_without_verdicts_exports_what_was_audited(folder, tmp_path, capsys):
    asked = {"do": "export", "audit": str(folder), "store": str(folder / "none.sqlite"), "policy": "drop"}
    out = tmp_path / "new" / "data.parquet"
    said = task.perform(asked | {"to": "parquet", "out": str(out), "reviewers": True})
    assert f"{len(Items(AuditFolder(folder))):,} records, 0 relabeled, 0 left out" in said
    assert out.exists()
    assert not (folder / "none.sqlite").exists()
