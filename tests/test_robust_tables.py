"""Damaged and hostile decision tables in HDF5: a table comes out, or one InputError."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mutations import damaged, fuzz, outcome, use_damaged
from swaypoint.errors import InputError
from swaypoint.folder import documents
from swaypoint.studies.acas import tables
from swaypoint.studies.acas.tables import Table

SHAPE = (3, 4, 5)


def write(path: Path, *, chunked: bool = True) -> Path:
    costs = np.random.default_rng(0).normal(size=(*SHAPE, 2)).astype(np.float32)
    packed = {"compression": "gzip", "chunks": (1, 4, 5)} if chunked else {}
    with h5py.File(path, "w") as file:
        file.attrs["axes"], file.attrs["actions"], file.attrs["name"] = ["t", "v", "r"], ["stay", "go"], "own"
        for name, size in zip("tvr", SHAPE, strict=True):
            file[name] = np.arange(float(size))
            file[name].attrs["unit"] = "s"
        file.create_dataset("decision", data=costs.argmin(-1).astype(np.uint8), **packed)
        file["cost"] = costs
    return path


def use(path: Path) -> Table:
    table = Table.open(path)
    assert set(table.load(costs=table.cost is not None).decision.ravel()) <= set(range(len(table.actions)))
    assert table.points(slice(0, 5)).shape[1] == len(table.axes)
    table.select(**{table.axes[0].name: 0}) if len(table.axes) > 1 else None
    f"{table.name} {table.actions} {[axis.unit for axis in table.axes]}".encode()
    return table


NAMED = Path("table 'own'")
"""What is found when values are read is said of the table, by its name."""


@pytest.mark.parametrize("chunked", [True, False])
def test_the_undamaged_file_is_read(tmp_path, chunked):
    assert use(write(tmp_path / "own.h5", chunked=chunked)).shape == SHAPE


@fuzz(120)
@given(data=st.data(), chunked=st.booleans())
def test_damaged_bytes(tmp_path_factory, data, chunked):
    valid = write(tmp_path_factory.getbasetemp() / "valid.h5", chunked=chunked).read_bytes()
    use_damaged(use, "own.h5", data.draw(damaged(valid)))


VALUES = {
    "nothing": h5py.Empty("f8"),
    "texts": ["a", "b", "c"],
    "bytes": np.array([b"\xff\xfe", b"b", b"c"]),
    "no numbers": np.full(3, np.nan),
    "one": np.float64(1.0),
    "complex": np.ones(3, complex),
    "records": np.zeros(3, "f8,i4"),
    "bools": np.ones(SHAPE, bool),
    "another shape": np.zeros((5, 4, 3), np.uint8),
    "actions without a name": np.full(SHAPE, 7, np.uint8),
    "infinite costs": np.full((*SHAPE, 2), np.inf, np.float32),
    "flat": np.zeros(60, np.uint8),
    "no points": np.zeros((0, 4, 5), np.uint8),
}


@pytest.mark.parametrize("name", ["t", "decision", "cost", "axes", "actions", "name", "unit"])
@pytest.mark.parametrize("values", VALUES)
def test_parts_of_other_types(tmp_path, name, values):
    path = write(tmp_path / "own.h5")
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
            file[name] = VALUES[values]
        else:
            (file["t"] if name == "unit" else file).attrs[name] = VALUES[values]
    outcome(use, path, NAMED)


LINKS = {
    "to itself": lambda file: file.__setitem__("cost", h5py.SoftLink("/cost")),
    "to nothing": lambda file: file.__setitem__("cost", h5py.SoftLink("/absent")),
    "to another file": lambda file: file.__setitem__("cost", h5py.ExternalLink("/absent.h5", "cost")),
    "to a group": lambda file: file.create_group("cost"),
    "to a type": lambda file: file.__setitem__("cost", np.dtype("f8")),
}


@pytest.mark.parametrize("link", LINKS)
def test_links_that_lead_nowhere(tmp_path, link):
    path = write(tmp_path / "own.h5")
    with h5py.File(path, "a") as file:
        del file["cost"]
        LINKS[link](file)
    outcome(use, path, NAMED)


def absurd_axis(file: h5py.File) -> None:
    del file["t"]
    file.create_dataset("t", (10**12,), np.float64, chunks=(1000,))[0] = 1.0


def absurd_chunk(file: h5py.File) -> None:
    del file["decision"]
    stored = file.create_dataset("decision", (1 << 30,), np.uint8, chunks=(1 << 29,), compression="gzip")
    assert stored.id.get_storage_size() == 0


def never_written(file: h5py.File) -> None:
    del file["decision"]
    file.create_dataset("decision", SHAPE, np.uint8, chunks=SHAPE)


ABSURD = {
    absurd_axis: "axis 't' .*at most 16,777,216",
    absurd_chunk: "'decision' has chunks of 536,870,912 bytes",
    never_written: "values of dataset 'decision' were never written",
}


@pytest.mark.parametrize("change", ABSURD)
def test_absurd_sizes(tmp_path, change):
    path = write(tmp_path / "own.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(InputError, match=rf"own\.h5: .*{ABSURD[change]}"):
        Table.open(path)


def test_a_table_larger_than_the_memory_is_not_loaded(tmp_path, monkeypatch):
    table = Table.open(write(tmp_path / "own.h5"))
    monkeypatch.setattr(documents.os, "sysconf", {"SC_PHYS_PAGES": 1, "SC_PAGE_SIZE": 100}.__getitem__)
    assert len(table.load().decision) == SHAPE[0]
    with pytest.raises(InputError, match="table 'own': its 60 points"):
        table.load(costs=True)


def test_a_folder_and_a_pipe(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.h5")
    for path in (tmp_path, tmp_path / "pipe.h5", tmp_path / ("x" * 300)):
        assert isinstance(outcome(use, path), InputError)


def test_blocks_stay_small():
    """What the limits above rely on: of a table only blocks are read."""
    assert tables.leading_axes((1000, 1000, 1000)) == 2
