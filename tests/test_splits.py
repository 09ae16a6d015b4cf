"""Every record is ranked: those held out, a test set beside the data, and the splits that a source brings."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rich.console import Console
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import app
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions
from swaypoint.report.terminal import described, show
from swaypoint.review.cleaning.export import ExportOptions, export
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Decision, Event, Review
from swaypoint.review.page.query import Query, select

FEATURES = ReadOptions(features="x", label="y")


def points(n: int, seed: int, flipped: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Three clouds; the labels of the first few are wrong."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = np.eye(3, 5)[y] * 4.0 + rng.normal(size=(n, 5))
    y[:flipped] = (y[:flipped] + 1) % 3
    return x.astype(np.float32), y


def table(n: int, seed: int, flipped: int = 0) -> pa.Table:
    x, y = points(n, seed, flipped)
    names = np.array(["ant", "bee", "cat"])[y]
    return pa.table({"x": pa.array(list(x), pa.list_(pa.float32())), "y": names})


def rows(path, n: int, seed: int, flipped: int = 0, extra: str = ""):
    x, y = points(n, seed, flipped)
    lines = [
        ",".join([*(f"{v:.4f}" for v in row), "pqr"[i % 3], f"class {c}"])
        for i, (row, c) in enumerate(zip(x, y, strict=True))
    ]
    path.write_text("\n".join(["a,b,c,d,e,kind,label", *lines, *([extra] if extra else []), ""]))
    return path


def columns(folder: AuditFolder) -> pd.DataFrame:
    return folder.scores().to_pandas()


def picture(path, label: int, seed: int) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(seed).integers(0, 60, (8, 8, 3), dtype=np.uint8)
    pixels[:, :, label] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    image.fromarray(pixels).save(path)


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """train/ and test/ of class folders; the files of both have the same names."""
    root = tmp_path_factory.mktemp("pictures") / "pets"
    for split, count in (("train", 12), ("test", 5)):
        for label, name in enumerate(("cat", "dog")):
            for i in range(count):
                picture(root / split / name / f"{i}.png", label, 100 * label + i + 1000 * (split == "test"))
    picture(root / "test" / "cat" / "wrong.png", 1, 7)
    return root


FEW = AuditOptions(model=ModelOptions(epochs=2), top=5)


@pytest.fixture(scope="module")
def audited(pets, tmp_path_factory):
    return swaypoint.audit(pets, tmp_path_factory.mktemp("audits") / "pets", options=FEW)


# -- the source's own -------------------------------------------------------------------------------


def test_a_folder_with_splits_is_trained_on_train_and_all_of_it_is_ranked(audited, pets):
    scores, manifest = columns(audited), audited.manifest()
    assert scores["split"].value_counts().to_dict() == manifest.data.ranked == {"train": 24, "test": 11}
    assert scores["index"].tolist() == list(range(35))
    assert sorted(scores["rank"]) == list(range(1, 36))
    test = scores[scores["split"] == "test"]
    accuracy = (test["label"] == test["suggested_label"]).mean()
    assert manifest.model.accuracy.by_split()["test"] == pytest.approx(accuracy)
    output = io.StringIO()
    show(audited, console=Console(file=output, width=150))
    assert "35 points ranked, of which 11 test" in output.getvalue()
    assert f"test accuracy {accuracy:.1%}" in output.getvalue()
    assert described(audited, top=3)["data"]["splits"] == {"train": 24, "test": 11}
    only = read_dataset(pets, options=ReadOptions(split="test"))
    assert len(only) == 11
    assert only.split is None


def test_an_export_keeps_the_splits_and_cleans_all_of_them(audited, tmp_path):
    items = Items(audited)
    wrong = next(p for p in range(len(items)) if items.source(p) == "test/cat/wrong.png")
    event = Event("e", items.run, items.ids[wrong], "ann", Decision("mislabeled", "dog"), "a", seq=1)
    review = Review(items.run, [event])
    written = export(items, review, tmp_path / "out", "imagefolder", options=ExportOptions("relabel"))
    assert (written.records, written.relabeled, written.dropped) == (35, 1, 0)
    assert (tmp_path / "out/test/dog/wrong.png").is_file()
    again = read_dataset(tmp_path / "out")
    assert dict(zip(*np.unique(again.split, return_counts=True), strict=True)) == {"train": 24, "test": 11}
    assert again.names.index("test/dog/wrong.png")
    export(items, review, tmp_path / "t.csv", "csv", options=ExportOptions("relabel", split="test"))
    table = pd.read_csv(tmp_path / "t.csv")
    assert table["split"].tolist() == ["test"] * 11
    with pytest.raises(swaypoint.InputError, match="expected one of all, train, test"):
        export(items, review, tmp_path / "x.csv", "csv", options=ExportOptions(split="held_out"))


def test_the_review_filters_by_split_and_supports_come_from_training_points(audited):
    items = Items(audited)
    chosen = select(Query.parse({"split": "test"}), items, Review(items.run), "ann")
    assert {items.split(position) for position in chosen} == {"test"}
    assert len(chosen) == 11
    assert Query(split=("test",)).address() == "split=test"
    with pytest.raises(swaypoint.InputError, match="split is 'dev'; expected one of train, test"):
        select(Query.parse({"split": "dev"}), items, Review(items.run), "ann")
    for related in items.influences(int(chosen[0]), k=len(items)):
        assert {items.split(position) for position in related.positions} <= {"train"}


def test_a_dataset_dict_has_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    parts = {
        name: datasets.Dataset(table(n, seed)) for name, n, seed in (("validation", 12, 1), ("train", 60, 0))
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    for source in (tmp_path / "saved", datasets.DatasetDict(parts)):
        folder = swaypoint.audit(source, tmp_path / "audit", read=FEATURES, force=True)
        assert folder.manifest().data.ranked == {"train": 60, "validation": 12}
        assert columns(folder)["split"].tolist() == ["train"] * 60 + ["validation"] * 12
    alone = read_dataset(tmp_path / "saved", options=ReadOptions(features="x", label="y", split="validation"))
    assert (len(alone), alone.split) == (12, None)


def test_a_folder_of_parquet_files_has_splits(tmp_path):
    (tmp_path / "data").mkdir()
    for name, n in (("test-0", 9), ("train-0", 40), ("train-1", 20)):
        pq.write_table(table(n, n), tmp_path / "data" / f"{name}.parquet")
    folder = swaypoint.audit(tmp_path / "data", tmp_path / "audit", read=FEATURES)
    assert folder.manifest().data.ranked == {"train": 60, "test": 9}
    items = Items(folder)
    assert len(read_source(items).train) == 60
    limited = read_dataset(tmp_path / "data", options=ReadOptions(features="x", label="y", limit=10))
    assert len(limited) == 19


def test_a_class_of_the_test_split_alone_is_refused(pets, tmp_path):
    root = shutil.copytree(pets, tmp_path / "pets")
    picture(root / "test" / "eel" / "0.png", 2, 3)
    with pytest.raises(
        swaypoint.InputError, match="split 'test', has the class 'eel', of which there is nothing"
    ):
        swaypoint.audit(root, tmp_path / "audit", options=FEW)


def test_planted_labels_are_found_in_either_part(tmp_path):
    """Of clouds that hardly touch: all of them, wherever they stand."""
    pq.write_table(table(600, 3), tmp_path / "a.parquet")
    options = AuditOptions(flip=0.05, scores=("auto",), top=5)
    folder = swaypoint.audit(tmp_path / "a.parquet", tmp_path / "audit", options=options, read=FEATURES)
    planted = folder.manifest().flipped
    assert sum(planted.ranked.values()) == planted.planted == 30
    assert min(planted.ranked.values()) > 0
    (first,) = (row for row in planted.found if row["inspected"] == 0.10)
    for split, hits in first["by_split"].items():
        assert hits["auto"] == hits["cook"] == planted.ranked[split]


# -- a second source --------------------------------------------------------------------------------


def test_a_test_set_is_scored_by_the_model_of_the_first(tmp_path):
    """The same numbers as without it, and those of its own by the head that was fitted."""
    for name, n in (("train", 80), ("test", 30)):
        pq.write_table(table(n, n, flipped=2), tmp_path / f"{name}.parquet")
    source, options = tmp_path / "train.parquet", AuditOptions(validation=0.25)
    folder = swaypoint.audit(
        source, tmp_path / "a", options=options, read=FEATURES, test=tmp_path / "test.parquet"
    )
    alone = columns(swaypoint.audit(source, tmp_path / "b", options=options, read=FEATURES))
    scores = columns(folder)
    assert folder.manifest().data.ranked == {"train": 60, "held_out": 20, "test": 30}
    for name in ("index", "split", "cook", "loo_loss", "leverage"):
        assert scores[name][:80].tolist() == alone[name].tolist(), name
    head = load_file(folder.path / "head.safetensors")
    x, y = points(30, 30, flipped=2)
    logits = torch.from_numpy(x.astype(np.float64) @ head["weight"].T + head["bias"])
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y), reduction="none")
    np.testing.assert_allclose(scores["loss"][80:], loss, rtol=1e-6)
    assert scores["loo_loss"][80:].tolist() == scores["loss"][80:].tolist()
    assert set(scores[scores["split"] == "test"].nsmallest(2, "rank")["index"]) == {80, 81}
    source = read_source(Items(folder))
    assert source.split.tolist() == scores["split"].tolist()
    assert source.stored_labels(source.dataset.labels).to_pylist()[80:] == [
        ("ant", "bee", "cat")[c] for c in y
    ]


def test_the_rows_of_a_test_table_are_made_like_the_first(tmp_path):
    rows(tmp_path / "a.csv", 60, 0)
    rows(tmp_path / "b.csv", 20, 1)
    arguments = ["audit", str(tmp_path / "a.csv"), "--test", str(tmp_path / "b.csv"), "--epochs", "2"]
    run = CliRunner().invoke(
        app, [*arguments, "--out", str(tmp_path / "out"), "--json"], catch_exceptions=False
    )
    assert run.exit_code == 0, run.output
    told = json.loads(run.stdout)
    assert told["data"]["splits"] == {"train": 60, "test": 20}
    items = Items(AuditFolder(tmp_path / "out"))
    export(items, Review(items.run), tmp_path / "all.csv", "csv")
    table = pd.read_csv(tmp_path / "all.csv")
    assert table["split"].tolist() == ["train"] * 60 + ["test"] * 20
    expected = pd.concat([pd.read_csv(tmp_path / "a.csv"), pd.read_csv(tmp_path / "b.csv")])
    assert table["kind"].tolist() == expected["kind"].tolist()


def test_a_folder_beside_a_folder_may_have_the_same_names(pets, tmp_path):
    folder = swaypoint.audit(pets / "train", tmp_path / "a", options=FEW, test=pets / "test")
    assert folder.manifest().data.ranked == {"train": 24, "test": 11}
    items = Items(folder)
    export(items, Review(items.run), tmp_path / "out", "imagefolder")
    again = read_dataset(tmp_path / "out")
    assert dict(zip(*np.unique(again.split, return_counts=True), strict=True)) == {"train": 24, "test": 11}


def test_frames_and_datasets_have_test_sets_too(tmp_path):
    first, second = (
        pd.DataFrame(points(n, n)[0], columns=list("abcde")).assign(label=points(n, n)[1]) for n in (60, 20)
    )
    options = AuditOptions(model=ModelOptions(epochs=2))
    folder = swaypoint.audit(first, tmp_path / "a", options=options, test=second)
    assert folder.manifest().data.ranked == {"train": 60, "test": 20}
    with pytest.raises(swaypoint.InputError, match="the test frame has the columns"):
        swaypoint.audit(first, tmp_path / "b", options=options, test=second.drop(columns="a"))


def test_a_test_set_of_another_form_is_refused(tmp_path, pets):
    rows(tmp_path / "a.csv", 60, 0)
    rows(tmp_path / "b.csv", 20, 1, extra="0,0,0,0,0,p,class 9")
    with pytest.raises(
        swaypoint.InputError, match="the class 'class 9', of which there is nothing to train on"
    ):
        swaypoint.audit(tmp_path / "a.csv", tmp_path / "x", options=FEW, test=tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text("a,label\n1,class 0\n2,class 1\n")
    with pytest.raises(swaypoint.InputError, match=r"c\.csv has no column 'b'"):
        swaypoint.audit(tmp_path / "a.csv", tmp_path / "x", options=FEW, test=tmp_path / "c.csv")
    with pytest.raises(swaypoint.InputError, match="has splits of its own"):
        swaypoint.audit(pets, tmp_path / "x", options=FEW, test=pets / "test")
    assert not (tmp_path / "x").exists()


# -- older audits -----------------------------------------------------------------------------------


def test_an_older_audit_ranks_those_trained_on_alone_and_is_still_read(tmp_path):
    rows(tmp_path / "a.csv", 60, 0)
    folder = swaypoint.audit(tmp_path / "a.csv", tmp_path / "audit", options=FEW)
    scores = folder.scores()
    seen = np.array(scores["split"].to_pylist()) == "train"
    older = scores.filter(pa.array(seen))
    order = np.argsort(np.argsort(older["rank"].to_numpy())) + 1
    older = older.set_column(older.column_names.index("rank"), "rank", pa.array(order))
    pq.write_table(older, folder.path / "scores.parquet")
    with pa.OSFile(str(folder.path / "items.arrow")) as file:
        items = pa.ipc.open_file(file).read_all().filter(pa.array(seen))
    with (
        pa.OSFile(str(folder.path / "items.arrow"), "wb") as file,
        pa.ipc.new_file(file, items.schema) as out,
    ):
        out.write_table(items)
    for name in ("features", "inputs"):
        path = folder.path / f"{name}.safetensors"
        save_file({name: load_file(path)[name][seen]}, path)
    manifest = json.loads((folder.path / "manifest.json").read_text())
    del manifest["data"]["splits"], manifest["model"]["accuracy"]["splits"]
    (folder.path / "manifest.json").write_text(json.dumps(manifest))
    assert folder.manifest().data.ranked == {"train": 48}
    output = io.StringIO()
    show(folder, console=Console(file=output, width=150))
    assert "48 points ranked, 12 held out and not ranked" in output.getvalue()
    items = Items(folder)
    export(items, Review(items.run), tmp_path / "out.csv", "csv")
    table = pd.read_csv(tmp_path / "out.csv")
    assert table["split"].value_counts().to_dict() == {"train": 48, "held_out": 12}
    assert table["influence_rank"].notna().sum() == 48
