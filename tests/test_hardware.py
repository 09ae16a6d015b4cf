"""Which device is taken, and how many threads."""

from __future__ import annotations

import numpy as np
import pytest
import threadpoolctl
import torch
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.claims import claim
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.hardware import device_of, using_threads
from swaypoint.errors import InputError


@pytest.mark.parametrize(("seen", "device"), [(True, "cuda"), (False, "cpu")])
def test_auto_is_a_gpu_where_torch_sees_one(seen, device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    assert device_of("auto") == device
    assert device_of("cpu") == "cpu"


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for asked, words in (("cuda", "sees no GPU"), ("cuda:1", "sees no GPU"), ("toaster", "'toaster'")):
        with pytest.raises(InputError, match=words):
            AuditOptions(device=asked).check()


def test_auto_is_the_audit_by_the_device_that_it_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    by_name = swaypoint.audit("sklearn:iris", tmp_path / "a", options=AuditOptions(device="cpu"))
    stages = []
    again = swaypoint.audit("sklearn:iris", tmp_path / "a", listener=Listener(stage=stages.append))
    assert stages == ["reading"]  # finished
    manifest = again.manifest()
    assert (manifest.key, manifest.arguments["device"]) == (by_name.manifest().key, "cpu")
    assert manifest.device == "CPU"
    assert "<td>computed on</td><td>CPU</td>" in (tmp_path / "a" / "report.html").read_text()
    asked = AuditOptions(device="cuda")  # on another machine it would not be
    with pytest.raises(InputError, match="--device was cpu, is cuda"):
        claim(tmp_path / "a", manifest.data, asked)


def threads() -> list[int]:
    return [torch.get_num_threads(), *(pool["num_threads"] for pool in threadpoolctl.threadpool_info())]


def failing_on_one_thread() -> float:
    with using_threads(1):
        assert set(threads()) == {1}
        return 1 / 0


def test_threads_are_taken_and_given_back():
    np.ones((2, 2)) @ np.ones((2, 2))
    with using_threads(2):
        before = threads()
        with pytest.raises(ZeroDivisionError):
            failing_on_one_thread()
        assert threads() == before
        assert before[0] == 2
    with pytest.raises(InputError, match="threads is 0"), using_threads(0):
        pass


def test_an_audit_takes_the_threads_that_it_is_given(tmp_path, monkeypatch):
    seen, before = [], torch.get_num_threads()
    listener = Listener(stage=lambda _: seen.append(torch.get_num_threads()))
    made = swaypoint.audit("sklearn:iris", tmp_path / "a", scale=Scale(threads=3), listener=listener)
    assert set(seen) == {3}
    assert torch.get_num_threads() == before
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke(app, ["audit", "sklearn:iris", "--out", "a", "--threads", "1", "--quiet"])
    assert run.exit_code == 0, run.output  # the same audit, whatever the threads
    assert swaypoint.AuditFolder(tmp_path / "a").manifest().created == made.manifest().created
