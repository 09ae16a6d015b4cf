"""Datasets from files: what is read, what is refused and in which words."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import feather

from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError, MissingExtra

CIFAR = Path(__file__).parents[2] / "shared/data/cifar10/train.parquet"


def png(pixels: np.ndarray, kind: str = "PNG", **parameters: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **parameters)
    return buffer.getvalue()


def pictures(count: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def image_folder(root: Path, pixels: np.ndarray) -> Path:
    """Even pictures are cats, odd ones dogs."""
    for i, picture in enumerate(pixels):
        folder = root / ("cat", "dog")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{i}.png").write_bytes(png(picture))
    return root


def image_parquet(path: Path, images: list[bytes | None], labels: list[object]) -> Path:
    structs = [{"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"img": pa.array(structs, kind), "label": labels}), path)
    return path


def csv(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **arrays)
    return path


def named(table: pa.Table, names: list[str]) -> pa.Table:
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


# What is read


def test_image_folder(tmp_path: Path) -> None:
    pixels = pictures(4)
    root = image_folder(tmp_path / "pets", pixels)
    (root / "cat" / ".hidden.png").write_bytes(b"junk")
    (root / "cat" / "notes.txt").write_text("not an image")
    (root / ".cache").mkdir()
    seen: list[tuple[int, int]] = []
    dataset = read_dataset(root, on_progress=lambda done, total: seen.append((done, total)))
    assert (dataset.kind, dataset.classes, len(dataset)) == ("images", ("cat", "dog"), 4)
    assert dataset.names == ("cat/0.png", "cat/2.png", "dog/1.png", "dog/3.png")
    assert dataset.labels.tolist() == [0, 0, 1, 1]
    assert dataset.labels.dtype == np.int64
    np.testing.assert_array_equal(dataset.inputs, pixels[[0, 2, 1, 3]])
    assert dataset.describe(1) == {"file": "cat/2.png"}
    assert seen[-1] == (4, 4)


def test_folder_and_parquet_of_the_same_pictures_agree(tmp_path: Path) -> None:
    pixels = pictures(6, side=20)
    folder = read_dataset(image_folder(tmp_path / "pets", pixels))
    order = [0, 2, 4, 1, 3, 5]
    labels = [("cat", "dog")[i % 2] for i in order]
    stored = image_parquet(tmp_path / "pets.parquet", [png(pixels[i]) for i in order], labels)
    table = read_dataset(stored)
    assert table.fingerprint == folder.fingerprint
    assert table.names == ()


def test_plain_binary_images_and_other_columns(tmp_path: Path) -> None:
    pixels = pictures(4)
    path = parquet(
        tmp_path / "a.parquet", photo=[png(p) for p in pixels], y=[3, 7, 3, 7], camera=["x", "y", "x", None]
    )
    dataset = read_dataset(path)
    np.testing.assert_array_equal(dataset.inputs, pixels)
    assert dataset.classes == ("3", "7")
    assert dataset.describe(3) == {"camera": "missing"}


@pytest.mark.parametrize(
    ("sides", "asked", "expected"),
    [
        pytest.param([20, 20], None, 20, id="equal and small: own size"),
        pytest.param([20, 21], None, 64, id="different"),
        pytest.param([80, 80], None, 64, id="large"),
        pytest.param([120, 120], None, 64, id="large enough for threads"),
        pytest.param([20, 20], 10, 10, id="asked"),
    ],
)
def test_image_size(tmp_path: Path, sides: list[int], asked: int | None, expected: int) -> None:
    images = [png(pictures(1, side)[0]) for side in sides]
    path = image_parquet(tmp_path / "a.parquet", images, [0, 1])
    dataset = read_dataset(path, options=ReadOptions(image_size=asked))
    assert dataset.inputs.shape == (2, expected, expected, 3)
    assert dataset.inputs.std() > 10


def test_exif_orientation_is_honoured(tmp_path: Path) -> None:
    upright = np.zeros((16, 16, 3), dtype=np.uint8)
    upright[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # stored upside down
    turned = png(np.ascontiguousarray(upright[::-1, ::-1]), "JPEG", exif=exif, quality=100)
    path = image_parquet(tmp_path / "a.parquet", [turned, png(upright)], [0, 1])
    inputs = read_dataset(path).inputs.astype(int)
    assert np.abs(inputs[0] - inputs[1]).max() < 8


def test_sixteen_bit_grey_is_scaled(tmp_path: Path) -> None:
    grey = np.full((8, 8), 128 * 256, dtype=np.uint16)
    path = image_parquet(tmp_path / "a.parquet", [png(grey), png(np.full((8, 8), 128, np.uint8))], [0, 1])
    inputs = read_dataset(path).inputs
    assert (inputs == 128).all()


def test_categories_become_one_input_each(tmp_path: Path) -> None:
    path = csv(
        tmp_path / "a.csv", "age,color,member,label\n30,red,true,no\n41.5,blue,false,yes\n28,red,true,no\n"
    )
    dataset = read_dataset(path)
    assert dataset.columns == ("age", "color=blue", "color=red", "member")
    expected = np.array([[30, 0, 1, 1], [41.5, 1, 0, 0], [28, 0, 1, 1]], dtype=np.float32)
    np.testing.assert_array_equal(dataset.inputs, expected)
    assert dataset.inputs.dtype == np.float32
    assert (dataset.kind, dataset.classes, dataset.labels.tolist()) == ("rows", ("no", "yes"), [0, 1, 0])
    assert dataset.describe(1) == {"age": "41.5", "color": "blue", "member": "False"}


def test_parquet_column_types(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "a.parquet",
        half=pa.array(np.array([1, 2], dtype=np.float16)),
        money=pa.array([1.5, 2.5]).cast(pa.decimal128(8, 2)),
        size=pa.array(["s", "m"]).dictionary_encode(),
        count=pa.array([7, 9], pa.uint64()),
        constant=pa.array([7, 7], pa.uint64()),
        target=[True, False],
    )
    dataset = read_dataset(path)
    assert dataset.columns == ("half", "money", "size=m", "size=s", "count")
    np.testing.assert_array_equal(dataset.inputs, [[1, 1.5, 0, 1, 7], [2, 2.5, 1, 0, 9]])
    assert dataset.treatments == {"constant": "left out: it is 7 in every row"}
    assert dataset.classes == ("False", "True")


@pytest.mark.parametrize(
    ("labels", "classes", "indices"),
    [
        ([10, 9, 10], ("9", "10"), [1, 0, 1]),
        (["10", "9", "10"], ("10", "9"), [0, 1, 0]),
        ([-1, 0, 1], ("-1", "0", "1"), [0, 1, 2]),
        ([1.0, 0.0, 1.0], ("0", "1"), [1, 0, 1]),
        ([True, False, True], ("False", "True"), [1, 0, 1]),
    ],
)
@pytest.mark.parametrize("suffix", ["parquet", "npz"])
def test_label_kinds(
    tmp_path: Path, labels: list[object], classes: tuple[str, ...], indices: list[int], suffix: str
) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "npz":
        npz(path, features=np.eye(3), labels=np.array(labels))
    else:
        parquet(path, x=[1, 2, 3], label=labels)
    dataset = read_dataset(path)
    assert dataset.classes == classes
    assert dataset.labels.tolist() == indices


def test_regression_keeps_real_labels(tmp_path: Path) -> None:
    dataset = read_dataset(csv(tmp_path / "a.csv", "x,y\n1,2.5\n2,3\n"), options=ReadOptions(regression=True))
    assert (dataset.classes, dataset.labels.dtype, dataset.labels.tolist()) == ((), np.float64, [2.5, 3.0])


def test_class_names_of_the_schema(tmp_path: Path) -> None:
    table = named(pa.table({"x": [1.0, 2.0, 3.0], "label": [1, 0, 1]}), ["ham", "spam"])
    pq.write_table(table, tmp_path / "a.parquet")
    dataset = read_dataset(tmp_path / "a.parquet")
    assert (dataset.classes, dataset.labels.tolist()) == (("ham", "spam"), [1, 0, 1])


def test_a_column_of_vectors(tmp_path: Path) -> None:
    vectors = [[1.0, 2.0], [3.0, 4.0]]
    for kind in (pa.list_(pa.float32()), pa.list_(pa.float64(), 2), pa.large_list(pa.float32())):
        path = parquet(tmp_path / "a.parquet", emb=pa.array(vectors, kind), text=["hi", "ho"], label=[0, 1])
        dataset = read_dataset(path, options=ReadOptions(features="emb"))
        assert (dataset.kind, dataset.columns) == ("features", ("emb[0]", "emb[1]"))
        np.testing.assert_array_equal(dataset.inputs, np.array(vectors, dtype=np.float32))
        assert dataset.describe(0) == {"text": "hi"}


@pytest.mark.parametrize("shape", [(4, 8, 8), (4, 8, 8, 1), (4, 8, 8, 3), (4, 80, 70, 3)])
def test_npz_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    dataset = read_dataset(npz(tmp_path / "a.npz", x=pixels, y=np.array([0, 1, 0, 1])))
    side = 8 if shape[1] == 8 else 64
    assert (dataset.kind, dataset.inputs.shape) == ("images", (4, side, side, 3))
    if side == 8:
        np.testing.assert_array_equal(
            dataset.inputs, np.broadcast_to(pixels.reshape(4, 8, 8, -1), (4, 8, 8, 3))
        )


def test_split_and_shards(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    parquet(data / "train-00000-of-00002.parquet", x=[1, 2], label=[0, 1])
    parquet(data / "train-00001-of-00002.parquet", x=[3, 4], label=[0, 1])
    parquet(data / "test-00000-of-00001.parquet", x=[9, 8], label=[0, 1])
    both = read_dataset(tmp_path)
    assert both.inputs[:, 0].tolist() == [1, 2, 3, 4, 9, 8]
    assert both.split.tolist() == ["train"] * 4 + ["test"] * 2
    train = ReadOptions(split="train")
    assert read_dataset(tmp_path, options=train).inputs[:, 0].tolist() == [1, 2, 3, 4]
    assert read_dataset(tmp_path, options=replace(train, limit=3)).inputs[:, 0].tolist() == [1, 2, 3]
    assert read_dataset(tmp_path, options=ReadOptions(split="test")).inputs[:, 0].tolist() == [9, 8]
    with pytest.raises(InputError, match=r"split 'dev'.*test-00000"):
        read_dataset(tmp_path, options=ReadOptions(split="dev"))


def test_a_column_type_that_shows_late_in_a_csv(tmp_path: Path) -> None:
    lines = "".join(f"{i},{i % 2}\n" for i in range(300_000))  # beyond Arrow's first block of 1 MiB
    dataset = read_dataset(csv(tmp_path / "a.csv", f"x,y\n{lines}0.5,1\n"))
    assert dataset.inputs[-1, 0] == 0.5


def test_subset_and_fingerprint(tmp_path: Path) -> None:
    dataset = read_dataset(csv(tmp_path / "a.csv", "x,c,y\n1,a,0\n2,b,1\n3,a,0\n"))
    again = read_dataset(parquet(tmp_path / "b.parquet", x=[1, 2, 3], c=["a", "b", "a"], y=[0, 1, 0]))
    assert again.fingerprint == dataset.fingerprint
    part = dataset.subset([2, 0])
    assert (part.index.tolist(), part.describe(0)) == ([2, 0], {"x": "3", "c": "a"})
    assert part.fingerprint != dataset.fingerprint
    assert dataset.subset(np.array([True, False, True])).fingerprint == dataset.subset([0, 2]).fingerprint
    assert len(dataset.subset([])) == 0


@pytest.mark.skipif(not CIFAR.exists(), reason="CIFAR-10 is not on this machine")
def test_cifar() -> None:
    dataset = read_dataset(CIFAR, options=ReadOptions(limit=600))
    assert dataset.inputs.shape == (600, 32, 32, 3)
    assert (len(dataset.classes), dataset.classes[0]) == (10, "airplane")
    assert dataset.describe(0) == {}


# Hugging Face datasets


def saved_dataset(path: Path) -> Path:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    )
    pixels = [Image.fromarray(picture) for picture in pictures(4)]
    train = datasets.Dataset.from_dict({"image": pixels, "label": [0, 1, 0, 1]}, features=features)
    datasets.DatasetDict({"train": train, "test": train.select([1, 0])}).save_to_disk(str(path))
    return path


def test_saved_hugging_face_dataset(tmp_path: Path) -> None:
    path = saved_dataset(tmp_path / "saved")
    assert read_dataset(path).split.tolist() == ["train"] * 4 + ["test"] * 2
    dataset = read_dataset(path, options=ReadOptions(split="train"))
    np.testing.assert_array_equal(dataset.inputs, pictures(4))
    assert (dataset.classes, dataset.labels.tolist()) == (("cat", "dog"), [0, 1, 0, 1])
    assert read_dataset(path / "train").fingerprint == dataset.fingerprint
    assert read_dataset(path, options=ReadOptions(split="test")).labels.tolist() == [1, 0]
    with pytest.raises(InputError, match=r"no split 'dev'.*train, test"):
        read_dataset(path, options=ReadOptions(split="dev"))
    next((path / "train").glob("*.arrow")).write_bytes(b"broken")
    with pytest.raises(InputError, match="save_to_disk"):
        read_dataset(path)


def test_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_dict({"x": [1.0, 2.0, 3.0], "label": ["a", "b", "a"]})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: rows)
    assert read_dataset("owner/name").classes == ("a", "b")

    def offline(name: str, split: str) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "load_dataset", offline)
    with pytest.raises(InputError, match=r"owner/name.*no route to host.*network") as caught:
        read_dataset("owner/name")
    assert "\n" not in str(caught.value)


def test_missing_extras_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = image_folder(tmp_path / "pets", pictures(4))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"swaypoint\[hub\]"):
        read_dataset("owner/name")
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"swaypoint\[images\]"):
        read_dataset(folder)


# What is refused

Make = Callable[[Path], Path]
GOOD = b"".join([png(picture) for picture in pictures(1)])
MANY = list(range(150))


def broken_npz(path: Path) -> Path:
    npz(path, features=np.eye(4), labels=np.arange(4))
    path.write_bytes(path.read_bytes()[:-40])
    return path


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return path


def broken_parquet(path: Path) -> Path:
    parquet(path, x=MANY, label=MANY)
    path.write_bytes(path.read_bytes()[:200])
    return path


def written(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def classless(root: Path) -> Path:
    return written(root / "flat" / "a.png", GOOD).parent


def nested(root: Path) -> Path:
    return written(root / "deep" / "train" / "cat" / "a.png", GOOD).parents[2]


def hollow(root: Path) -> Path:
    image_folder(root / "pets", pictures(4))
    (root / "pets" / "zebra").mkdir()
    return root / "pets"


def corrupted(root: Path) -> Path:
    image_folder(root / "pets", pictures(4))
    return written(root / "pets" / "cat" / "bad.png", GOOD[:90]).parents[1]


def made(root: Path) -> Path:
    (root / "made").mkdir()
    return root / "made"


def out_of_range(root: Path) -> Path:
    table = named(pa.table({"x": [1, 2, 3], "label": [0, 1, 2]}), ["ham", "spam"])
    pq.write_table(table, root / "a.parquet")
    return root / "a.parquet"


def sparse(root: Path) -> Path:
    table = named(pa.table({"x": MANY[:5], "label": [0, 1, 2, 3, 4]}), list("abcdefg"))
    pq.write_table(table, root / "a.parquet")
    return root / "a.parquet"


REFUSED: list[tuple[str, Make, ReadOptions, list[str]]] = [
    ("no path", lambda d: d / "none.csv", ReadOptions(), ["none.csv", "does not exist"]),
    ("empty file", lambda d: csv(d / "a.csv", ""), ReadOptions(), ["a.csv", "empty"]),
    ("empty directory", made, ReadOptions(), ["made", "empty"]),
    ("no rows", lambda d: csv(d / "a.csv", "x,label\n"), ReadOptions(), ["no records"]),
    ("no parquet rows", lambda d: parquet(d / "a.parquet", x=[], label=[]), ReadOptions(), ["no records"]),
    ("extension", lambda d: csv(d / "a.docx", "x"), ReadOptions(), [".docx", ".parquet", ".npz"]),
    ("limit", lambda d: csv(d / "a.csv", "x,y\n1,1\n"), ReadOptions(limit=0), ["limit", "positive"]),
    ("no label", lambda d: csv(d / "a.csv", "a,b\n1,2\n"), ReadOptions(), ["--label", "a, b"]),
    (
        "two labels",
        lambda d: csv(d / "a.csv", "x,y,class\n1,2,3\n"),
        ReadOptions(),
        ["--label", "several", "x, y, class"],
    ),
    ("unknown label", lambda d: csv(d / "a.csv", "a,b\n1,2\n"), ReadOptions(label="q"), ["'q'", "a, b"]),
    (
        "unknown features",
        lambda d: csv(d / "a.csv", "a,y\n1,2\n"),
        ReadOptions(features="q"),
        ["'q'", "a, y"],
    ),
    ("unknown image", lambda d: csv(d / "a.csv", "a,y\n1,2\n"), ReadOptions(image="q"), ["'q'", "a, y"]),
    (
        "no image",
        lambda d: csv(d / "a.csv", "a,y\n1,2\n"),
        ReadOptions(image="a"),
        ["'a'", "expected images"],
    ),
    ("no vectors", lambda d: csv(d / "a.csv", "a,y\n1,2\n"), ReadOptions(features="a"), ["'a'", "list"]),
    (
        "two image columns",
        lambda d: parquet(d / "a.parquet", a=[GOOD], b=[GOOD], label=[0]),
        ReadOptions(),
        ["a, b", "--image"],
    ),
    (
        "repeated column",
        lambda d: csv(d / "a.csv", "x,x,y\n1,2,0\n"),
        ReadOptions(),
        ["two columns", "rename"],
    ),
    ("only a label", lambda d: csv(d / "a.csv", "label\n1\n2\n"), ReadOptions(), ["no columns beside"]),
    (
        "ragged csv",
        lambda d: csv(d / "a.csv", "x,y\n1,0\n1,2,3\n"),
        ReadOptions(),
        ["a.csv", "Expected 2 columns"],
    ),
    (
        "not parquet",
        lambda d: csv(d / "a.parquet", "hello"),
        ReadOptions(),
        ["a.parquet", "not a parquet file", "whole"],
    ),
    (
        "truncated parquet",
        lambda d: broken_parquet(d / "a.parquet"),
        ReadOptions(),
        ["a.parquet", "not a parquet file", "whole"],
    ),
    ("truncated npz", lambda d: broken_npz(d / "a.npz"), ReadOptions(), ["a.npz", "cut short", "whole"]),
    (
        "pickled",
        lambda d: npz(d / "a.npz", features=np.array([1, "a", None], dtype=object), labels=MANY[:3]),
        ReadOptions(),
        ["a.npz", "Object arrays", "plain arrays"],
    ),
    ("npz keys", lambda d: npz(d / "a.npz", data=MANY), ReadOptions(), ["features or X or x", "data"]),
    (
        "npz lengths",
        lambda d: npz(d / "a.npz", X=np.eye(3), y=MANY[:2]),
        ReadOptions(),
        ["(3, 3)", "(2,)"],
    ),
    ("npz shape", lambda d: npz(d / "a.npz", X=np.zeros((2, 3, 4)), y=[0, 1]), ReadOptions(), ["(2, 3, 4)"]),
    ("npz label shape", lambda d: npz(d / "a.npz", X=np.eye(2), y=np.eye(2)), ReadOptions(), ["(2, 2)"]),
    (
        "npz byte labels",
        lambda d: npz(d / "a.npz", X=np.eye(2), y=np.array([b"\xff", b"a"])),
        ReadOptions(),
        ["a.npz", "UTF-8"],
    ),
    ("npz junk", lambda d: zipped(d / "a.npz", X=b"junk", y=b"junk"), ReadOptions(), ["a.npz", "array"]),
    (
        "npz nan",
        lambda d: npz(d / "a.npz", X=np.array([[1, np.nan], [2, 3], [4, 5]]), y=[0, 1, 0]),
        ReadOptions(),
        ["row 0", "feature 1", "NaN", "--skip-bad"],
    ),
    (
        "several infinite",
        lambda d: parquet(d / "a.parquet", age=[1.0, np.inf, -np.inf, 4.0], y=[0, 1, 1, 0]),
        ReadOptions(),
        ["'age'", "row 1", "2 bad records", "--skip-bad"],
    ),
    (
        "infinite",
        lambda d: parquet(d / "a.parquet", age=[1.0, np.inf], y=[0, 1]),
        ReadOptions(),
        ["'age' is inf", "row 1"],
    ),
    (
        "too large",
        lambda d: parquet(d / "a.parquet", age=[1.0, 1e300], y=[0, 1]),
        ReadOptions(),
        ["'age' is 1e+300", "float32"],
    ),
    (
        "only empty columns",
        lambda d: csv(d / "a.csv", "z,y\n,0\n,1\n"),
        ReadOptions(),
        ["no column beside the label can be used", "'z': left out: it holds no values"],
    ),
    (
        "missing label",
        lambda d: csv(d / "a.csv", "x,y\n1,a\n2,\n3,b\n"),
        ReadOptions(),
        ["row 1", "label column 'y' is missing"],
    ),
    ("only bad", lambda d: csv(d / "a.csv", "x,y\n1,\n2,\n"), ReadOptions(skip_bad=True), ["all 2", "bad"]),
    (
        "id",
        lambda d: csv(d / "a.csv", "id,y\n" + "".join(f"a{i},{i % 2}\n" for i in MANY)),
        ReadOptions(),
        ["'id'", "an identifier, 150 different texts in 150 rows", "no column beside the label"],
    ),
    (
        "many categories",
        lambda d: csv(d / "a.csv", "c,y\n" + "".join(f"a{i},{i % 2}\n" for i in [*MANY, 0])),
        ReadOptions(),
        ["'c'", "an identifier, 150 different texts in 151 rows", "no column beside the label"],
    ),
    (
        "lists",
        lambda d: parquet(d / "a.parquet", emb=[[1.0], [2.0]], y=[0, 1]),
        ReadOptions(),
        ["'emb'", "list", "encode it"],
    ),
    (
        "unequal lists",
        lambda d: parquet(d / "a.parquet", emb=[[1.0, 2.0], [2.0, 3.0], [3.0]], y=[0, 1, 0]),
        ReadOptions(features="emb"),
        ["'emb'", "row 2", "expected"],
    ),
    (
        "date labels",
        lambda d: csv(d / "a.csv", "x,y\n1,2020-01-01\n2,2020-01-02\n"),
        ReadOptions(),
        ["'y'", "date32"],
    ),
    (
        "real labels",
        lambda d: csv(d / "a.csv", "x,y\n1,0.5\n2,1\n"),
        ReadOptions(),
        ["'y'", "0.5", "--loss squared_error"],
    ),
    (
        "text for regression",
        lambda d: csv(d / "a.csv", "x,y\n1,a\n2,b\n"),
        ReadOptions(regression=True),
        ["'y'", "'a'", "numbers"],
    ),
    ("one class", lambda d: csv(d / "a.csv", "x,y\n1,a\n2,a\n"), ReadOptions(), ["only one class", "'a'"]),
    (
        "one class by limit",
        lambda d: csv(d / "a.csv", "x,y\n1,a\n2,a\n3,b\n"),
        ReadOptions(limit=2),
        ["only one class", "--limit"],
    ),
    ("few records", sparse, ReadOptions(), ["5 records for 7 classes"]),
    ("label out of range", out_of_range, ReadOptions(), ["row 2", "is 2", "0..1"]),
    ("no classes", classless, ReadOptions(), ["flat", "a.png", "CLASS/FILE"]),
    ("splits", nested, ReadOptions(), ["deep", "train", "pass"]),
    ("class without images", hollow, ReadOptions(), ["zebra", "no images"]),
    ("regression on folders", corrupted, ReadOptions(regression=True), ["pets", "squared_error"]),
    ("corrupted file", corrupted, ReadOptions(), ["cat/bad.png", "corrupted", "--skip-bad"]),
    (
        "corrupted row",
        lambda d: image_parquet(d / "a.parquet", [GOOD, b"junk", None], [0, 1, 0]),
        ReadOptions(),
        ["row 1", "corrupted", "2 bad"],
    ),
    (
        "other decoders",
        lambda d: image_parquet(d / "a.parquet", [GOOD, b"%!PS-Adobe-3.0 EPSF-3.0\n"], [0, 1]),
        ReadOptions(),
        ["row 1", "corrupted"],
    ),
]


@pytest.mark.parametrize(
    ("make", "options", "words"), [pytest.param(*case, id=name) for name, *case in REFUSED]
)
def test_refused(tmp_path: Path, make: Make, options: ReadOptions, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        read_dataset(make(tmp_path), options=options)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message


def test_decompression_bombs_are_bad_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = image_parquet(tmp_path / "a.parquet", [GOOD, png(pictures(1, 12)[0])], [0, 1])
    with pytest.raises(InputError, match=r"row 1.*bomb"):
        read_dataset(path)


# What is skipped


def skipping(path: Path, **options: object) -> tuple[Dataset, list[tuple[str, str]]]:
    dataset = read_dataset(path, options=ReadOptions(skip_bad=True, **options))  # type: ignore[arg-type]
    return dataset, [(bad.where, bad.reason) for bad in dataset.skipped]


def test_bad_rows_are_skipped_and_listed(tmp_path: Path) -> None:
    text = "age,c,y\n1,a,no\n,b,yes\n3,,no\n4,a,\n5,c,yes\n,,\n"
    dataset, skipped = skipping(csv(tmp_path / "a.csv", text))
    assert dataset.index.tolist() == [0, 1, 2, 4]  # a gap is no fault, but that of a label
    assert dataset.columns == ("age", "age is missing", "c=a", "c=b", "c=c", "c=missing")
    assert dataset.describe(3) == {"age": "5", "c": "c"}
    assert skipped == [
        ("row 3", "label column 'y' is missing"),
        ("row 5", "label column 'y' is missing"),
    ]
    dataset, skipped = skipping(
        parquet(tmp_path / "a.parquet", x=[1, np.inf, 3], c=["a", "b", "c"], y=[0, 1, 1])
    )
    assert dataset.columns == ("x", "c=a", "c=c")  # no category that only a skipped row had
    assert skipped == [("row 1", "column 'x' is inf")]


def test_bad_pictures_are_skipped_and_listed(tmp_path: Path) -> None:
    dataset, skipped = skipping(corrupted(tmp_path))
    assert dataset.names == ("cat/0.png", "cat/2.png", "dog/1.png", "dog/3.png")
    assert dataset.index.tolist() == [0, 1, 3, 4]
    assert [where for where, _ in skipped] == ["cat/bad.png"]
    np.testing.assert_array_equal(dataset.inputs, pictures(4)[[0, 2, 1, 3]])


def test_bad_vectors_are_skipped_and_listed(tmp_path: Path) -> None:
    vectors = [[1.0, 2.0], [3.0], None, [4.0, 5.0], [6.0, None], [7.0, 8.0]]
    path = parquet(tmp_path / "a.parquet", emb=vectors, label=[0, 1, 0, 1, 0, 7])
    dataset, skipped = skipping(path, features="emb")
    np.testing.assert_array_equal(dataset.inputs, [[1, 2], [4, 5], [7, 8]])
    assert (dataset.index.tolist(), dataset.classes) == ([0, 3, 5], ("0", "1", "7"))
    assert [where for where, _ in skipped] == ["row 1", "row 2", "row 4"]


# Any bytes at all

FUZZ = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
SUFFIXES = st.sampled_from(
    [
        ".parquet",
        ".csv",
        ".tsv",
        ".npz",
        ".csv.gz",
        ".jsonl",
        ".json",
        ".feather",
        ".sqlite",
        ".xlsx",
        ".duckdb",
    ]
)


def valid_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        table = pa.table(
            {
                "x": np.linspace(0, 1, 30),
                "c": pa.array(["red", "blue", "green"] * 10).dictionary_encode(),
                "label": ["a", "b", "a"] * 10,
            }
        )
        pq.write_table(table, root / "a.parquet")
        pyarrow.csv.write_csv(table.set_column(1, "c", table["c"].cast(pa.string())), root / "a.csv")
        feather.write_feather(table, root / "a.feather")
        lines = [json.dumps(record) for record in table.to_pylist()]
        (root / "a.jsonl").write_text("\n".join(lines))
        with closing(sqlite3.connect(root / "a.sqlite")) as connection, connection:
            connection.execute("CREATE TABLE t (x REAL, c TEXT, label TEXT)")
            rows = [tuple(record.values()) for record in table.to_pylist()]
            connection.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
        npz(root / "a.npz", features=np.eye(6), labels=np.array(["a", "b", "a", "b", "a", "b"]))
        images = [png(picture) for picture in pictures(4, side=4)]
        image_parquet(root / "i.parquet", images, [0, 1, 0, 1])
        return {path.name: path.read_bytes() for path in sorted(root.iterdir())}


VALID = valid_files()


def read_or_refuse(name: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            dataset = read_dataset(path)
        except (InputError, MissingExtra):
            return
    assert np.isfinite(dataset.inputs).all()
    assert len(dataset.labels) == len(dataset.inputs) == len(dataset.index) > 0


@FUZZ
@given(suffix=SUFFIXES, content=st.binary(max_size=400))
@example(suffix=".npz", content=b"\x93NUMPY\x01\x00")
@example(suffix=".parquet", content=b"PAR1\x00\x00\x00\x00PAR1")
@example(suffix=".csv", content=b"\xff\xfe,y\n1,2\n")
def test_arbitrary_bytes(suffix: str, content: bytes) -> None:
    read_or_refuse("a" + suffix, content)


@FUZZ
@given(name=st.sampled_from(sorted(VALID)), cut=st.floats(0, 1))
def test_truncated_files(name: str, cut: float) -> None:
    read_or_refuse(name, VALID[name][: int(cut * len(VALID[name]))])


@settings(FUZZ, max_examples=400)
@example(name="a.csv", where=0.25, flip=174)  # in a header, a byte that the encoding of the words has not
@example(name="i.parquet", where=0.470703125, flip=128)  # a name inside the image struct, not UTF-8
@example(name="a.csv", where=0.5, flip=185)  # its words are of an encoding that the whole is not
@given(name=st.sampled_from(sorted(VALID)), where=st.floats(0, 1, exclude_max=True), flip=st.integers(1, 255))
def test_files_with_one_wrong_byte(name: str, where: float, flip: int) -> None:
    content = bytearray(VALID[name])
    content[int(where * len(content))] ^= flip
    read_or_refuse(name, bytes(content))


@FUZZ
@given(rows=st.lists(st.lists(st.sampled_from(["1", "a", "", '"', "nan", "inf", "1e400", "é"])), max_size=6))
def test_arbitrary_tables(rows: list[list[str]]) -> None:
    text = "x,c,label\n" + "\n".join(",".join(row) for row in rows)
    read_or_refuse("a.csv", text.encode())


def test_a_limit_reads_no_more_row_groups_than_it_needs(tmp_path, monkeypatch):
    folder, read = tmp_path / "parts", []
    folder.mkdir()
    for part in range(3):
        values = np.arange(100.0) + 100 * part
        table = pa.table({"x": values, "label": ["a", "b"] * 50})
        pq.write_table(table, folder / f"part-{part}.parquet", row_group_size=10)
    groups = pq.ParquetFile.read_row_groups
    monkeypatch.setattr(
        pq.ParquetFile, "read_row_groups", lambda file, rows: read.append(len(rows)) or groups(file, rows)
    )
    dataset = read_dataset(folder, options=ReadOptions(label="label", limit=125))
    assert read == [10, 3]
    assert len(dataset) == 125
    np.testing.assert_allclose(dataset.inputs[:, 0], np.arange(125.0))


def test_every_cell_is_in_the_fingerprint(tmp_path: Path) -> None:
    """Of rows the category behind a one-hot input, of features and pictures the columns beside them."""
    table = pa.table(
        {
            "city": pa.array(["Oslo", "Paris", None]).dictionary_encode(),
            "count": pa.array([1, 2, 2**60], pa.int64()),
            "vector": [[1.0], [2.0], [3.0]],
            "label": ["a", "b", "a"],
        }
    )
    marks = set()
    for city in ("Paris", "Rome"):
        for count in (2**60, 2**60 + 1):
            changed = table.set_column(0, "city", pa.array(["Oslo", city, None]))
            changed = changed.set_column(1, "count", pa.array([1, 2, count], pa.int64()))
            pq.write_table(changed, tmp_path / "t.parquet")
            marks.add(
                read_dataset(tmp_path / "t.parquet", options=ReadOptions(features="vector")).fingerprint
            )
    assert len(marks) == 4
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_dataset(tmp_path / "t.parquet", options=ReadOptions(features="vector")).fingerprint in marks


def test_a_limit_takes_of_every_class(tmp_path: Path) -> None:
    dataset = read_dataset(image_folder(tmp_path / "pets", pictures(8)), options=ReadOptions(limit=3))
    assert dataset.names == ("cat/0.png", "cat/2.png", "dog/1.png")


def test_a_stray_picture_is_told_and_left_out(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "pets", pictures(8))
    (root / "stray.png").write_bytes(png(pictures(1)[0]))
    with pytest.raises(InputError, match=r"1 image \(such as stray.png\) outside class folders.*--skip-bad"):
        read_dataset(root)
    dataset = read_dataset(root, options=ReadOptions(skip_bad=True))
    assert len(dataset) == 8
    assert [(one.where, one.reason) for one in dataset.skipped] == [
        ("stray.png", "outside the class folders")
    ]


def test_pictures_deeper_in_a_class_are_of_the_class(tmp_path: Path) -> None:
    root = image_folder(tmp_path / "pets", pictures(8))
    (root / "cat" / "old" / "attic").mkdir(parents=True)
    (root / "cat" / "old" / "attic" / "9.png").write_bytes(png(pictures(1)[0]))
    (root / "dog" / "loop").symlink_to(root / "dog")
    dataset = read_dataset(root)
    cats = [*(f"cat/{i}.png" for i in (0, 2, 4, 6)), "cat/old/attic/9.png"]
    assert list(dataset.names) == cats + [f"dog/{i}.png" for i in (1, 3, 5, 7)]
    assert dataset.classes == ("cat", "dog")


@pytest.mark.parametrize("splits", [["train"], ["training", "test"], ["animals"]])
def test_folders_of_class_folders_are_no_classes(tmp_path: Path, splits: list[str]) -> None:
    for split in splits:
        image_folder(tmp_path / "root" / split, pictures(4))
    with pytest.raises(InputError, match=f"To read one split, pass .*root/{sorted(splits)[0]}"):
        read_dataset(tmp_path / "root")


@pytest.mark.parametrize("source", ["phtos/", "data/phtos", "phtos", "a b/c", "./x"])
def test_a_mistyped_path_is_no_name_on_the_hub(source: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match="does not exist"):
        read_dataset(source)


# What a person reads of a record

NAMES = st.lists(st.text(max_size=5), min_size=1, max_size=4, unique=True)
CELLS = {
    pa.float64(): st.floats(),
    pa.float32(): st.floats(width=32),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=20),
    pa.date32(): st.dates(),
}


@given(st.data())
def test_records_as_json_are_the_described_ones(data: st.DataObject) -> None:
    """Whatever the columns are called and hold: numbers go through another format than the rest."""
    columns = {}
    for name in data.draw(NAMES):
        kind = data.draw(st.sampled_from(list(CELLS)))
        cells = data.draw(st.lists(st.none() | CELLS[kind], min_size=3, max_size=3))
        columns[name] = pa.array(cells, kind)
    raw = pa.table(columns)
    dataset = Dataset(
        name="made",
        kind="rows",
        inputs=np.zeros((3, 1), dtype=np.float32),
        labels=np.zeros(3, dtype=np.int64),
        classes=("a",),
        columns=("x",),
        index=np.arange(3),
        names=(),
        skipped=(),
        fingerprint="",
        raw=data.draw(st.sampled_from([raw, None])),
    )
    rows = np.array([2, 0])
    described = dataset.described(rows, longest=14)
    assert dataset.described_json(rows, longest=14) == [
        json.dumps(each, ensure_ascii=False) for each in described
    ]
    assert described[1] == dataset.describe(0, longest=14)
    assert [json.loads(each) for each in dataset.described_json(rows, longest=14)] == described


def test_times_to_the_nanosecond_are_read_without_pandas(tmp_path: Path) -> None:
    """Arrow would give pandas' objects, or without pandas refuse."""
    times = pa.array([1, 10**18 + 1], pa.timestamp("ns"))
    path = parquet(
        tmp_path / "a.parquet", t=times, d=times.cast(pa.int64()).cast(pa.duration("ns")), y=[0, 1]
    )
    script = (
        "import sys\n"
        "class NoPandas:\n"
        "    def find_spec(name, *_):\n"
        "        if name == 'pandas': raise ModuleNotFoundError(name=name)\n"
        "sys.meta_path.insert(0, NoPandas)\n"
        "from swaypoint.data.readers import read_dataset\n"
        "print(read_dataset(sys.argv[1]).describe(1))"
    )
    words = [sys.executable, "-c", script, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    expected = {"t": "2001-09-09 01:46:40", "d": "11574 days, 1:46:40"}
    assert (done.stderr, done.stdout.strip()) == ("", str(expected))
