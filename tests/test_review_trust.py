"""Attacks on a review: audits that somebody sent, forged logs, borrowed names, and what they come to."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from review_site import Site
from swaypoint.cli.main import app
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError

CODE = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef f(*_): return 0\n"


@pytest.fixture
def rows(audited_rows, tmp_path) -> Path:
    return Path(shutil.copytree(audited_rows, tmp_path / "wine"))


def command(*words):
    return CliRunner().invoke(app, [*map(str, words)])


# -- an audit that somebody sent ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        {"model": {"name": "sent_code:f"}},
        {"model": {"transform": "sent_code:f"}},
        {"model": {"layer": "sent_code:f"}},
        {"path": "sent_code:f"},
        {"path": "sent_code/f"},
    ],
)
def test_nothing_that_an_audit_names_is_imported(rows, tmp_path, monkeypatch, names):
    (tmp_path / "sent_code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    manifest = json.loads((rows / "manifest.json").read_text())
    manifest["arguments"]["model"] |= names.get("model", {})
    if "path" in names:
        manifest["data"]["origin"]["path"] = names["path"]
    (rows / "manifest.json").write_text(json.dumps(manifest))
    site = Site(rows)
    page = site.page()
    for path in ("/item?status=open", "/gallery", "/map", "/progress", "/classes"):
        assert page.get(path).status_code == 200
    site.store.close()
    for words in (
        ("report", rows),
        ("export", rows, "--to", "csv", "--out", tmp_path / "out.csv"),
        ("compare", rows, "--seeds", "1"),
        ("simulate", rows, "--inspect", "0.01", "--truth", tmp_path / "none.csv"),
    ):
        done = command(*words)
        assert done.exception is None or isinstance(done.exception, (InputError, ImportError, SystemExit))
    assert "sent_code" not in sys.modules
    assert not (tmp_path / "ran").exists()


def test_the_transform_of_an_audit_is_run_only_where_it_is_said_again(rows):
    """Of an exported network that the audit's sender gives along, compare would call it."""
    manifest = json.loads((rows / "manifest.json").read_text())
    manifest["arguments"]["model"] |= {"name": "onnx:net.onnx", "transform": "sent_code:f"}
    (rows / "manifest.json").write_text(json.dumps(manifest))
    for words in ((), ("--transform", "other:f")):
        done = command("compare", rows, *words)
        assert "code that would run, is sent_code:f; say it again" in str(done.exception)
    assert "code that would run" not in str(command("compare", rows, "--transform", "sent_code:f").exception)


def bomb(file: Path, table: pa.Table) -> Path:
    pq.write_table(table, file, store_schema=False, compression="zstd")
    assert file.stat().st_size < 40_000
    return file


BOMBS = {
    "numbers": lambda: pa.array(np.zeros(5_000_000)),
    "one text repeated": lambda: pa.DictionaryArray.from_arrays(np.zeros(20_000, np.int32), ["x" * 10**5]),
    "one long text": lambda: pa.array(["x" * (30 << 20)]),
    "texts in lists": lambda: pa.ListArray.from_arrays(
        np.arange(0, 200_001, 10, np.int32),
        pa.DictionaryArray.from_arrays(np.zeros(200_000, np.int32), ["x" * 10**4]),
    ),
}
MOST = 200 << 20


@pytest.mark.parametrize("name", BOMBS)
def test_a_table_of_a_few_bytes_takes_no_memory(name, tmp_path):
    """34 kB took 2.2 GB."""
    file = bomb(tmp_path / "bomb.parquet", pa.table({"id": BOMBS[name]()}))
    script = (
        "import resource, sys, pathlib\n"
        "from swaypoint.folder.documents import read_parquet\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try: read_parquet(pathlib.Path(sys.argv[1]), 'remedy')\n"
        "except ValueError as error: print(error)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=True)
    words, taken = done.stdout.splitlines()
    assert "bytes unpack to more than 16 MiB, as no table of such a size does; remedy" in words
    assert int(taken) * 1024 < MOST


def test_a_bomb_in_an_audit_or_an_import_is_refused(rows, tmp_path):
    sent = bomb(tmp_path / "bomb.parquet", pa.table({"label_score": BOMBS["numbers"]()}))
    assert "unpack to more" in str(command("import", rows, sent, "--from", "cleanlab").exception)
    shutil.copy(sent, rows / "scores.parquet")
    assert "unpack to more" in str(command("review", rows, "--no-browser").exception)


def test_the_users_own_table_may_repeat_itself(tmp_path):
    zeros = BOMBS["numbers"]()[:3_000_000]
    file = bomb(tmp_path / "own.parquet", pa.table({"x": zeros, "label": zeros}))
    with pytest.raises(InputError, match="class"):  # read, and found to be of one class
        read_dataset(file)
