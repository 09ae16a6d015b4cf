"""Fixtures that several files share."""

import subprocess
from uuid import uuid4

import pytest
from hypothesis import settings

from cases import case, problem  # noqa: F401
from review_audit import (  # noqa: F401
    audited,
    audited_hostile,
    audited_rows,
    blind,
    folder,
    photo_audits,
    photos,
    site,
)
from review_tab import browser, tab  # noqa: F401

collect_ignore = ["toy_package"]  # another package: test_extending.py installs it
settings.register_profile("fuzz", print_blob=True)  # for make fuzz, see mutations.fuzz


@pytest.fixture(autouse=True)
def own_keys(tmp_path_factory, monkeypatch):
    """Logs are sealed with a key of the test's own, not with that of who runs it."""
    monkeypatch.setenv("SWAYPOINT_KEYS", str(tmp_path_factory.getbasetemp() / "keys" / uuid4().hex))


@pytest.fixture
def disk_of(tmp_path):
    """Mounts a file system of a size such as ``"1m"`` and returns its folder."""
    disk = tmp_path / "disk"

    def mount(size: str):
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system can only be mounted as root")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", "--lazy", disk], check=True)  # a store may still have it open
