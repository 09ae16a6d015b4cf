"""Audits killed at random moments, again and again: nothing is lost, nothing is counted twice."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import pytest

import streamed_data
from ray_nodes import HERE, cluster

SHARDS = 120


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    whole = streamed_data.table(*streamed_data.points(6000))
    return streamed_data.write(tmp_path_factory.mktemp("data") / "embeddings", whole, group=50)


def started(data: Path, out: Path, engine: str) -> subprocess.Popen:
    paths = [str(HERE), str(HERE.parent / "src")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen([sys.executable, HERE / "stream_driver.py", data, out, engine], env=environment)


def done(out: Path) -> dict[Path, int]:
    """Statistics that are kept, and when they were written."""
    return {file: file.stat().st_mtime_ns for file in out.glob("partial/[!.]*-*.safetensors")}


def _count(out: Path) -> int:
    try:
        return sum(name.endswith(".safetensors") for name in os.listdir(out / "partial"))
    except FileNotFoundError:
        return 0


def results(out: Path) -> tuple[dict[str, np.ndarray], dict, bytes]:
    table = ds.dataset(sorted(map(str, (out / "scores").glob("part-*.parquet")))).to_table()
    columns = {name: table[name].to_numpy() for name in table.column_names}
    manifest = json.loads((out / "manifest.json").read_text())
    kept = {name: manifest[name] for name in ("data", "model", "diagnostics", "streamed", "status")}
    return columns, kept, (out / "top.parquet").read_bytes()


def killed(process: subprocess.Popen, out: Path, shards: int, moment: float) -> bool:
    """SIGKILL a moment after so many more shards are done; False where it ended by itself."""
    before = _count(out)
    while _count(out) < before + shards and process.poll() is None:
        time.sleep(0.002)
    time.sleep(moment)
    process.kill()
    return process.wait() != 0


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "kills"), [("in-process", 20), ("ray", 4)])
def test_killed_at_random_moments_and_resumed(data, tmp_path, monkeypatch, engine, kills):
    assert started(data, tmp_path / "whole", "in-process").wait() == 0
    out, chance, lives = tmp_path / "audit", random.Random(0), 0
    with cluster(2) if engine == "ray" else nullcontext() as nodes:
        if nodes is not None:
            monkeypatch.setenv("RAY_ADDRESS", nodes.address)
        written: dict[Path, int] = {}
        while lives < kills:
            shards = chance.choice([0, 1, 2, 3, 5, 8])
            moment = chance.uniform(0.0, 0.1 if shards else 4.0)  # while it starts, reads and fits
            assert killed(started(data, out, engine), out, shards, moment), f"it ended after {lives} kills"
            lives += 1
            now = done(out)
            assert written.items() <= now.items()  # what was done is neither lost nor done again
            written = now
        assert len(written) < 2 * SHARDS
        assert started(data, out, engine).wait() == 0
    (columns, manifest, top), (expected, facts, best) = results(out), results(tmp_path / "whole")
    assert columns.keys() == expected.keys()
    for name, values in expected.items():
        assert np.array_equal(columns[name], values), name
    assert (manifest, top) == (facts, best)
    ranked = sum(manifest["data"]["splits"].values())  # those held out too
    assert len(np.unique(columns["index"])) == len(columns["index"]) == ranked
    assert not [file for file in out.rglob(".*") if file.is_file()]
    assert not (out / "partial").exists()
