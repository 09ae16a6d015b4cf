"""Decision tables: addressing, files, malformed files, interrupted writing."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from swaypoint.errors import InputError
from swaypoint.studies.acas import tables
from swaypoint.studies.acas.table_writing import Plan, TableWriter, finished
from swaypoint.studies.acas.tables import Axis, Table

ACTIONS = ("stay", "left", "right")
AXES = (
    Axis("delay", "s", np.array([0.0, 5.0])),
    Axis("speed", "ft/s", np.array([1.0, 2.0, 4.0, 8.0])),
    Axis("angle", "rad", np.array([-0.1, 0.0, 0.1])),
)
SHAPE = (2, 4, 3)
COSTS = np.random.default_rng(0).normal(size=(*SHAPE, 3)).astype(np.float32)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Two leading axes number the blocks, of three points."""
    monkeypatch.setattr(tables, "_BLOCK", 3)


def in_memory() -> Table:
    return Table("tiny", AXES, ACTIONS, COSTS.argmin(-1).astype(np.uint8), COSTS)


def plan(**changes) -> Plan:
    return Plan(**{"name": "tiny", "axes": AXES, "actions": ACTIONS, "costs": True, **changes})


def write(path, **changes) -> Table:
    with TableWriter(path, plan(**changes)) as writer:
        put(writer, writer.missing)
        return writer.finish()


def put(writer, blocks):
    costs = COSTS.reshape(len(COSTS) * 4, 3, 3)
    for block in blocks:
        writer.put(block, costs[block].argmin(-1).astype(np.uint8), costs[block])


@pytest.fixture(params=["memory", "file"])
def table(request, tmp_path) -> Table:
    return in_memory() if request.param == "memory" else write(tmp_path / "tiny.h5")


def test_points_stand_in_c_order(table):
    expected = list(itertools.product(*(axis.values.tolist() for axis in AXES)))
    np.testing.assert_array_equal(table.points(slice(None)), np.array(expected, np.float32))
    np.testing.assert_array_equal(
        table.points(np.array([23, 0])), np.array([expected[23], expected[0]], "f4")
    )


@pytest.mark.parametrize("index", [slice(None), slice(2, 20), slice(5, 5), slice(1, 24, 7), slice(20, 2, -3)])
def test_slices_read_what_they_say(table, index):
    np.testing.assert_array_equal(table.costs(index), COSTS.reshape(-1, 3)[index])
    np.testing.assert_array_equal(table.decisions(index), COSTS.reshape(-1, 3)[index].argmin(1))


def test_any_order_and_repetition_of_points(table):
    index = np.array([7, 23, 0, 7, 22])
    np.testing.assert_array_equal(table.costs(index), COSTS.reshape(-1, 3)[index])
    assert len(table.decisions(np.array([], int))) == 0


def test_blocks_cover_the_table_once(table):
    pieces = [np.arange(table.size)[block] for block in table.blocks()]
    assert {len(piece) for piece in pieces} == {3}
    np.testing.assert_array_equal(np.concatenate(pieces), np.arange(table.size))


@pytest.mark.parametrize("fixed", [{"delay": 1}, {"angle": 2}, {"speed": 3, "delay": 0}])
def test_select_holds_axes(table, fixed):
    key = tuple(fixed.get(axis.name, slice(None)) for axis in AXES)
    part = table.select(**fixed)
    assert part.shape == COSTS[key].shape[:-1]
    np.testing.assert_array_equal(part.costs(slice(None)), COSTS[key].reshape(-1, 3))
    np.testing.assert_array_equal(part.decisions(np.array([1])), COSTS[key].reshape(-1, 3)[[1]].argmin(1))
    np.testing.assert_array_equal(part.load(costs=True).cost, COSTS[key])


def test_select_of_a_selection(table):
    part = table.select(delay=1).select(angle=0)
    np.testing.assert_array_equal(part.costs(slice(None)), COSTS[1, :, 0])


def test_a_file_returns_what_was_written(tmp_path):
    write(tmp_path / "tiny.h5")
    read = Table.open(tmp_path / "tiny.h5")
    assert (read.name, read.actions) == ("tiny", ACTIONS)
    for axis, original in zip(read.axes, AXES, strict=True):
        assert (axis.name, axis.unit) == (original.name, original.unit)
        np.testing.assert_array_equal(axis.values, original.values)
    np.testing.assert_array_equal(read.load(costs=True).cost, COSTS)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["tiny.h5"]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=5))
def test_a_block_is_small_or_one_row(shape):
    leading = tables.leading_axes(tuple(shape))
    size = np.prod(shape[leading:])
    assert size <= tables._BLOCK or leading == len(shape) - 1
    assert leading == 0 or np.prod(shape[leading - 1 :]) > tables._BLOCK


def test_written_blocks_may_differ_from_those_of_reading(tmp_path):
    with TableWriter(tmp_path / "tiny.h5", plan(leading=1)) as writer:
        assert writer.missing == [0, 1]
        for block, costs in enumerate(COSTS):
            writer.put(block, costs.argmin(-1).astype(np.uint8), costs)
        table = writer.finish()
    np.testing.assert_array_equal(table.costs(slice(4, 17)), COSTS.reshape(-1, 3)[4:17])


def test_interrupted_writing_resumes(tmp_path):
    path = tmp_path / "tiny.h5"
    with TableWriter(path, plan()) as writer:
        put(writer, [0, 1, 5])
    assert not path.exists()
    with TableWriter(path, plan()) as writer:
        assert writer.missing == [2, 3, 4, 6, 7]
        put(writer, writer.missing)
        table = writer.finish()
    np.testing.assert_array_equal(table.load(costs=True).cost, COSTS)


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
import test_tables
from pathlib import Path
test_tables.tables._BLOCK = 3
writer = test_tables.TableWriter(Path(sys.argv[1]), test_tables.plan())
test_tables.put(writer, [0, 1, 2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_killed_writing_resumes(tmp_path):
    path = tmp_path / "tiny.h5"
    command = [sys.executable, "-c", KILLED, str(path), os.path.dirname(__file__)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    with TableWriter(path, plan()) as writer:
        assert writer.missing == [3, 4, 5, 6, 7]
        put(writer, writer.missing)
        np.testing.assert_array_equal(writer.finish().load(costs=True).cost, COSTS)


@pytest.mark.parametrize("change", [{"name": "other"}, {"origin": "other networks"}, {"leading": 1}])
def test_another_plan_starts_anew(tmp_path, change):
    path = tmp_path / "tiny.h5"
    with TableWriter(path, plan()) as writer:
        put(writer, [0, 1])
    with TableWriter(path, plan(**change)) as writer:
        assert len(writer.missing) == writer.plan.block_count


def test_finished_only_of_the_same_plan(tmp_path):
    path = tmp_path / "tiny.h5"
    assert finished(path, plan()) is None
    write(path)
    assert finished(path, plan()).name == "tiny"
    with pytest.raises(InputError, match=r"holds another table.*remove it"):
        finished(path, plan(origin="other networks"))


def test_a_place_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write .*tiny.h5"):
        TableWriter(tmp_path / "file" / "tiny.h5", plan())


def test_a_full_disk_is_an_input_error(disk_of):
    axes = (Axis("a", "", np.arange(600.0)), Axis("b", "", np.arange(1000.0)))
    noise = np.random.default_rng(0).integers(0, 3, 1000).astype(np.uint8)

    def fill(path):
        with TableWriter(path, plan(axes=axes, costs=False)) as writer:
            for block in writer.missing:
                writer.put(block, noise)
            writer.finish()

    with pytest.raises(InputError, match="no space left"):
        fill(disk_of("256k") / "big.h5")


def test_a_disk_that_fills_while_packing(disk_of):
    axes = (Axis("a", "", np.arange(100.0)), Axis("b", "", np.arange(1000.0)))
    noise = np.random.default_rng(0).integers(0, 3, 100_000).astype(np.uint8).reshape(100, 1000)
    disk = disk_of("124k")

    def fill():
        with TableWriter(disk / "big.h5", plan(axes=axes, costs=False)) as writer:
            for block in writer.missing:
                writer.put(block, noise[block])
            writer.finish()

    with pytest.raises(InputError, match="no space left"):
        fill()
    assert not (disk / "big.h5").exists()


def rewrite(path, change):
    """A user's own file, in the layout of the docs, with one thing changed."""
    with h5py.File(path, "w") as file:
        file.attrs["axes"], file.attrs["actions"] = ["delay", "speed", "angle"], list(ACTIONS)
        for axis in AXES:
            file[axis.name] = axis.values
        file["decision"], file["cost"] = COSTS.argmin(-1).astype(np.uint8), COSTS
        change(file)


def replace(name, values):
    def change(file):
        del file[name]
        file[name] = values

    return change


def drop(name):
    return lambda file: file.attrs.pop(name) if name in file.attrs else file.pop(name)


def attribute(name, value):
    return lambda file: file.attrs.create(name, value)


MALFORMED = [
    (drop("decision"), "no dataset 'decision'"),
    (drop("axes"), "'axes' is None; expected a list of texts"),
    (drop("actions"), "'actions' is None; expected a list of texts"),
    (drop("speed"), "no dataset 'speed'"),
    (attribute("axes", [1, 2, 3]), "'axes' is .*; expected a list of texts"),
    (attribute("axes", ["delay", "speed", "speed"]), "different names"),
    (attribute("axes", ["delay", "speed"]), r"expected uint8 of shape \(2, 4\)"),
    (attribute("actions", ["stay", "stay"]), "1 to 256 different names"),
    (replace("decision", np.zeros(SHAPE, np.int64)), r"decision .* is int64 .*; expected uint8"),
    (replace("decision", np.zeros((2, 3, 4), np.uint8)), r"shape \(2, 3, 4\); expected .* \(2, 4, 3\)"),
    (replace("cost", np.zeros(SHAPE, np.float32)), r"cost .* expected float32 of shape \(2, 4, 3, 3\)"),
    (replace("speed", [1.0, 2.0, 2.0, 3.0]), "'speed' are not finite and ascending"),
    (replace("speed", [1.0, 2.0, 3.0, np.nan]), "'speed' are not finite and ascending"),
    (replace("speed", ["a", "b", "c", "d"]), "'speed' has values of .*; expected one or more numbers"),
    (replace("speed", np.ones((2, 2))), "'speed' has shape .*; expected one dimension"),
    (replace("speed", 3.0), "'speed' has shape .*; expected one dimension"),
    (lambda file: file["speed"].attrs.modify("unit", 3), "'unit' of axis 'speed'"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), MALFORMED)
def test_malformed_files_say_what_is_wrong(tmp_path, change, message):
    rewrite(tmp_path / "own.h5", change)
    with pytest.raises(InputError, match=message) as error:
        Table.open(tmp_path / "own.h5")
    assert "own.h5" in str(error.value)


def test_a_file_of_the_documented_layout_opens(tmp_path):
    rewrite(tmp_path / "own.h5", lambda file: file.pop("cost"))
    table = Table.open(tmp_path / "own.h5")
    assert (table.name, table.cost) == ("own", None)
    np.testing.assert_array_equal(table.decisions(slice(None)), COSTS.argmin(-1).ravel())
    with pytest.raises(InputError, match="no costs; make it again"):
        table.costs(slice(None))


def test_files_that_are_not_hdf5(tmp_path):
    path = tmp_path / "own.h5"
    with pytest.raises(InputError, match="there is no table"):
        Table.open(path)
    path.write_text("rho,theta\n")
    with pytest.raises(InputError, match=r"own.h5: not an HDF5 table"):
        Table.open(path)
    rewrite(path, lambda file: None)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"own.h5: not an HDF5 table"):
        Table.open(path)


def test_a_damaged_chunk_is_an_input_error(tmp_path):
    path = tmp_path / "tiny.h5"
    write(path)
    with h5py.File(path) as file:
        chunk = file["decision"].id.get_chunk_info(4)
    with path.open("rb+") as raw:
        raw.seek(chunk.byte_offset)
        raw.write(b"\xff" * chunk.size)
    table = Table.open(path)
    with pytest.raises(InputError, match="the file is damaged"):
        table.decisions(slice(None))


def test_an_action_without_a_name(tmp_path):
    rewrite(tmp_path / "own.h5", replace("decision", np.full(SHAPE, 3, np.uint8)))
    with pytest.raises(InputError, match="holds action 3; expected 0 to 2"):
        Table.open(tmp_path / "own.h5").decisions(slice(0, 4))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (np.array([24]), "expected 0 to 23"),
        (np.array([-1]), "expected 0 to 23"),
        (np.array([0.5]), r"expected \(b,\) integers"),
        (np.array([[1]]), r"expected \(b,\) integers"),
    ],
)
def test_indices_out_of_the_table(table, index, message):
    with pytest.raises(InputError, match=message):
        table.decisions(index)
    with pytest.raises(InputError, match=message):
        table.points(index)


@pytest.mark.parametrize(("fixed", "message"), [({"rho": 0}, "no axis 'rho'"), ({"speed": 4}, "0 to 3")])
def test_select_of_what_is_not_there(table, fixed, message):
    with pytest.raises(InputError, match=message):
        table.select(**fixed)
