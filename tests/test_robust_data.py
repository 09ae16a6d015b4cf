"""Damaged and hostile datasets: tables, archives, pictures. A dataset comes out, or one InputError."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mutations import HOSTILE, damaged, edited, fuzz, outcome, use_damaged
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError
from swaypoint.folder import documents

READS = [
    ReadOptions(),
    ReadOptions(skip_bad=True),
    ReadOptions(label="y", features="v"),
    ReadOptions(label="x", regression=True, limit=7),
    ReadOptions(image="picture", skip_bad=True),
]


def use(options: ReadOptions = READS[0]) -> Callable[[Path], Dataset]:
    def read(path: Path) -> Dataset:
        dataset = read_dataset(path, options=options)
        n = len(dataset)
        assert n > 0
        assert len(dataset.inputs) == len(dataset.index) == n
        if dataset.kind != "images":
            assert np.isfinite(dataset.inputs).all()
            assert dataset.inputs.shape == (n, len(dataset.columns))
        if dataset.classes:
            assert 0 <= dataset.labels.min() <= dataset.labels.max() < len(dataset.classes)
            json.dumps(dataset.classes).encode()
            ", ".join(dataset.classes).encode()
        for row in (0, n - 1):
            json.dumps(dataset.describe(row))
        return dataset

    return read


def png(side: int = 4, kind: str = "PNG", seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def table() -> pa.Table:
    n = 24
    values = {
        "x": np.linspace(0, 1, n),
        "c": pa.array(["red", "blue", None] * 8).dictionary_encode(),
        "y": ["a", "b"] * (n // 2),
        "v": [[1.0, 2.0]] * n,
    }
    features = {"y": {"names": ["a", "b"], "_type": "ClassLabel"}}
    return pa.table(values).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )


def parquet(table: pa.Table, **options) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue()


def pictures() -> pa.Table:
    values = [{"bytes": png(seed=i), "path": None} for i in range(6)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.table({"picture": pa.array(values, kind), "label": [0, 1] * 3})


def npz(**arrays) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


FILES = {
    "a.parquet": parquet(table()),
    "b.parquet": parquet(table().select(["x", "c", "y"]), compression="gzip", use_dictionary=False),
    "c.parquet": parquet(pictures()),
    "a.npz": npz(features=np.eye(6), labels=np.array(["a", "b"] * 3)),
    "b.npz": npz(features=np.zeros((6, 4, 4), np.uint8), labels=np.arange(6) % 2),
    "a.tsv": b"x\tc\ty\n1\tred\ta\n2\tblue\tb\n3\tred\ta\n",
}
CSV = "x,c,date,label\n" + "".join(f"{i},{['red', 'blue'][i % 2]},{i}.5,{'ab'[i % 2]}\n" for i in range(12))


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_files_are_read(tmp_path, name):
    (tmp_path / name).write_bytes(FILES[name])
    options = {"a.parquet": READS[2], "b.parquet": ReadOptions(label="y", skip_bad=True)}
    assert len(use(options.get(name, ReadOptions()))(tmp_path / name)) >= 3


@fuzz(120)
@given(data=st.data(), name=st.sampled_from(sorted(FILES)), options=st.sampled_from(READS))
def test_damaged_bytes(data, name, options):
    use_damaged(use(options), name, data.draw(damaged(FILES[name])))


@fuzz(120)
@given(data=st.data(), options=st.sampled_from(READS))
def test_edited_tables(data, options):
    use_damaged(use(options), "a.csv", data.draw(edited(CSV)))


# -- structured: columns of any type ----------------------------------------------------------------

TYPES = [
    *(pa.bool_(), pa.int8(), pa.uint64(), pa.int64(), pa.float16(), pa.float32(), pa.float64()),
    *(
        pa.decimal128(38, 37),
        pa.decimal256(70, 3),
        pa.date32(),
        pa.time64("ns"),
        pa.timestamp("ns", tz="UTC"),
    ),
    *(pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.binary_view(), pa.null()),
    *(pa.list_(pa.int8()), pa.list_(pa.float64(), 2), pa.large_list(pa.string()), pa.duration("ns")),
    *(pa.struct([("a", pa.int64())]), pa.struct([("bytes", pa.binary())]), pa.map_(pa.string(), pa.int8())),
    *(
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int8(), pa.float64()),
        pa.list_(pa.list_(pa.int8())),
    ),
]
VALUES: dict[str, list] = {
    "int": [0, 1, -1, 2**63 - 1, 2**64 - 1, 100],
    "text": ["a", "b", "", "é", "1", "nan"],
    "float": [0.0, 1.5, float("nan"), float("inf"), 1e308],
}


@st.composite
def columns(draw: st.DrawFn, rows: int) -> pa.Array:
    kind = draw(st.sampled_from(TYPES))
    pool = draw(st.sampled_from(sorted(VALUES)))
    choice = st.sampled_from([*VALUES[pool], None])
    base = draw(st.lists(choice, min_size=rows, max_size=rows))
    for wrap in (
        lambda v: v,
        lambda v: [v],
        lambda v: [v, v],
        lambda v: {"a": v, "bytes": v},
        lambda v: [("a", v)],
    ):
        try:
            return pa.array([None if value is None else wrap(value) for value in base], kind)
        except (pa.ArrowException, TypeError, ValueError, OverflowError, AttributeError):
            continue
    return pa.nulls(rows, kind)


@fuzz(120)
@given(data=st.data(), rows=st.integers(0, 5), options=st.sampled_from(READS))
def test_columns_of_any_type(data, rows, options):
    names = data.draw(
        st.lists(st.sampled_from(["x", "y", "v", "picture", "label", "Class", "é"]), min_size=1, max_size=4)
    )
    names = list(dict.fromkeys(names)) if data.draw(st.booleans()) else names
    content = pa.Table.from_arrays([data.draw(columns(rows)) for _ in names], names)
    try:
        stored = parquet(content)
    except pa.ArrowException:
        return  # Arrow itself cannot write it
    use_damaged(use(options), "a.parquet", stored)


@fuzz(80)
@given(data=st.data())
def test_any_metadata_of_a_schema(data):
    feature = st.sampled_from([*HOSTILE, {"_type": "ClassLabel"}, {"_type": "ClassLabel", "names": None}])
    names = st.lists(st.sampled_from(["a", "b", "\ud800", 1, None, ["a"]]), max_size=3)
    named = st.builds(lambda names: {"_type": "ClassLabel", "names": names}, names | st.sampled_from(HOSTILE))
    features = data.draw(st.dictionaries(st.sampled_from(["label", "x", ""]), feature | named) | feature)
    text = data.draw(
        st.sampled_from([json.dumps({"info": {"features": features}}), "[" * 100_000, "{", '{"info": 1}'])
    )
    content = pa.table({"x": [1.0, 2.0, 3.0], "label": [0, 1, 1]}).replace_schema_metadata(
        {"huggingface": text}
    )
    use_damaged(use(), "a.parquet", parquet(content))


@fuzz(80)
@given(data=st.data(), options=st.sampled_from(READS))
def test_arrays_of_any_type(data, options):
    kinds = ["f8", "f2", "c16", "i1", "u8", "?", "S3", "U3", "M8[s]", "V4", ">f4", "f8,i4"]
    shapes = st.sampled_from(
        [(), (0,), (6,), (6, 0), (0, 3), (6, 2), (6, 4, 4), (6, 4, 4, 3), (6, 0, 4), (2, 2)]
    )
    names = data.draw(
        st.lists(st.sampled_from(["features", "labels", "X", "y", "v", "x", "../a"]), unique=True)
    )
    arrays = {}
    for name in names:
        kind, shape = np.dtype(data.draw(st.sampled_from([*kinds, "u1"]))), data.draw(shapes)
        size = int(np.prod(shape)) * kind.itemsize
        filler = data.draw(st.sampled_from([b"\0", b"\xff", b"a\0", bytes(range(256))]))
        raw = (filler * (size // len(filler) + 1))[:size]
        arrays[name] = np.frombuffer(raw, kind).reshape(shape) if size else np.zeros(shape, kind)
    use_damaged(use(options), "a.npz", npz(**arrays))


# -- absurd sizes -----------------------------------------------------------------------------------


@pytest.fixture
def small_machine(monkeypatch):
    """16 MiB of memory: what unpacks to more is refused before it is unpacked."""
    sizes = {"SC_PHYS_PAGES": 4096, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(documents.os, "sysconf", sizes.__getitem__)


def repeated_rows() -> bytes:
    return parquet(pa.table({"x": np.zeros(2_500_000), "label": np.zeros(2_500_000, np.int8)}))


def long_first_vector() -> bytes:
    return parquet(pa.table({"v": [[0.0] * 40_000, *([[0.0]] * 200)], "y": [0, 1] * 100 + [0]}))


def compressed_zeros() -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, features=np.zeros((2_500_000, 1)), labels=np.zeros(2_500_000, np.int8))
    return buffer.getvalue()


def declared(shape: str) -> bytes:
    """An array of absurd shape and no content."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("features.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
        archive.writestr("labels.npy", b"")
    return buffer.getvalue()


BOMBS = {
    "rows.parquet": (repeated_rows, ReadOptions(), "2,500,000 records"),
    "vectors.parquet": (long_first_vector, READS[2], "vectors"),
    "zeros.npz": (compressed_zeros, ReadOptions(), "its arrays"),
    "shape.npz": (lambda: declared("(10000000000, 100000)"), ReadOptions(), "npz"),
    "pictures.parquet": (lambda: parquet(pictures()), ReadOptions(image_size=100_000), "6 pictures"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_does_not_fit_into_memory_is_refused(tmp_path, small_machine, name):
    make, options, words = BOMBS[name]
    (tmp_path / name).write_bytes(make())
    with pytest.raises(InputError, match=rf"{name}: .*{words}"):
        read_dataset(tmp_path / name, options=options)


# -- what is no plain file --------------------------------------------------------------------------


def test_names_that_are_no_text(tmp_path):
    for label in (b"cat", b"dog\xff"):
        folder = os.fsencode(tmp_path) + b"/photos/" + label
        os.makedirs(folder)
        for name in (b"/a.png", b"/b.png"):
            with open(folder + name, "wb") as file:
                file.write(png())
    with pytest.raises(InputError, match=r"photos: .*dog.*UTF-8.*rename"):
        read_dataset(tmp_path / "photos")


def photos(root: Path) -> Path:
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for seed, kind in enumerate(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]):
            (root / label / f"{kind}.{kind.lower()}").write_bytes(png(8, kind, seed))
    return root


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path: path.symlink_to(path)]
)
def test_pipes_devices_and_loops_are_bad_pictures(tmp_path, make):
    root = photos(tmp_path / "photos")
    make(root / "cat" / "odd.png")
    with pytest.raises(InputError, match=r"cat/odd\.png: .*leave it out with --skip-bad"):
        read_dataset(root)
    assert len(use(ReadOptions(skip_bad=True))(root)) == 12


@pytest.mark.parametrize("name", [*FILES, "a.csv"])
def test_pipes_and_folders_in_a_files_place(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert isinstance(outcome(use(), tmp_path / name), InputError)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    assert isinstance(outcome(use(), tmp_path / name), InputError)


@pytest.mark.parametrize("path", ["x" * 5000, "x" * 300 + ".csv", "a\0b.parquet", ""])
def test_paths_that_no_system_has(path):
    with pytest.raises(InputError):
        read_dataset(path)


@pytest.mark.parametrize("side", [0, -1])
def test_a_side_of_no_pixels(tmp_path, side):
    with pytest.raises(InputError, match="image_size is"):
        read_dataset(photos(tmp_path / "photos"), options=ReadOptions(image_size=side))


@fuzz(20)
@given(data=st.data(), kind=st.sampled_from(["PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF"]))
def test_damaged_pictures(tmp_path_factory, data, kind):
    root = tmp_path_factory.mktemp("pictures")
    photos(root)
    file = root / "cat" / f"{kind}.{kind.lower()}"
    file.write_bytes(data.draw(damaged(file.read_bytes())))
    dataset = use(ReadOptions(skip_bad=True))(root)
    assert [skipped.where for skipped in dataset.skipped] in ([], [f"cat/{file.name}"])


def test_the_newer_layout_of_texts(tmp_path):
    texts = pa.array(["red", "blue", None, "red"], pa.string_view())
    (tmp_path / "a.parquet").write_bytes(parquet(pa.table({"c": texts, "label": texts.slice(0)})))
    dataset = use(ReadOptions(skip_bad=True))(tmp_path / "a.parquet")
    assert (dataset.columns, dataset.classes) == (("c=blue", "c=red"), ("blue", "red"))


def test_large_labels_keep_their_names(tmp_path):
    content = parquet(pa.table({"x": [1.0, 2.0, 3.0], "label": pa.array([2**64 - 1, 5, 5], pa.uint64())}))
    (tmp_path / "a.parquet").write_bytes(content)
    assert read_dataset(tmp_path / "a.parquet").classes == ("5", str(2**64 - 1))
    regression = ReadOptions(regression=True)
    assert read_dataset(tmp_path / "a.parquet", options=regression).labels.max() == 2.0**64
