"""A first look: which records, how many, and that it is not taken for the whole audit."""

from __future__ import annotations

import importlib
import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing import first_look
from swaypoint.auditing.first_look import Pace, paced
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.auditing.run import Listener
from swaypoint.cli.main import app
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import read_dataset, read_stored
from swaypoint.data.sampling import LEAST, proportional, sample, sampled
from swaypoint.errors import InputError
from swaypoint.models.predictor import ModelOptions

flow = importlib.import_module("swaypoint.auditing.audit")
CLASSES = np.repeat([0, 1, 2], [300, 80, 6])
N = len(CLASSES)
SOME = ReadOptions(label="label", limit=60, spread=True)
QUICK = AuditOptions(model=ModelOptions(epochs=1))


# -- which records ----------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(1, 3000))
def test_shares_are_proportional_and_keep_every_class(counts, limit):
    taken = proportional(counts, limit)
    assert sum(taken) == min(limit, sum(counts))
    assert all(0 <= k <= count for k, count in zip(taken, counts, strict=True))
    if limit >= LEAST * len(counts):
        assert all(k >= min(LEAST, count) for k, count in zip(taken, counts, strict=True))
    elif limit >= len(counts):
        assert min(taken) >= 1
    by_size = [k for _, k in sorted(zip(counts, taken, strict=True))]
    assert all(b >= a - 1 for a, b in pairwise(by_size))  # the larger, the more


@given(st.lists(st.integers(0, 4), min_size=1, max_size=200), st.integers(1, 250))
def test_a_sample_comes_from_everywhere_in_each_class(groups, limit):
    groups = np.array(groups)
    rows = sample(groups, limit)
    assert (np.diff(rows) > 0).all()
    sizes = Counter(groups.tolist())
    wanted = proportional([sizes[group] for group in sorted(sizes)], limit)
    for group, count in zip(sorted(sizes), wanted, strict=True):
        among = np.searchsorted(np.flatnonzero(groups == group), rows[groups[rows] == group])
        assert len(among) == count
        steps = np.diff(among)
        assert set(steps.tolist()) <= {sizes[group] // max(count, 1), sizes[group] // max(count, 1) + 1}


def table(seed: int = 0) -> pa.Table:
    x = np.random.default_rng(seed).normal(size=(N, 3)).astype(np.float32) + CLASSES[:, None]
    columns = {f"x{i}": x[:, i] for i in range(3)}
    return pa.table({**columns, "label": [f"c{label}" for label in CLASSES]})


def as_csv(root: Path) -> Path:
    pa_csv.write_csv(table(), root / "a.csv")
    return root / "a.csv"


def as_splits(root: Path) -> Path:
    (root / "data").mkdir()
    pq.write_table(table(), root / "data" / "train-0.parquet")
    pq.write_table(table(1), root / "data" / "test-0.parquet")
    return root / "data"


def as_npz(root: Path) -> Path:
    features = np.random.default_rng(0).normal(size=(N, 4))
    np.savez(root / "a.npz", features=features, label=CLASSES)
    return root / "a.npz"


def as_texts(root: Path) -> Path:
    texts = [f"a word and {i} words of class {label}" for i, label in enumerate(CLASSES)]
    pq.write_table(pa.table({"text": texts, "label": CLASSES}), root / "texts.parquet")
    return root / "texts.parquet"


def as_folder(root: Path) -> Path:
    for i, label in enumerate(CLASSES):
        folder = root / "photos" / f"c{label}"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), i % 256, np.uint8)).save(folder / f"{i:04d}.png")
    return root / "photos"


def as_text_folder(root: Path) -> Path:
    for i, label in enumerate(CLASSES):
        folder = root / "letters" / f"c{label}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i:04d}.txt").write_text(f"the text {i} of {label}")
    return root / "letters"


TEXT = {as_texts: "text"}


@pytest.mark.parametrize("make", [as_csv, as_splits, as_npz, as_texts, as_folder, as_text_folder])
def test_a_sample_is_those_records_of_the_whole(make, tmp_path):
    source = make(tmp_path)
    some = replace(SOME, text=TEXT.get(make))
    whole = read_dataset(source, options=replace(some, limit=None, spread=False))
    found = read_dataset(source, options=some)
    assert (len(found), found.of, whole.of) == (60, len(whole), None)
    assert set(found.labels.tolist()) == set(whole.labels.tolist())
    # A folder's positions are among the files that were read: there the names tell the records.
    rows = [whole.names.index(name) for name in found.names] if found.names else found.index
    again = whole.subset(np.asarray(rows))
    np.testing.assert_array_equal(found.inputs, again.inputs)
    np.testing.assert_array_equal(found.labels, again.labels)
    assert (found.split is None) == (whole.split is None)
    if found.split is not None:
        assert found.split.tolist() == again.split.tolist()
        assert Counter(found.split.tolist()) == {"train": 30, "test": 30}
    stored = read_stored(source, options=some)
    assert stored.dataset.fingerprint == found.fingerprint != whole.fingerprint
    if not found.names:
        labels = [str(stored.table[stored.label][int(at)].as_py()) for at in found.index]
        assert labels == [found.classes[label] for label in found.labels]


def test_a_bad_record_of_a_sample_is_called_by_its_place_in_the_source(tmp_path):
    broken = table().to_pydict()
    broken["x1"] = [float("inf")] * N
    pq.write_table(pa.table(broken), tmp_path / "a.parquet")
    first = int(sample(CLASSES, 60)[0])
    with pytest.raises(InputError, match=rf"row {first}\b"):
        read_dataset(tmp_path / "a.parquet", options=SOME)


# -- how many ---------------------------------------------------------------------------------------


def test_the_pace_of_an_audit_is_found_from_trials(tmp_path, monkeypatch):
    now, sizes = [0.0], []

    def trial(part, folder):
        sizes.append(len(part))
        now[0] += 2.0 + 0.01 * len(part)

    monkeypatch.setattr(first_look.time, "monotonic", lambda: now[0])
    probe = read_dataset(as_csv(tmp_path), options=ReadOptions(label="label"))
    probe = probe.subset(np.tile(np.arange(len(probe)), 10))
    pace = paced(probe, trial, 120.0)
    assert (pace.fixed, pace.each) == (pytest.approx(2.0), pytest.approx(0.01))
    assert sizes == [200, 400, 800, 1600]  # the first to take a tenth of the time is the last
    sizes.clear()
    assert paced(probe, trial, 10.0) == Pace(0.0, pytest.approx(4.0 / 200))  # too dear for a second one
    assert sizes == [200]


# -- the audit --------------------------------------------------------------------------------------


@pytest.fixture
def slow(monkeypatch):
    """Audits take a second a record."""
    monkeypatch.setattr(flow, "paced", lambda *_: Pace(0.0, 1.0))


@pytest.mark.parametrize("make", [as_csv, as_npz, as_texts])
def test_a_first_look_is_told_from_the_whole_audit(make, tmp_path, slow, monkeypatch):
    source, said = make(tmp_path), []
    read, out = ReadOptions(label="label", text=TEXT.get(make)), tmp_path / "look"
    made = swaypoint.audit(
        source, out, options=QUICK, read=read, scale=Scale(minutes=2), listener=Listener(note=said.append)
    )
    data = made.manifest().data
    assert data.of == N
    assert 100 <= data.points <= 120  # less what reading took
    assert Counter(made.scores()["label"].to_pylist()).keys() == {0, 1, 2}
    assert any(f"a first look at {data.points:,} of {N:,} records" in line for line in said)
    assert f"a first look at {data.points} of {N} records" in (out / "report.html").read_text()

    def never(*_):
        raise AssertionError("timed again")

    monkeypatch.setattr(flow, "paced", never)
    again = swaypoint.audit(source, out, options=QUICK, read=read, scale=Scale(minutes=2))
    assert again.manifest().created == made.manifest().created
    with pytest.raises(
        InputError, match=rf"a first look at {data.points} of {N} records, not of all records"
    ):
        swaypoint.audit(source, out, options=QUICK, read=read)


def test_where_there_is_time_for_all_all_are_audited(tmp_path, monkeypatch):
    monkeypatch.setattr(flow, "paced", lambda *_: Pace(0.0, 0.01))
    source = as_npz(tmp_path)
    read = ReadOptions(label="label")
    looked = swaypoint.audit(source, tmp_path / "a", read=read, scale=Scale(minutes=2))
    whole = swaypoint.audit(source, tmp_path / "b", read=read)
    assert looked.manifest().data.of is None
    assert looked.manifest().key == whole.manifest().key


def test_a_first_look_at_a_dataset_in_memory(tmp_path, slow):
    dataset = read_dataset(as_npz(tmp_path), options=ReadOptions(label="label"))
    made = swaypoint.audit(dataset, tmp_path / "a", scale=Scale(minutes=1))
    count = made.manifest().data.points
    assert made.manifest().data.of == N
    expected = sampled(dataset, count)
    assert made.manifest().data.fingerprint == expected.fingerprint
    assert made.scores()["index"].to_pylist() == expected.index.tolist()


def test_the_command_names_the_folder_and_the_remedy(tmp_path, slow, monkeypatch):
    monkeypatch.chdir(tmp_path)
    as_npz(tmp_path)
    run = CliRunner().invoke(app, ["audit", "a.npz", "--label", "label", "--quick", "--json"])
    assert run.exit_code == 0, run.output
    found = json.loads(run.stdout)
    assert found["folder"] == "a-audit-quick"
    assert (found["data"]["of"], found["data"]["ranked"] < N) == (N, True)
    with pytest.raises(InputError, match="leave --limit out"):
        swaypoint.audit("a.npz", read=ReadOptions(label="label", limit=9), scale=Scale(minutes=2))
    with pytest.raises(InputError, match="minutes is 0"):
        Scale(minutes=0)


def test_an_export_says_that_others_are_left_out(tmp_path, slow):
    source = as_csv(tmp_path)
    out = tmp_path / "look"
    swaypoint.audit(source, out, options=QUICK, read=ReadOptions(label="label"), scale=Scale(minutes=2))
    run = CliRunner().invoke(app, ["export", str(out), "--to", "csv", "--out", str(tmp_path / "clean.csv")])
    assert run.exit_code == 0, run.output
    written = pa_csv.read_csv(tmp_path / "clean.csv")
    assert "of 386 records were audited (--quick); others are left out" in " ".join(run.output.split())
    assert len(written) == swaypoint.AuditFolder(out).manifest().data.points
