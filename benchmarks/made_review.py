"""An audit folder of any size, as a real one is but of random points, and the server of its review."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from safetensors.numpy import save_file

from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.items import item_id, project
from swaypoint.folder.manifest import Accuracy, AuditedData, AuditedModel, CheckResult, Fitness, Manifest
from swaypoint.folder.writing import write_arrow, write_json, write_table

CLASSES = 10
_KINDS = ("mislabeled", "boundary", "under-represented", "typical")


def made_audit(path: Path, n: int, features: int, *, pictures: bool) -> AuditFolder:
    """Of ``n`` points with so many features, 32 x 32 pictures or rows; needs no torch."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, CLASSES, n)
    centres = generator.normal(size=(CLASSES, features))
    points = (centres[labels] + generator.normal(size=(n, features))).astype(np.float32)
    shown = [_picture(generator, label) for label in labels] if pictures else None
    rows = None if pictures else [_row(point) for point in points.tolist()]
    path.mkdir(parents=True)
    write_arrow(path / "items.arrow", _items(shown, rows, project(points)))
    write_table(path / "scores.parquet", _scores(generator, labels))
    _write_model(path, points, centres)
    names = () if pictures else tuple(f"x{i}" for i in range(features))
    write_json(path / "manifest.json", {"status": "complete"} | asdict(_manifest(n, features, names)))
    return AuditFolder(path)


def _items(pictures: list[bytes] | None, rows: list[str] | None, places: np.ndarray) -> pa.Table:
    contents = pictures or [row.encode() for row in rows or ()]
    n = len(contents)
    columns = {
        "id": [item_id(content, str(i)) for i, content in enumerate(contents)],
        "name": pa.array([""] * n, pa.large_string()),
        "picture": pa.array(pictures or [None] * n, pa.large_binary()),
        "row": pa.array(rows or [None] * n, pa.large_string()),
        "x": places[:, 0],
        "y": places[:, 1],
    }
    return pa.table(columns)


def _row(values: list[float]) -> str:
    return "{" + ", ".join(f'"x{i}": "{value:.4g}"' for i, value in enumerate(values)) + "}"


def _scores(generator: np.random.Generator, labels: np.ndarray) -> pa.Table:
    n = len(labels)
    other = generator.integers(0, CLASSES, n)
    suggested = np.where(generator.random(n) < 0.03, other, labels)
    cook = generator.lognormal(size=n)
    rank = np.empty(n, dtype=np.int64)
    rank[np.argsort(-cook, kind="stable")] = np.arange(1, n + 1)
    columns = {
        "index": np.arange(n),
        "split": pa.array(["train"] * n).dictionary_encode().cast(pa.string()),
        "label": labels,
        "cook": cook,
        "loss": generator.exponential(size=n),
        "loo_loss": generator.exponential(size=n),
        "margin": generator.uniform(-1, 1, n),
        "leverage": generator.lognormal(size=n),
        "p_wrong": generator.beta(0.1, 3, n),
        "likely": other,
        "suggested_label": suggested,
        "kind": generator.choice(_KINDS, n),
        "rank": rank,
    }
    return pa.table(columns)


def _write_model(path: Path, points: np.ndarray, centres: np.ndarray) -> None:
    features = points.shape[1]
    weights = (CLASSES - 1) * (features + 1)
    save_file({"features": points}, path / "features.safetensors")
    save_file({"weight": centres, "bias": np.zeros(CLASSES)}, path / "head.safetensors")
    basis = np.linalg.qr(np.eye(CLASSES)[:, 1:] - 1 / CLASSES)[0]
    factor = {
        "inverse": np.eye(weights)[None],
        "outputs": np.ascontiguousarray(basis[None]),
        "features": np.eye(features + 1),
    }
    save_file(factor, path / "factor.safetensors")


def _manifest(n: int, features: int, columns: tuple[str, ...]) -> Manifest:
    classes = tuple(f"class {c}" for c in range(CLASSES))
    data = AuditedData(
        "made", "rows" if columns else "images", n, 0, classes, columns, "made", (), n, splits={"train": n}
    )
    model = AuditedModel(
        "made", None, "head", CLASSES, features, "cross_entropy", 5e-4, 0.0, Accuracy(0.97, None)
    )
    check = CheckResult("Stationarity", "0", "fit", "made, not measured", "none")
    arguments = {
        "seed": 0,
        "flip": 0.0,
        "model": {"name": "none", "epochs": None, "transform": None, "layer": None},
        "objective": {"loss": "cross_entropy", "l2": None},
    }
    return Manifest(
        swaypoint="0",
        key="made" * 16,
        created="2026-01-01T00:00:00+00:00",
        data=data,
        arguments=arguments,
        model=model,
        diagnostics=Fitness("fit", "none", "float64", "made", 0.0, (check,)),
        timings={},
        versions={},
        ranked_by="cooks_distance",
        flipped=None,
    )


def _picture(generator: np.random.Generator, label: int) -> bytes:
    coarse = generator.integers(40, 216, (8, 8, 3), dtype=np.uint8)
    coarse[..., label % 3] //= 2
    pixels = np.kron(coarse, np.ones((4, 4, 1), dtype=np.uint8))
    pixels += generator.integers(0, 24, pixels.shape, dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


@contextmanager
def serving(path: Path, *options: str) -> Iterator[tuple[str, int]]:
    """The address that opens the review, and the server's process id."""
    command = [sys.executable, "-m", "swaypoint.cli", "review", str(path), "--no-browser", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        for line in server.stdout:
            if found := re.search(r"review: (\S+)", line):
                yield found[1], server.pid
                break
    finally:
        server.terminate()
        server.wait(20)


def memory(pid: int) -> dict[str, float]:
    """Of a process in MB: resident, its own (anonymous), and pages of mapped files, which the kernel may
    drop again."""
    text = Path(f"/proc/{pid}/status").read_text()
    return {
        name: int(re.search(rf"{name}:\s+(\d+) kB", text)[1]) / 1000  # type: ignore[index]
        for name in ("VmRSS", "RssAnon", "RssFile")
    }
