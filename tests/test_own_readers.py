"""Readers of other packages: one that reads alone, one of tables, and which reader takes a source."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset, ReadOptions, fingerprint
from swaypoint.data.readers import (
    Reader,
    read_dataset,
    read_stored,
    reader_of,
    readers,
    table_reader,
)
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items

TOY = "1 0.5 a\n2 0.25 b\n3 0.75 a\n4 0.125 b\n5 0.5 a\n6 0.25 b\n7 0.1 a\n8 0.9 b\n"


# A whole reader, as another package would have it.
def toy_matches(source: str) -> bool:
    return source.endswith(".toy")


def toy_read(source: str, options: ReadOptions, on_progress: object) -> Dataset:
    lines = [line.split() for line in Path(source).read_text().splitlines()]
    inputs = np.array([line[:2] for line in lines], dtype=np.float32)
    classes = tuple(sorted({line[2] for line in lines}))
    labels = np.array([classes.index(line[2]) for line in lines])
    digest, index = fingerprint(inputs, labels, classes), np.arange(len(labels))
    return Dataset(source, "rows", inputs, labels, classes, ("a", "b"), index, (), (), digest)


# One whose sources are tables.
def toy_table(source: str, options: ReadOptions) -> pa.Table:
    a, b, label = zip(*(line.split() for line in Path(source).read_text().splitlines()), strict=True)
    return pa.table({"a": list(map(int, a)), "b": list(map(float, b)), "label": label})


@pytest.fixture
def own_readers(monkeypatch):
    """What a test registers is gone after it."""
    list(readers)
    monkeypatch.setattr(readers, "_own", dict(readers._own))
    return readers


@pytest.fixture
def toy(tmp_path) -> Path:
    path = tmp_path / "points.toy"
    path.write_text(TOY)
    return path


def test_a_reader_joins_and_leaves(toy, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(readers, "_own", dict(readers._own))
        readers.register("toy", Reader(toy_matches, toy_read))
        dataset = read_dataset(toy)
        np.testing.assert_array_equal(dataset.inputs[:2], np.float32([[1, 0.5], [2, 0.25]]))
        assert [dataset.classes[label] for label in dataset.labels] == ["a", "b"] * 4
        with pytest.raises(InputError, match=r"points\.toy: its reader gives no stored records back"):
            read_stored(toy)
    assert reader_of(toy) is None
    with pytest.raises(InputError, match=r"points\.toy: unknown kind of file \.toy; expected \.parquet"):
        read_dataset(toy)


def test_a_reader_of_tables_is_audited_and_read_again(toy, own_readers, tmp_path):
    own_readers.register("toy", table_reader(toy_matches, toy_table))
    model = ModelOptions(epochs=1)
    folder = swaypoint.audit(toy, tmp_path / "audit", options=AuditOptions(model=model, validation=0.0)).path
    source = read_source(Items(AuditFolder(folder)))
    assert source.table.column_names == ["a", "b", "label"]
    assert source.records(np.arange(2)).to_pylist()[1] == {"a": 2, "b": 0.25, "label": "b"}


def test_the_one_that_joined_last_is_asked_first(tmp_path, own_readers):
    file = tmp_path / "own.csv"
    file.write_text("no,table\n")
    mine = own_readers.register("mine", Reader(lambda source: source.endswith(".csv"), toy_read))
    assert reader_of(file) is mine
    assert reader_of(tmp_path / "other.tsv") is None


def sources(root: Path) -> dict[str, str]:
    """A source for each of our readers."""
    made = {"sklearn": "sklearn:wine", "hub": "owner/name"}
    for name in ("a.csv", "b.tsv"):
        (root / name).write_text("x,y\n")
    pq.write_table(pa.table({"y": [0, 1]}), root / "c.parquet")
    np.savez(root / "d.npz", x=np.zeros(2))
    for folder, file in [("e", "data/train-0.parquet"), ("f", "state.json"), ("g", "cat/0.png")]:
        (root / folder / file).parent.mkdir(parents=True)
        (root / folder / file).touch()
    (root / "f" / "data.parquet").touch()  # what datasets saved is its own, whatever lies beside it
    Image.new("RGB", (2, 2)).save(root / "g" / "cat" / "0.png")
    kinds = ["delimited", "delimited", "parquet", "npz", "parquet", "saved", "image_folder"]
    files = ["a.csv", "b.tsv", "c.parquet", "d.npz", "e", "f", "g"]
    return {
        **{str(root / file): kind for file, kind in zip(files, kinds, strict=True)},
        **{v: k for k, v in made.items()},
    }


def test_every_source_has_one_reader_of_ours(tmp_path):
    for source, kind in sources(tmp_path).items():
        assert [name for name in readers if readers[name].matches(source)] == [kind], source


@pytest.mark.parametrize(
    "source", ["", ".", "x" * 5000, "a\0b/c", "/proc/self/mem", "no.npz", "s3://b/x.parquet"]
)
def test_no_reader_is_upset_by_a_name(source):
    for name in readers:
        assert readers[name].matches(source) in (True, False)


def test_a_pipe_is_no_source(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    assert reader_of(tmp_path / "a.csv") is None


def test_a_broken_package_is_named(monkeypatch, toy):
    from importlib.metadata import EntryPoint

    point = EntryPoint("theirs", "no_such_package:reader", readers.group)
    monkeypatch.setattr(readers, "_others", {"theirs": point})
    with pytest.raises(InputError, match=r"the reader 'theirs' of .* cannot be imported"):
        reader_of(toy)
