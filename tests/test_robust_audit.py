"""Damaged audit folders: whatever reads one gives a result or an InputError that names the file."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from safetensors.numpy import load_file, save_file

import swaypoint
from mutations import damaged, fuzz, misshapen, outcome
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import main
from swaypoint.errors import InputError
from swaypoint.findings.regions import explore, read_regions, write_regions
from swaypoint.folder.audit_folder import SCORES, AuditFolder
from swaypoint.folder.writing import write_arrow, write_table
from swaypoint.models.predictor import ModelOptions
from swaypoint.report.html import render
from swaypoint.report.terminal import show
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items

BINARY = ("scores.parquet", "examples.parquet", "items.arrow")
TENSORS = ("features.safetensors", "head.safetensors", "factor.safetensors", "inputs.safetensors")
DOCUMENTS = ("manifest.json", "regions.json", "findings.json")


@pytest.fixture(scope="module")
def valid(tmp_path_factory) -> Path:
    """A finished audit of a table, 40 rows of numbers and a category, with regions."""
    root = tmp_path_factory.mktemp("robust")
    generator = np.random.default_rng(0)
    labels = np.arange(40) % 2
    table = pa.table(
        {
            "x": generator.normal(size=40) + labels,
            "c": [("red", "blue")[i % 2] for i in generator.integers(0, 2, 40)],
            "label": [("cat", "dog")[label] for label in labels],
        }
    )
    pq.write_table(table, root / "table.parquet")
    options = AuditOptions(model=ModelOptions(epochs=1), flip=0.1, top=10)
    folder = swaypoint.audit(root / "table.parquet", root / "audit", options=options)
    write_regions(folder, explore(folder))
    return folder.path


@pytest.fixture(scope="module")
def copy(valid, tmp_path_factory) -> Path:
    return Path(shutil.copytree(valid, tmp_path_factory.mktemp("robust") / "copy"))


def use(file: Path) -> None:
    """All that reads an audit's folder: the terminal, the report, a review, regions, an export."""
    folder = AuditFolder(file.parent)
    show(folder, console=Console(quiet=True))
    assert "<html" in render(folder)
    items = Items(folder)
    assert items.label(0)
    assert isinstance(items.row(0), dict)
    assert items.source(0)
    assert items.picture(0) in (None, b"\xff")
    assert sum(items.matching("red")) >= 0
    assert 0 <= sum(one.probability for one in items.suggestions(0)) < 1.001
    assert np.isfinite(items.neighbours(0).values).all()
    assert all(np.isfinite(related.values).all() for related in items.influences(0))
    assert items.table is None or len(items.table.inputs) == len(items)
    assert all(items.label(member) for region in items.regions for member in region.members)
    explore(folder)
    read_regions(folder)
    assert read_source(items).train.max() < 40


def use_tables(file: Path) -> None:
    folder = AuditFolder(file.parent)
    folder.examples()
    items = Items(folder)
    assert len(items.scores["cook"]) == len(items) == len(items.order("rank"))
    items.row(0)
    items.suggestions(0)
    items.influences(0)


def damage(copy: Path, valid: Path, name: str, content: bytes, use: Callable[[Path], None] = use) -> None:
    (copy / name).write_bytes(content)
    try:
        outcome(use, copy / name, copy)
    finally:
        shutil.copyfile(valid / name, copy / name)


def test_the_undamaged_folder_is_used_in_full(copy):
    use(copy / "manifest.json")


@fuzz(30)
@given(data=st.data())
def test_manifests_of_another_shape(copy, valid, data):
    content = data.draw(misshapen(json.loads((valid / "manifest.json").read_text())))
    damage(copy, valid, "manifest.json", content)


@fuzz(15)
@given(data=st.data())
def test_regions_of_another_shape(copy, valid, data):
    content = data.draw(misshapen(json.loads((valid / "regions.json").read_text())))
    damage(copy, valid, "regions.json", content)


@fuzz(15)
@given(data=st.data())
def test_findings_of_another_shape(copy, valid, data):
    content = data.draw(misshapen(json.loads((valid / "findings.json").read_text())))
    damage(copy, valid, "findings.json", content)


@fuzz(40)
@given(data=st.data(), name=st.sampled_from((*BINARY, *TENSORS, *DOCUMENTS)))
def test_damaged_files(copy, valid, name, data):
    damage(copy, valid, name, data.draw(damaged((valid / name).read_bytes())))


def other_columns(table: pa.Table) -> list[pa.Table]:
    """Each column of another type, empty, left out or there twice; no rows, and a row twice."""
    changed = [table.slice(0, 0), pa.concat_tables([table, table.slice(0, 1)])]
    for place, name in enumerate(table.column_names):
        others = [pa.array([str(i) for i in range(len(table))]), pa.nulls(len(table))]
        others += [pa.nulls(len(table), pa.float64()), pa.array([[i] for i in range(len(table))])]
        others += [
            pa.array([-1] * len(table)),
            pa.array([1e300] * len(table)),
            pa.array([b"\xff"] * len(table)),
        ]
        changed += [table.set_column(place, name, other) for other in others]
        changed += [table.drop_columns([name]), table.append_column(name, table[name])]
    return changed


@pytest.mark.parametrize("name", BINARY)
def test_tables_of_another_form(copy, valid, name):
    arrow = name.endswith("arrow")
    stored = pa.ipc.open_file(valid / name).read_all() if arrow else pq.read_table(valid / name)
    for table in other_columns(stored):
        (write_arrow if arrow else write_table)(copy / name, table)
        damage(copy, valid, name, (copy / name).read_bytes(), use_tables)


@pytest.mark.parametrize("name", TENSORS)
def test_tensors_of_another_form(copy, valid, name):
    stored = load_file(valid / name)
    for key, value in stored.items():
        others = [
            value[:-1],
            value[None],
            value.astype(np.int64),
            np.full_like(value, np.nan),
            value[..., :0],
        ]
        for other in [*others, None]:
            tensors = (
                stored | {key: other} if other is not None else {k: v for k, v in stored.items() if k != key}
            )
            save_file(tensors, copy / name)
            damage(copy, valid, name, (copy / name).read_bytes(), use_tables)


@pytest.mark.parametrize("name", [*DOCUMENTS, *BINARY, *TENSORS])
def test_a_folder_or_a_pipe_in_a_files_place(copy, valid, name):
    (copy / name).unlink()
    try:
        for make, unmake in ((os.mkdir, os.rmdir), (os.mkfifo, os.unlink)):
            make(copy / name)
            with contextlib.suppress(InputError):
                use(copy / name)
            unmake(copy / name)
    finally:
        shutil.copyfile(valid / name, copy / name)


def test_one_wrong_bit_is_never_another_ranking(copy, valid):
    """The pages of our parquet files have checksums, which pyarrow neither writes nor reads by default."""
    content, scores = (
        (valid / "scores.parquet").read_bytes(),
        AuditFolder(valid).scores().select(list(SCORES)),
    )
    refused, footer = 0, len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    try:
        for at in [*range(0, footer, 31), *range(footer, len(content), 5)]:
            (copy / "scores.parquet").write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
            try:
                assert AuditFolder(copy).scores().select(list(SCORES)).equals(scores)
            except InputError:
                refused += 1
    finally:
        shutil.copyfile(valid / "scores.parquet", copy / "scores.parquet")
    assert refused > 100


@pytest.mark.parametrize("name", ["manifest.json", "scores.parquet"])
def test_the_command_says_it_on_one_line(copy, valid, name, monkeypatch, capsys):
    (copy / name).write_bytes(b"[" * 100_000)
    monkeypatch.setattr(sys, "argv", ["swaypoint", "show", str(copy)])
    try:
        with pytest.raises(SystemExit, match="1"):
            main()
    finally:
        shutil.copyfile(valid / name, copy / name)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert name in said.err
