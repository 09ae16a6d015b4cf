"""Audits to review, made once, and the review's server as the command line runs it."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from torch import nn

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Review

HOSTILE = "<img src=x onerror=window.hacked=1>"


class Grey(nn.Module):
    """(b, 3, 8, 8) -> (b, 64)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1).flatten(1)


def linear(outputs: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(Grey(), nn.Linear(64, outputs))


def digits() -> nn.Module:
    """Knows the digits: fitted here to the labels as they should be, which takes no training."""
    images, labels = load_digits(return_X_y=True)
    fitted = LogisticRegression(C=0.5).fit(images / 16.0, labels)
    model = linear(10)
    model[1].load_state_dict(
        {"weight": torch.from_numpy(fitted.coef_), "bias": torch.from_numpy(fitted.intercept_)}
    )
    return model


def hostile() -> nn.Module:
    return linear(2)


def quick(model: str, **changes) -> AuditOptions:
    return AuditOptions(model=ModelOptions(f"review_audit:{model}"), objective=Objective(l2=1e-3), **changes)


@pytest.fixture(scope="session")
def audited(tmp_path_factory) -> Path:
    """1,438 scanned digits, 2 % of their labels flipped."""
    out = tmp_path_factory.mktemp("review") / "digits"
    return swaypoint.audit("sklearn:digits", out, options=quick("digits", flip=0.02)).path


@pytest.fixture(scope="session")
def audited_rows(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("review") / "wine"
    return swaypoint.audit("sklearn:wine", out, options=AuditOptions(model=ModelOptions(epochs=3))).path


@pytest.fixture(scope="session")
def audited_hostile(tmp_path_factory) -> Path:
    """Pictures whose class and file names are markup."""
    root = tmp_path_factory.mktemp("review") / "pictures"
    generator = np.random.default_rng(0)
    for label in ("{{ 7 * 7 }}", HOSTILE):
        (root / label).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"'\"><script>window.hacked=2<!-- {i}.png")
    return swaypoint.audit(root, root.parent / "hostile", options=quick("hostile")).path


@pytest.fixture
def folder(audited, tmp_path) -> Path:
    """A copy, so that each test has its own verdicts."""
    return Path(shutil.copytree(audited, tmp_path / "digits"))


def verdicts(folder: Path) -> Review:
    """As the store has them, read without the server."""
    store = open_store(folder / "review.sqlite")
    try:
        run = AuditFolder(folder).manifest().key
        store.verify()
        return Review(run, store.since(run))
    finally:
        store.close()


@dataclass
class Server:
    """``swaypoint review`` as a process of its own."""

    folder: Path
    options: tuple[str, ...] = ()
    port: int = 0
    address: str = ""
    said: str = ""
    process: subprocess.Popen = field(init=False)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> Server:
        command = [sys.executable, "-m", "swaypoint.cli", "review", self.folder, "--no-browser"]
        self.process = subprocess.Popen(
            [*map(str, command), "--port", str(self.port), *self.options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "COLUMNS": "200", "PYTHONUNBUFFERED": "1"},
        )
        self.said, deadline = "", time.monotonic() + 60
        while not (found := re.search(r"review: (http://\S+:(\d+)/open\?token=\S+)\n", self.said)):
            ready, _, _ = select.select([self.process.stdout], [], [], 1.0)
            line = self.process.stdout.readline() if ready else ""
            self.said += line
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the server did not start: {self.said}{self.process.stdout.read()}")
        self.address, self.port = found[1], int(found[2])
        return self

    @property
    def base(self) -> str:
        return self.address.partition("/open")[0]

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)
        self.process.stdout.close()
