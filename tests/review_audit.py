"""Audits to review, made once, and the review's server as the command line runs it.

The extras are imported where they are used: conftest.py loads this file for the core's tests too.
"""

from __future__ import annotations

import io
import re
import select
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn

import swaypoint
from forked import Forked
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions, Objective

if TYPE_CHECKING:
    from PIL import Image

    from swaypoint.review.log.verdicts import Review

# Of the photographs: width and height, and the side of what the model saw.
SIZE = (120, 90)
SEEN = 8
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
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression

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
    from PIL import Image

    root = tmp_path_factory.mktemp("review") / "pictures"
    generator = np.random.default_rng(0)
    for label in ("{{ 7 * 7 }}", HOSTILE):
        (root / label).mkdir(parents=True)
        for i in range(20):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / label / f"'\"><script>window.hacked=2<!-- {i}.png")
    return swaypoint.audit(root, root.parent / "hostile", options=quick("hostile")).path


def photograph(generator: np.random.Generator) -> Image.Image:
    from PIL import Image

    coarse = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return Image.fromarray(np.kron(coarse, np.ones((10, 10, 1), dtype=np.uint8)))


def encoded(picture: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def seen_small(source: Path, out: Path) -> Path:
    return swaypoint.audit(source, out, options=quick("hostile"), read=ReadOptions(image_size=SEEN)).path


@pytest.fixture(scope="session")
def photo_audits(tmp_path_factory) -> Path:
    """``photos``, two of them turned by their camera, and ``photos.parquet``, with their audits."""
    from PIL import Image

    root, generator = tmp_path_factory.mktemp("originals"), np.random.default_rng(0)
    turned = Image.Exif()
    turned[0x0112] = 6
    rows = []
    for label in ("cat", "dog"):
        (root / "photos" / label).mkdir(parents=True)
        for i in range(10):
            options = {"exif": turned} if i == 0 else {}
            data = encoded(photograph(generator), "JPEG", quality=90, **options)
            (root / "photos" / label / f"{i}.jpg").write_bytes(data)
            rows.append({"image": {"bytes": data, "path": f"{i}.jpg"}, "label": label})
    pq.write_table(pa.Table.from_pylist(rows), root / "photos.parquet", row_group_size=7)
    seen_small(root / "photos", root / "folder-audit")
    seen_small(root / "photos.parquet", root / "table-audit")
    return root


@pytest.fixture
def photos(photo_audits, tmp_path) -> Path:
    """A copy to change, whose manifests say where it is now."""
    root = Path(shutil.copytree(photo_audits, tmp_path / "copy"))
    for manifest in root.glob("*/manifest.json"):
        manifest.write_text(manifest.read_text().replace(str(photo_audits), str(root)))
    return root


@pytest.fixture
def folder(audited, tmp_path) -> Path:
    """A copy, so that each test has its own verdicts."""
    return Path(shutil.copytree(audited, tmp_path / "digits"))


@pytest.fixture
def site(folder):
    """The review of that copy, without a server."""
    yield from _site(folder)


@pytest.fixture
def blind(folder):
    """The same, where nobody sees what the model suggests."""
    yield from _site(folder, blind=True)


def _site(folder: Path, **options):
    from review_site import Site

    made = Site(folder, **options)
    yield made
    made.store.close()


def verdicts(folder: Path) -> Review:
    """As the store has them, read without the server."""
    from swaypoint.review.log.store import open_store
    from swaypoint.review.log.verdicts import Review

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
    process: Forked = field(init=False)

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *_) -> None:
        self.stop()

    def start(self) -> Server:
        self.process = Forked(
            "review", str(self.folder), "--no-browser", "--port", str(self.port), *self.options
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
    def plain(self) -> str:
        """The address without a name of its own, for clients that do not know those under localhost."""
        return re.sub(r"//[^/]+?:(\d+)/", r"//127.0.0.1:\1/", self.address)

    @property
    def base(self) -> str:
        return self.address.partition("/open")[0]

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(how)
            self.process.wait(20)
        self.process.stdout.close()
