"""Export and import of verdicts: every kind of source, every format, and the way back."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import sys
import types
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import ReadOptions, fingerprint
from swaypoint.data.planting import plant
from swaypoint.data.readers import read_dataset
from swaypoint.errors import InputError, MissingExtra
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.review.cleaning import cleanlab, fiftyone
from swaypoint.review.cleaning.acting import act
from swaypoint.review.cleaning.export import CHANGES, ExportOptions, export
from swaypoint.review.cleaning.exporters import exporters
from swaypoint.review.cleaning.image_folder import write_image_folder
from swaypoint.review.cleaning.imported import read_verdicts, sources
from swaypoint.review.cleaning.policy import POLICIES, clean, rulings
from swaypoint.review.cleaning.records import CANONICAL, records
from swaypoint.review.cleaning.source import read_source
from swaypoint.review.cleaning.spreadsheet import literal, neutral, read_cells
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import VERDICTS, Decision, Event, Review

N, SIDE = 42, 8
CLASSES = ("=owl", "cat", "dog")
FACTORY = """
import torch
from torch import nn

def build(inputs, outputs):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, outputs))

def pooled(outputs): return nn.Sequential(nn.AvgPool2d(4), *build(12, outputs))
def pictures(): return pooled(3)
def digits(): return pooled(10)
def rows(): return build(4, 3)
def wine(): return build(13, 3)
def value(): return build(2, 1)
"""


# -- sources --------------------------------------------------------------------------------------


def png(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def labels():
    return np.arange(N) % 3


def pictures(height=20, width=16, channels=3):
    """Larger than what the audit sees, and bright by class."""
    noise = np.random.default_rng(0).integers(0, 90, (N, height, width, channels))
    return (noise + 80 * labels()[:, None, None, None]).astype(np.uint8)


def folder(path):
    """The same file names in every class, PNG and JPEG."""
    for i, (picture, label) in enumerate(zip(pictures(), labels(), strict=True)):
        kind = ("PNG", "JPEG")[i % 2]
        file = path / CLASSES[label] / f"{i // 6}-{i % 2}.{kind.lower()}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png(picture, kind))
    return path


def image_parquet(path):
    values = [{"bytes": png(p), "path": f"p{i}.png"} for i, p in enumerate(pictures())]
    table = pa.table(
        {
            "img": pa.array(values, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "label": pa.array(labels()),
            "caption": pa.array([None, "=1+1", "two\nlines"] * (N // 3)).dictionary_encode(),
            "tags": [[0.5, float("nan")]] * N,
            "id": np.arange(N),
        }
    )
    features = {"img": {"_type": "Image"}, "label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


def text(path):
    generator = np.random.default_rng(0)
    rows = [
        f"{generator.normal() + label:.4f},{('+red', 'blue')[i % 2]},{i % 5},{CLASSES[label]}"
        for i, label in enumerate(labels())
    ]
    path.write_text("\n".join(["width,note,count,label", *rows, ""]))
    return path


def vectors(path):
    features = np.random.default_rng(0).normal(size=(N, 4)) + labels()[:, None]
    np.savez(path, emb=features, y=np.array(CLASSES)[labels()], weight=np.linspace(0, 1, N))
    return path


def pixels(path):
    np.savez(path, x=pictures(12, 10, 1)[..., 0], y=labels() + 5)
    return path


def saved(path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(names=list(CLASSES))}
    )
    rows = {"image": [Image.fromarray(p) for p in pictures()], "label": labels().tolist()}
    datasets.DatasetDict({"train": datasets.Dataset.from_dict(rows, features=features)}).save_to_disk(path)
    return path


def real(path):
    values = np.random.default_rng(0).normal(size=(N, 2))
    rows = [f"{a},{b},{round(3 * a + b)}" for a, b in values]
    path.write_text("\n".join(["a,b,y", *rows, ""]))
    return path


WORDS = ("red small fast", "green tall slow", "blue wide loud")


def texts(path):
    for i, label in enumerate(labels()):
        file = path / CLASSES[label] / f"{i}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        said = np.random.default_rng(i).permutation([*WORDS[label % 3].split(), "and", "not", "very"])
        file.write_text(f"{' '.join(said)}, nº {i}\n", encoding="utf-8")
    return path


@dataclass(frozen=True)
class Case:
    name: str
    make: object
    model: str
    read: ReadOptions = field(default_factory=ReadOptions)
    options: AuditOptions = field(default_factory=lambda: AuditOptions(validation=0.25, top=5))


SIGNS = "=+-@\t\r\n＝＋－＠"  # a spreadsheet takes what starts with one for a formula
SMALL = ReadOptions(image_size=SIDE)
CASES = {
    "folder": Case("pets", folder, "pictures", SMALL),
    "parquet": Case("pets.parquet", image_parquet, "pictures", SMALL),
    "csv": Case("table.csv", text, "rows"),
    "vectors": Case("vectors.npz", vectors, "", ReadOptions(features="emb")),
    "pixels": Case("pixels.npz", pixels, "pictures", SMALL),
    "hf": Case("saved", saved, "pictures", SMALL),
    "texts": Case("letters", texts, ""),
    "wine": Case("sklearn:wine", None, "wine"),
    "digits": Case(
        "sklearn:digits", None, "digits", options=AuditOptions(flip=0.02, model=ModelOptions(epochs=2), top=5)
    ),
    "real": Case(
        "real.csv", real, "value", options=AuditOptions(objective=Objective("squared_error"), top=5)
    ),
}
PICTURED = ("folder", "parquet", "pixels", "hf", "digits")


@dataclass(frozen=True)
class Audited:
    case: Case
    path: Path | str
    folder: AuditFolder

    @property
    def items(self):
        return Items(self.folder)

    def again(self, path):
        """An export read as the source was."""
        regression = self.case.options.objective.loss == "squared_error"
        options = replace(self.case.read, regression=regression)
        return read_dataset(path, options=replace(options, features=options.features or None))


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    root, made = tmp_path_factory.mktemp("sources"), {}
    (root / "exportnet.py").write_text(FACTORY)

    def audited(name):
        if name not in made:
            case = CASES[name]
            path = case.make(root / case.name) if case.make else case.name
            model = ModelOptions(f"exportnet:{case.model}") if case.model else ModelOptions()
            options = replace(case.options, model=model)
            audit = swaypoint.audit(path, root / f"{name}-audit", options=options, read=case.read)
            made[name] = Audited(case, path, audit)
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield audited


@pytest.fixture(params=CASES)
def any_audit(request, audits):
    return audits(request.param)


# -- reviews --------------------------------------------------------------------------------------


def review_of(items, *said, resolves=False):
    """(item, actor, decision) each, in order."""
    events = []
    for i, (item, actor, decision) in enumerate(said, 1):
        at = f"2026-01-01T00:00:{i:02}+00:00"
        events.append(Event(f"e{i}", items.run, item, actor, decision, f"a{i}", seq=i, at=at))
    if resolves:
        events[-1] = replace(events[-1], resolves=True)
    return Review(items.run, events)


def another(items, position):
    """A class, or a value, that the point does not have."""
    value = items.scores["label"][position]
    return items.classes[(int(value) + 1) % len(items.classes)] if items.classes else "1.25"


def decisions(items):
    """Every verdict once; the first by two who agree, the second and third by one who does not know."""
    ids, other = items.ids, another(items, 0)
    return [
        (ids[0], "ann", Decision("mislabeled", other, "=clearly")),
        (ids[0], "bob", Decision("mislabeled", other, "yes")),
        (ids[1], "ann", Decision("mislabeled")),
        (ids[2], "ann", Decision("bad", note='torn, "half"')),
        (ids[3], "ann", Decision("correct")),
        (ids[4], "bob", Decision("boundary", note="two\nlines")),
        (ids[5], "bob", Decision("under-represented")),
        (ids[6], "bob", Decision("skip")),
        (ids[7], "ann", Decision("mislabeled", another(items, 7))),
        (ids[7], "bob", Decision("correct")),
    ]


def reviewed(items):
    return review_of(items, *decisions(items))


def run(audit, out, to, review=None, **options):
    items, options = audit.items, {"reviewers": True} | options
    return export(items, review or reviewed(items), out, to, options=ExportOptions(**options))


def tree(path):
    """Names and contents."""
    path = Path(path)
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def as_audited(audit):
    path, case = audit.path, audit.case
    dataset = read_dataset(path) if case.make is None else audit.again(path)
    return plant(dataset, case.options.flip, case.options.seed)[0]


def contents(dataset):
    return fingerprint(dataset.inputs, dataset.labels, dataset.classes)


# -- the source again -----------------------------------------------------------------------------


def test_the_exported_source_is_the_audited_one(any_audit, tmp_path):
    before = tree(any_audit.path)
    written = run(any_audit, tmp_path / "a.parquet", "parquet", columns=False)
    again, audited = any_audit.again(tmp_path / "a.parquet"), as_audited(any_audit)
    if any_audit.case.make is pixels:  # numbers are the classes' names there, and here too
        assert again.classes == ("5", "6", "7")
    assert contents(again) == contents(audited)
    if audited.raw is not None:  # else names of files or further arrays have become columns
        assert again.fingerprint == audited.fingerprint
    assert (written.records, written.relabeled, written.dropped) == (len(audited), 0, 0)
    assert tree(any_audit.path) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.changes.csv", "a.parquet"]


@pytest.mark.parametrize("policy", POLICIES)
def test_labels_after_a_policy(any_audit, policy, tmp_path):
    items, audited = any_audit.items, as_audited(any_audit)
    run(any_audit, tmp_path / "a.parquet", "parquet", policy=policy)
    table = pq.read_table(tmp_path / "a.parquet").to_pandas()
    label = read_source(items).label
    id_column = "swaypoint_id" if "swaypoint_id" in table else "id"
    given = {id_: items.label(i) for i, id_ in enumerate(items.ids)}
    gone = {"flag": [], "relabel": items.ids[1:3], "drop": items.ids[:3]}[policy]
    assert len(table) == len(audited) - len(gone)
    assert not set(gone) & set(table[id_column])
    after = table.set_index(id_column)
    changed = set(after.index[after[label] != after["label_original"]])
    assert changed == ({items.ids[0]} if policy == "relabel" else set())
    if changed:
        names = dict(zip(after["given_label"], after["label_original"], strict=True))
        assert after.loc[items.ids[0], label] == names.get(another(items, 0), 1.25)
    train = after.loc[[i for i in items.ids if i in after.index]]
    if items.classes:
        assert all(train.loc[i, "given_label"] == given[i] for i in train.index)
    assert set(after["split"]) == {"train", "held_out"}
    assert after["influence_rank"].notna().all()
    assert after["verdict"].notna().all()
    kept = [i for i in items.ids if i in after.index]
    ranks = dict(zip(items.ids, items.scores["rank"], strict=True))
    assert [int(train.loc[i, "influence_rank"]) for i in kept] == [ranks[i] for i in kept]


def test_what_reviewers_said_stands_beside_it(audits, tmp_path):
    audit = audits("csv")
    items = audit.items
    run(audit, tmp_path / "a.parquet", "parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names[:5] == ["width", "note", "count", "label", "label_original"]
    expected = [name if name != "note" else "swaypoint_note" for name in CANONICAL.names]
    assert table.column_names[4:] == expected
    rows = table.to_pandas().set_index("id").loc[items.ids[:9]]
    verdicts = "mislabeled mislabeled bad correct boundary under-represented skip conflict unreviewed"
    assert rows["verdict"].tolist() == verdicts.split()
    assert rows["reviewer"].tolist()[:3] == ["ann; bob", "ann", "ann"]
    assert rows["swaypoint_note"].tolist()[0] == "=clearly; yes"
    assert rows["new_label"].tolist()[0] == another(items, 0)
    assert rows["decided_at"].tolist()[0].endswith("00:00:02+00:00")
    assert rows["reviewer"].tolist()[7] == "ann; bob"
    assert rows["swaypoint_note"].tolist()[7] == f"ann: mislabeled ({another(items, 7)}); bob: correct"
    assert rows["verdict"].tolist()[8] == "unreviewed"
    assert rows["note"].tolist()[0] in ("+red", "blue")  # the source's own


def test_suggestions_are_the_model_s(audits, tmp_path):
    audit = audits("vectors")
    run(audit, tmp_path / "a.json", "json", split="train")
    rows = json.loads((tmp_path / "a.json").read_text())
    items = audit.items
    trained = [i for i in range(len(items)) if items.split(i) == "train"]
    assert [row["id"] for row in rows] == [items.ids[i] for i in trained]
    for row, position in zip(rows, trained, strict=True):
        best = items.suggestions(position)[0]
        assert row["suggested_label"] == items.suggested(position) == best.label
        assert row["suggested_prob"] == pytest.approx(best.probability)


def test_a_resolution_counts(audits):
    items = audits("csv").items
    item, other = items.ids[0], another(items, 0)
    said = [(item, "ann", Decision("mislabeled", other)), (item, "bob", Decision("correct"))]
    review = review_of(items, *said, (item, "eve", Decision("bad", note="final")), resolves=True)
    ruling = rulings(review)[item]
    assert (ruling.verdict, ruling.reviewer, ruling.note) == ("bad", "eve", "final")
    assert not clean(items, review, "drop").kept[0]


def test_planted_labels_are_the_audited_ones(audits, tmp_path):
    audit = audits("digits")
    written = run(audit, tmp_path / "a.parquet", "parquet")
    true = read_dataset("sklearn:digits").labels
    stored = pq.read_table(tmp_path / "a.parquet")["label"].to_numpy()
    assert (stored != true).sum() == 36
    assert any("planted 36 wrong labels (--flip 0.02, seed 0)" in note for note in written.notes)


def test_records_that_were_not_audited_are_left_out(tmp_path, audits):
    path = text(tmp_path / "table.csv")
    path.write_text(path.read_text() + "1e39,blue,1,cat\n" + "1.0,blue,1,cat\n" * 5)
    options = AuditOptions(model=ModelOptions("exportnet:rows"), top=5)
    read = ReadOptions(skip_bad=True, limit=N + 3)
    audit = swaypoint.audit(path, tmp_path / "audit", options=options, read=read)
    items = Items(audit)
    written = export(items, Review(items.run), tmp_path / "a.csv", "csv")
    assert written.records == N + 2
    assert written.notes[:2] == (
        "1 records that the audit could not read are left out",
        f"only the first {N + 3} records were audited (--limit); others are left out",
    )


def test_a_class_without_records_left_is_told(audits, tmp_path):
    audit = audits("vectors")
    items = audit.items
    cats = [item for i, item in enumerate(items.ids) if items.label(i) == "cat"]
    review = review_of(items, *((item, "ann", Decision("bad")) for item in cats))
    written = run(audit, tmp_path / "a.csv", "csv", review, policy="drop", split="train")
    assert written.notes == ("no record of class cat is left",)


def test_another_place_and_another_content(audits, tmp_path):
    path = text(tmp_path / "table.csv")
    options = AuditOptions(model=ModelOptions("exportnet:rows"), top=5)
    items = Items(swaypoint.audit(path, tmp_path / "audit", options=options))
    path.rename(tmp_path / "moved.csv")
    with pytest.raises(InputError, match=r"table\.csv is not there; .* --source"):
        export(items, Review(items.run), tmp_path / "a.csv", "csv")
    moved = ExportOptions(source=tmp_path / "moved.csv")
    assert export(items, Review(items.run), tmp_path / "a.csv", "csv", options=moved).records == N
    text_ = (tmp_path / "moved.csv").read_text()
    (tmp_path / "moved.csv").write_text(text_.replace(",cat\n", ",dog\n", 1))
    with pytest.raises(InputError, match=r"moved\.csv is not what .* audited on .*; restore it"):
        export(items, Review(items.run), tmp_path / "b.csv", "csv", options=moved)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.changes.csv", "a.csv", "audit", "moved.csv"]


def test_a_dataset_in_memory_cannot_be_read_again(audits, tmp_path):
    options = AuditOptions(model=ModelOptions("exportnet:rows"), top=5)
    audit = swaypoint.audit(as_audited(audits("csv")), tmp_path / "audit", options=options)
    items = Items(audit)
    with pytest.raises(InputError, match="does not say how to read its source again"):
        export(items, Review(items.run), tmp_path / "a.csv", "csv")


# -- laws of the policies -------------------------------------------------------------------------

DECISIONS = [Decision(verdict) for verdict in VERDICTS] + [Decision("mislabeled", name) for name in CLASSES]


@pytest.fixture(scope="module")
def vectors_items(audits):
    items = audits("vectors").items
    return items, read_source(items)


@given(
    said=st.lists(
        st.tuples(st.integers(0, 30), st.sampled_from(["ann", "bob"]), st.sampled_from([None, *DECISIONS])),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=60)
def test_laws_of_the_policies(vectors_items, said):
    items, source = vectors_items
    review = review_of(items, *((items.ids[position], actor, what) for position, actor, what in said))
    found = {p: records(items, source, review, clean(items, review, p)) for p in POLICIES}
    rows = {policy: set(chosen.rows.tolist()) for policy, chosen in found.items()}
    assert rows["flag"] == set(range(len(source)))
    assert rows["drop"] <= rows["relabel"] <= rows["flag"]
    given_labels = source.dataset.labels
    assert (found["flag"].labels == given_labels).all()
    assert (found["drop"].labels == given_labels).all()
    for row in range(len(source)):
        ruling = found["relabel"].ruling(row)
        if ruling is None or ruling.verdict not in ("mislabeled", "bad"):
            assert all(row in rows[policy] for policy in POLICIES)
            assert found["relabel"].labels[row] == given_labels[row]
        else:
            assert row not in rows["drop"]
            assert (row in rows["relabel"]) == (ruling.new_label is not None)
            if ruling.new_label is not None:
                assert found["relabel"].label(row) == ruling.new_label


# -- formats --------------------------------------------------------------------------------------


def test_parquet_for_datasets(audits, tmp_path):
    datasets = pytest.importorskip("datasets")
    for name in ("folder", "parquet", "hf", "vectors", "digits"):
        audit, path = audits(name), tmp_path / f"{name}.parquet"
        run(audit, path, "parquet", policy="relabel")
        loaded = datasets.load_dataset(
            "parquet", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache")
        )
        items = audit.items
        if name != "vectors":
            label = loaded.features["label"]
            assert isinstance(label, datasets.ClassLabel)
            assert tuple(label.names) == items.classes
            assert loaded.features["label_original"] == label
            image = "img" if name == "parquet" else "image"
            assert isinstance(loaded.features[image], datasets.Image)
            size = (8, 8) if name == "digits" else (16, 20)
            assert loaded[0][image].size == size
        else:
            assert loaded.features["y"].dtype == "string"
            assert len(loaded[0]["emb"]) == 4
            assert loaded[0]["weight"] == 0.0


def test_pictures_keep_their_bytes(audits, tmp_path):
    run(audits("folder"), tmp_path / "a.parquet", "parquet")
    root = Path(audits("folder").path)
    rows = pq.read_table(tmp_path / "a.parquet").select(["image", "file_name"]).to_pylist()
    assert len(rows) == N
    for row in rows:
        assert row["image"]["bytes"] == (root / row["file_name"]).read_bytes()
        assert row["image"]["path"] == row["file_name"]
    run(audits("parquet"), tmp_path / "b.parquet", "parquet")
    own, there = pq.read_table(audits("parquet").path), pq.read_table(tmp_path / "b.parquet")
    for name in ("img", "caption", "id"):
        assert there[name].to_pylist() == own[name].to_pylist()


def test_a_saved_dataset(audits, tmp_path):
    datasets = pytest.importorskip("datasets")
    for name in ("folder", "parquet", "csv", "pixels", "hf"):
        audit, out = audits(name), tmp_path / name
        run(audit, out, "hf", policy="relabel")
        loaded, items = datasets.load_from_disk(str(out)), audit.items
        label = "y" if name == "pixels" else "label"
        assert isinstance(loaded.features[label], datasets.ClassLabel)
        assert loaded.features["label_original"].names == list(items.classes)
        assert (out / "changes.csv").is_file()
        assert not list(tmp_path.glob(".*"))
        position = loaded["swaypoint_id" if name == "parquet" else "id"].index(items.ids[0])
        row = loaded[position]
        assert loaded.features[label].int2str(row[label]) == another(items, 0)
        assert loaded.features[label].int2str(row["label_original"]) == items.label(0)
        if name in PICTURED:
            key = {"parquet": "img", "pixels": "x"}.get(name, "image")
            assert row[key].size == ((10, 12) if name == "pixels" else (16, 20))
            assert len(read_dataset(out, options=replace(SMALL, label=label))) == N - 2


def test_cells_of_csv_are_neutral_and_come_back():
    texts = [f"{sign}1" for sign in SIGNS]
    texts += ["'=1", "'＝1", "''-", "'quoted'", "\n=1", "-1\n=2", "a=b", "", None]
    written = neutral(pa.array(texts))
    assert not any(text and text[0] in SIGNS for text in written.to_pylist())
    assert literal(written).to_pylist() == texts


@given(st.lists(st.text(alphabet="'=+-@\t\r\n＝＠ab,\"", max_size=6)))
@settings(deadline=None)
def test_neutral_cells_are_one_to_one(texts):
    written = neutral(pa.array(texts, pa.string()))
    assert not any(text and text[0] in SIGNS for text in written.to_pylist())
    assert literal(written).to_pylist() == texts


def test_csv(audits, tmp_path):
    audit = audits("parquet")
    run(audit, tmp_path / "a.csv", "csv", policy="relabel")
    with (tmp_path / "a.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(value[:1] not in tuple("=+@\t\r") for row in rows for value in row.values())
    assert {row["label"] for row in rows} == {"'=owl", "cat", "dog"}
    assert rows[0]["img"] == "p0.png"
    assert {row["caption"] for row in rows} == {"", "'=1+1", "two\nlines"}
    assert json.loads(rows[0]["tags"]) == [0.5, None]
    cells = read_cells(tmp_path / "a.csv")
    assert set(cells["caption"]) == {"", "=1+1", "two\nlines"}
    run(audits("vectors"), tmp_path / "b.csv", "csv", columns=False)
    again = read_dataset(tmp_path / "b.csv", options=ReadOptions(label="y"))
    assert again.columns == ("emb 0", "emb 1", "emb 2", "emb 3", "weight")


def test_json(audits, tmp_path):
    run(audits("parquet"), tmp_path / "a.json", "json")
    rows = json.loads((tmp_path / "a.json").read_text())
    assert rows[1]["caption"] == "=1+1"
    assert rows[0]["tags"] == [0.5, None]
    assert rows[0]["label"] in CLASSES
    assert "bytes" not in (tmp_path / "a.json").read_text()


@pytest.mark.parametrize("name", PICTURED)
def test_image_folder(audits, name, tmp_path):
    datasets = pytest.importorskip("datasets")
    audit, out = audits(name), tmp_path / "out"
    written, items = run(audit, out, "imagefolder", policy="relabel"), audit.items
    loaded = datasets.load_dataset(
        "imagefolder", data_dir=str(out), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert len(loaded) == written.records == len(as_audited(audit)) - 2
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded[0]["image"].size in ((16, 20), (10, 12), (8, 8))
    # Our own reader takes the folders' names.
    if name != "digits":
        again = read_dataset(out, options=SMALL)
        assert len(again) == written.records
        metadata = read_cells(out / "metadata.csv")
        labels_ = metadata["y" if name == "pixels" else "label"]
        for file, label in zip(metadata["file_name"], labels_, strict=True):
            assert (out / file).is_file()
            assert file.split("/")[1] == label
    ids = read_cells(out / "metadata.csv")["swaypoint_id" if name == "parquet" else "id"]
    assert items.ids[0] in ids
    assert not {items.ids[1], items.ids[2]} & set(ids)


def test_image_folder_copies_or_links_the_originals(audits, tmp_path):
    audit = audits("folder")
    root, items = Path(audit.path), audit.items
    before = tree(root)
    run(audit, tmp_path / "copied", "imagefolder", policy="relabel")
    run(audit, tmp_path / "linked", "imagefolder", policy="relabel", link=True)
    for out, shared in ((tmp_path / "copied", False), (tmp_path / "linked", True)):
        cells = read_cells(out / "metadata.csv")
        assert len(set(cells["file_name"])) == N - 2
        for file, own in zip(cells["file_name"], cells["file"], strict=True):
            assert (out / file).read_bytes() == (root / own).read_bytes()
            assert (out / file).samefile(root / own) == shared
        # The moved one's name is taken in its new class.
        moved = cells["file_name"][cells["id"].index(items.ids[0])]
        assert moved.split("/")[1] == another(items, 0)
        assert items.ids[0] in moved
    assert tree(root) == before


def test_metadata_shows_text_columns_first(audits, tmp_path):
    """One verdict far down: its columns would be numbers for who reads types from the first rows."""
    audit = audits("folder")
    items = audit.items
    review = review_of(items, (items.ids[-1], "ann", Decision("mislabeled", another(items, len(items) - 1))))
    run(audit, tmp_path / "a", "imagefolder", review)
    first = read_cells(tmp_path / "a" / "metadata.csv")
    assert "ann" in first["reviewer"][:8]


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "con:", "x\\y", "", "a\nb", "z" * 300, "dot."])
def test_class_names_that_could_leave_the_folder_are_refused(name, audits, tmp_path):
    items = audits("parquet").items
    source = read_source(items)
    items.classes = (name, *items.classes[1:])
    chosen = records(items, source, Review(items.run), clean(items, Review(items.run), "flag"))
    (tmp_path / "deep" / "out").mkdir(parents=True)
    with pytest.raises(InputError, match="cannot name a folder"):
        write_image_folder(chosen, tmp_path / "deep" / "out")
    assert [path.name for path in tmp_path.rglob("*")] == ["deep", "out"]


def test_changes(audits, tmp_path):
    audit = audits("folder")
    items = audit.items
    run(audit, tmp_path / "out", "imagefolder", policy="relabel")
    cells = read_cells(tmp_path / "out" / "changes.csv")
    assert tuple(cells) == CHANGES
    rows = dict(zip(cells["id"], zip(*cells.values(), strict=True), strict=True))
    assert set(rows) == set(items.ids[:3])
    first = dict(zip(CHANGES, rows[items.ids[0]], strict=True))
    assert first["source"] == items.source(0)
    assert (first["label_before"], first["label_after"]) == (items.label(0), another(items, 0))
    assert (first["verdict"], first["reviewer"]) == ("mislabeled", "ann; bob")
    assert first["note"] == "=clearly; yes"
    bad = dict(zip(CHANGES, rows[items.ids[2]], strict=True))
    assert (bad["label_after"], bad["verdict"]) == ("", "bad")
    run(audit, tmp_path / "flagged.csv", "csv", policy="flag")
    assert read_cells(tmp_path / "flagged.changes.csv")["id"] == []


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    """A table of 60 rows and ten of them again."""
    root = tmp_path_factory.mktemp("repeated")
    table = pd.DataFrame(np.random.default_rng(0).normal(size=(60, 3)).round(3), columns=[*"abc"])
    table["label"] = np.where(table["a"] > 0, "more", "less")
    table = pd.concat([table, table[:10]])
    table.to_csv(root / "rows.csv", index=False)
    return swaypoint.audit(root / "rows.csv", root / "audit"), table.reset_index(drop=True)


WITHIN, LEAKED = "copies within a split", "held_out records that were trained on"


def test_acting_on_findings_leaves_no_copy(repeated, tmp_path):
    folder, table = repeated
    items, names = Items(folder), (WITHIN, LEAKED)
    options = ExportOptions(columns=False, act=names)
    written = export(items, Review(items.run), tmp_path / "a.csv", "csv", options=options)
    again = pd.read_csv(tmp_path / "a.csv")
    pd.testing.assert_frame_equal(
        again.sort_values([*"abc"], ignore_index=True),
        table.drop_duplicates().sort_values([*"abc"], ignore_index=True),
    )
    assert (written.records, written.dropped) == (60, 10)
    changes = read_cells(tmp_path / "a.changes.csv")
    assert set(changes["finding"]) <= set(names)
    assert set(changes["verdict"]) == {"unreviewed"}
    split = dict(zip(items.scores["index"].tolist(), items.scores["split"].tolist(), strict=True))
    for source, finding in zip(changes["source"], changes["finding"], strict=True):
        row = int(source)
        other = row + 60 if row < 10 else row - 60
        assert table.iloc[row].equals(table.iloc[other])
        assert finding == (WITHIN if split[row] == split[other] else LEAKED)
        assert finding == WITHIN or split[row] == "held_out"


def test_people_take_precedence_over_findings(repeated, tmp_path):
    items = Items(repeated[0])
    leaving = sorted(act(items, Review(items.run), (WITHIN, LEAKED)).leaving)
    ids = [items.ids[position] for position in leaving]
    said = [
        (ids[0], "ann", Decision("correct")),
        (ids[1], "ann", Decision("skip")),
        (ids[2], "ann", Decision("correct")),
        (ids[2], "bob", Decision("bad")),
        (ids[3], "ann", Decision("bad")),
    ]
    review = review_of(items, *said)
    acted = act(items, review, (WITHIN, LEAKED))
    assert sorted(acted.leaving) == [leaving[1], *leaving[4:]]
    assert acted.spared == 3
    options = ExportOptions("drop", act=(WITHIN, LEAKED))
    written = export(items, review, tmp_path / "a.csv", "csv", options=options)
    assert written.dropped == 8  # the bad one by its verdict
    assert "3 points stay that a person judged" in written.notes
    changes = read_cells(tmp_path / "a.changes.csv")
    by = dict(zip(changes["id"], changes["finding"], strict=True))
    assert by[ids[3]] == ""
    assert ids[0] not in by


def test_findings_that_cannot_be_acted_on_are_refused(repeated, audits, tmp_path):
    items = Items(repeated[0])
    with pytest.raises(
        InputError, match=f"no finding 'twins' in .*; those that records leave by are .*{WITHIN}"
    ):
        act(items, Review(items.run), ("twins",))
    with pytest.raises(InputError, match="records leave by are none"):
        act(audits("wine").items, Review(audits("wine").items.run), ("twins",))
    assert act(items, Review(items.run), ()).leaving == {}


PEOPLE = ("Ada Lovelace", "not a cat, I think")


def said_by_people(items):
    """A verdict, a conflict and a resolution."""
    said = [Decision("mislabeled", another(items, i), PEOPLE[1]) for i in range(3)]
    other = Decision("correct", note=PEOPLE[1])
    words = [(items.ids[i], PEOPLE[0], one) for i, one in enumerate(said)]
    return review_of(items, *words, *((item, "bob", other) for item in items.ids[1:3]), resolves=True)


@pytest.mark.parametrize("to", [*exporters])
def test_reviewers_and_their_notes_stay_here_unless_asked(to, audits, tmp_path):
    audit = audits("texts" if to == "textfolder" else "folder")
    review = said_by_people(audit.items)
    run(audit, tmp_path / "out", to, review, policy="relabel", reviewers=False)
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    if to == "parquet":
        table = pq.read_table(tmp_path / "out")
        assert not {"reviewer", "note"} & {*table.column_names}
        written += str(table.to_pylist()).encode()
    assert b"mislabeled" in written  # in the changelog, if nowhere else
    for words in PEOPLE:
        assert words.encode() not in written
    run(audit, tmp_path / "asked", to, review, policy="relabel")
    changes = next(tmp_path.rglob("asked*/changes.csv"), tmp_path / "asked.changes.csv").read_text()
    assert all(words in changes for words in PEOPLE)


# -- Label Studio ---------------------------------------------------------------------------------


def tasks_of(audit, tmp_path):
    run(audit, tmp_path / "tasks.json", "labelstudio")
    return json.loads((tmp_path / "tasks.json").read_text())


def test_label_studio_tasks(audits, tmp_path):
    audit = audits("folder")
    items, tasks = audit.items, tasks_of(audit, tmp_path)
    assert [task["data"]["influence_rank"] for task in tasks] == list(range(1, len(items) + 1))
    first = tasks[0]
    position = items.position(first["data"]["id"])
    assert first["data"]["image"].startswith("/data/local-files/?d=pets/")
    assert first["data"]["given_label"] == items.label(position)
    prediction = first["predictions"][0]
    assert prediction["result"][0]["type"] == "choices"
    assert prediction["result"][0]["value"]["choices"] == [items.suggested(position)]
    # The score is the model's confidence in the suggestion, HIGH = sure; not the influence.
    assert prediction["score"] == pytest.approx(items.suggestions(position)[0].probability)
    tree_ = ElementTree.parse(tmp_path / "tasks.config.xml")
    controls = {control.get("name"): control for control in tree_.iter("Choices")}
    assert tuple(choice.get("value") for choice in controls["label"]) == items.classes
    assert set(VERDICTS) - {choice.get("value") for choice in controls["verdict"]} == {"skip"}
    object_ = next(tree_.iter("Image"))
    assert prediction["result"][0]["to_name"] == object_.get("name") == controls["label"].get("toName")
    (tmp_path / "b").mkdir()
    assert tasks_of(audits("pixels"), tmp_path / "b")[0]["data"]["image"].startswith("data:image/png;base64,")
    (tmp_path / "c").mkdir()
    assert set(tasks_of(audits("csv"), tmp_path / "c")[0]["data"]["row"]) == {"width", "note", "count"}


def choice(name, value):
    value = {"text": [value]} if name == "note" else {"choices": [value]}
    return {"from_name": name, "to_name": "input", "type": "choices", "value": value}


def annotation(*results, by=1, cancelled=False, at="2026-01-02"):
    return {"result": [*results], "completed_by": by, "was_cancelled": cancelled, "updated_at": at}


def test_label_studio_annotations(audits, tmp_path):
    audit = audits("folder")
    items, tasks = audit.items, tasks_of(audit, tmp_path)
    positions = [items.position(task["data"]["id"]) for task in tasks]
    right = [choice("label", items.label(p)) for p in positions]
    wrong = [choice("label", another(items, p)) for p in positions]
    given_ = [
        [annotation(wrong[0], choice("note", "look"), by={"email": "eve@x.org", "id": 3})],
        [annotation(right[1])],
        [annotation(wrong[2], choice("verdict", "bad"))],
        [annotation(wrong[3], cancelled=True)],
        [annotation(right[4], choice("verdict", "mislabeled"))],
        [annotation()],
        [annotation(wrong[6], at="2026-01-03"), annotation(right[6], at="2026-01-02")],
        [annotation(right[7], by=1), annotation(wrong[7], by=2)],
    ]
    for task, own in zip(tasks, [*given_, *[[]] * (len(tasks) - len(given_))], strict=True):
        task["annotations"] = own
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    imported = read_verdicts(tmp_path / "export.json", "labelstudio", items, Review(items.run))
    review = Review(items.run, (replace(e, seq=i) for i, e in enumerate(imported.events, 1)))
    ids = [task["data"]["id"] for task in tasks]
    decided = [review.decision(item) for item in ids[:7]]
    assert decided == [
        Decision("mislabeled", another(items, positions[0]), "look"),
        Decision("correct"),
        Decision("bad"),
        Decision("skip"),
        Decision("mislabeled"),
        Decision("skip"),
        Decision("mislabeled", another(items, positions[6])),
    ]
    assert review.conflict(ids[7])
    assert review.actors == ("annotator 1", "annotator 2", "eve@x.org")
    assert len({event.action for event in imported.events}) == 1  # undo takes the import back
    again = read_verdicts(tmp_path / "export.json", "labelstudio", items, review)
    assert (again.events, again.known) == ([], 9)
    named = read_verdicts(tmp_path / "export.json", "labelstudio", items, Review(items.run), "zoe")
    assert {event.actor for event in named.events} == {"zoe"}


BAD_TASKS = {
    "json": ("{", "not JSON"),
    "no list": ("{}", "holds no list of tasks"),
    "min": ([{"id": 3, "choice": "cat"}], "task 1: no data and annotations; export as JSON, not JSON-MIN"),
    "no id": ([{"data": {}, "annotations": []}], "task 1: its data has no id"),
    "unknown id": ([{"data": {"id": "x"}, "annotations": []}], "task 1: 'x' is no point"),
    "class": (
        [annotation(choice("label", "emu"))],
        r"task 1: there is no class 'emu'; the audit has =owl, cat",
    ),
    "verdict": ([annotation(choice("verdict", "odd"))], "task 1: verdict is 'odd'"),
    "two": (
        [annotation({**choice("label", ""), "value": {"choices": ["cat", "dog"]}})],
        "2 choices of label",
    ),
    "shape": ([annotation({**choice("label", ""), "value": 3})], "its label is no choice"),
    "who": ([annotation(choice("label", "cat"), by=None)], "names no reviewer; .* --reviewer"),
    "result": ([{"result": None}], "an annotation without a result"),
}


@pytest.mark.parametrize("case", BAD_TASKS)
def test_bad_label_studio_files_are_named(case, audits, tmp_path):
    items, (content, words) = audits("folder").items, BAD_TASKS[case]
    if isinstance(content, list) and "result" in content[0]:
        content = [{"data": {"id": items.ids[0]}, "annotations": content}]
    path = tmp_path / "bad.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=words):
        read_verdicts(path, "labelstudio", items, Review(items.run))


# -- our own CSV ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["parquet", "csv", "vectors", "real"])
def test_exported_csv_brings_the_same_state(audits, name, tmp_path):
    audit = audits(name)
    items = audit.items
    said = [word for word in decisions(items) if word[0] != items.ids[7]]  # a conflict is nobody's verdict
    review = review_of(items, *said)
    run(audit, tmp_path / "a.csv", "csv", review)
    imported = read_verdicts(tmp_path / "a.csv", "csv", items, Review(items.run))
    again = Review(items.run, (replace(e, seq=i) for i, e in enumerate(imported.events, 1)))
    for item in items.ids:
        assert again.decision(item) == review.decision(item)
        assert set(again.all_on(item)) == set(review.all_on(item))
    # Into the store that it came from it adds nothing; nor does it twice.
    assert read_verdicts(tmp_path / "a.csv", "csv", items, again).events == []
    changed = {e.actor + e.item for e in read_verdicts(tmp_path / "a.csv", "csv", items, review).events}
    assert changed <= {"ann" + items.ids[0], "bob" + items.ids[0]}  # their notes were joined


def test_edited_csv(audits, tmp_path):
    items = audits("csv").items
    path = tmp_path / "mine.csv"
    path.write_text(f"\ufeffid,verdict,new_label\n{items.ids[0]},mislabeled,'=owl\n{items.ids[1]},,\n")
    imported = read_verdicts(path, "csv", items, Review(items.run), "me")
    assert [(e.item, e.actor, e.decision) for e in imported.events] == [
        (items.ids[0], "me", Decision("mislabeled", "=owl"))
    ]


BAD_CSV = {
    "empty": ("", "is empty"),
    "no id": ("verdict\nbad\n", "no column id"),
    "no verdict": ("id\nx\n", "no column verdict"),
    "unknown id": ("id,verdict,reviewer\n{0},bad,me\nx,bad,me\n", "row 2: 'x' is no point"),
    "verdict": ("id,verdict,reviewer\n{0},wrong,me\n", "row 1: verdict is 'wrong'"),
    "class": ("id,verdict,new_label,reviewer\n{0},mislabeled,emu,me\n", "row 1: there is no class 'emu'"),
    "label": ("id,verdict,new_label,reviewer\n{0},bad,cat,me\n", "row 1: a label goes with"),
    "no word": ("id,verdict,new_label,reviewer\n{0},,cat,me\n", "row 1: new_label is 'cat', but no verdict"),
    "who": ("id,verdict\n{0},bad\n", "row 1: it names no reviewer"),
    "ragged": ("id,verdict\n{0},bad,me,too,many\n", "is not a CSV file that can be read"),
    "twice": ("id,id,verdict\n{0},{0},bad\n", "two columns have the same name"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv_files_are_named(case, audits, tmp_path):
    items, (content, words) = audits("csv").items, BAD_CSV[case]
    (tmp_path / "bad.csv").write_text(content.format(items.ids[0]))
    with pytest.raises(InputError, match=words) as caught:
        read_verdicts(tmp_path / "bad.csv", "csv", items, Review(items.run))
    assert "bad.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_files(audits, tmp_path):
    items = audits("csv").items
    for kind in sources:
        with pytest.raises(InputError, match="does not exist"):
            read_verdicts(tmp_path / "absent", kind, items, Review(items.run))
        (tmp_path / "latin").write_bytes(b"id,verdict,tags\n\xe9\xff,bad,x\n")
        with pytest.raises(InputError, match="UTF"):
            read_verdicts(tmp_path / "latin", kind, items, Review(items.run))
    with pytest.raises(InputError, match="cannot be read from 'excel'"):
        read_verdicts(tmp_path / "absent", "excel", items, Review(items.run))


# -- FiftyOne -------------------------------------------------------------------------------------


class _Sample(dict):
    def __init__(self, filepath, tags):
        super().__init__(filepath=filepath, tags=tags)


def test_fiftyone(audits, tmp_path, monkeypatch):
    for name in ("folder", "pixels"):
        audit, out = audits(name), tmp_path / name
        items = audit.items
        run(audit, out, "fiftyone")
        cells = read_cells(out / "labels.csv")
        assert tuple(cells) == fiftyone.COLUMNS
        assert len(cells["label"]) == N
        files = [out / file for file in cells["filepath"]]  # absolute ones stay so
        assert all(file.is_file() for file in files)
        by_id = dict(zip(cells["swaypoint_id"], cells["influence"], strict=True))
        # HIGH = look first, as FiftyOne's mistakenness.
        order = sorted(items.ids, key=lambda item: -float(by_id[item]))
        assert order[0] == items.ids[int(np.argmin(items.scores["rank"]))]
        tags = dict(zip(cells["swaypoint_id"], cells["tags"], strict=True))
        assert tags[items.ids[2]] == "train,verdict:bad"
    module = types.SimpleNamespace(Sample=_Sample, Classification=dict)
    module.Dataset = lambda: types.SimpleNamespace(add_samples=kept.extend)
    kept: list[_Sample] = []
    monkeypatch.setitem(sys.modules, "fiftyone", module)
    fiftyone.to_fiftyone(tmp_path / "pixels")
    assert len(kept) == N
    assert Path(kept[0]["filepath"]).is_file()
    assert kept[0]["ground_truth"] == {"label": cells["label"][0]}
    monkeypatch.setitem(sys.modules, "fiftyone", None)
    with pytest.raises(MissingExtra, match="pip install fiftyone"):
        fiftyone.to_fiftyone(tmp_path / "pixels")


def test_tags_and_labels_of_fiftyone(audits, tmp_path):
    audit = audits("folder")
    items = audit.items
    run(audit, tmp_path / "out", "fiftyone")
    nothing = read_verdicts(tmp_path / "out" / "labels.csv", "fiftyone", items, Review(items.run))
    assert nothing.events == []
    rows = [
        (items.ids[0], another(items, 0), "train"),
        (items.ids[1], items.label(1), "train,bad"),
        (items.ids[2], items.label(2), "['mislabeled', 'train']"),
        (items.ids[3], items.label(3), "train,verdict:bad"),
    ]
    table = pd.DataFrame(rows, columns=["swaypoint_id", "ground_truth", "tags"])
    table.to_csv(tmp_path / "there.csv", index=False)
    imported = read_verdicts(tmp_path / "there.csv", "fiftyone", items, Review(items.run), "me")
    assert [(e.item, e.decision) for e in imported.events] == [
        (items.ids[0], Decision("mislabeled", another(items, 0))),
        (items.ids[1], Decision("bad")),
        (items.ids[2], Decision("mislabeled")),
    ]
    table["tags"] = "bad,correct"
    table.to_csv(tmp_path / "there.csv", index=False)
    with pytest.raises(InputError, match="row 1: the tags bad and correct; expected one"):
        read_verdicts(tmp_path / "there.csv", "fiftyone", items, Review(items.run))
    table.drop(columns="swaypoint_id").to_csv(tmp_path / "there.csv")
    with pytest.raises(InputError, match="no column swaypoint_id"):
        read_verdicts(tmp_path / "there.csv", "fiftyone", items, Review(items.run))


# -- cleanlab -------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_issue_table(audits, suffix, tmp_path):
    audit = audits("vectors")
    items, path = audit.items, tmp_path / f"issues.{suffix}"
    run(audit, path, "cleanlab")
    table = pd.read_csv(path) if suffix == "csv" else pd.read_parquet(path)
    assert set(table) == {
        "id",
        "index",
        "is_label_issue",
        "label_score",
        "given_label",
        "predicted_label",
        "split",
    }
    assert table["is_label_issue"].dtype == bool
    # LOW = bad there, and a monotone image of the rank.
    assert table["label_score"].between(0, 1, inclusive="neither").all()
    assert (table["label_score"].rank() == items.scores["rank"]).all()
    assert table["label_score"].idxmin() == items.scores["cook"].argmax()
    flags = dict(zip(table["id"], table["is_label_issue"], strict=True))
    assert [flags[item] for item in items.ids[:4]] == [True, True, False, False]
    # Read in again, the same order, and HIGH = look first.
    own = copied(audit, tmp_path)
    assert cleanlab.add_ranking(own, path) == len(items)
    added = own.scores()["cleanlab"].to_numpy()
    assert (np.argsort(-added) == np.argsort(items.scores["rank"])).all()


def copied(audit, tmp_path):
    target = tmp_path / "audit"
    target.mkdir()
    for file in audit.folder.path.iterdir():
        if file.is_file():
            (target / file.name).write_bytes(file.read_bytes())
    return AuditFolder(target)


def issues(items, order=None, **columns):
    n = len(items)
    table = pd.DataFrame(
        {
            "is_label_issue": np.zeros(n, dtype=bool),
            "label_score": np.linspace(0, 1, n),
            "given_label": [items.label(i) for i in range(n)],
            "predicted_label": [items.suggested(i) for i in range(n)],
            **columns,
        }
    )
    return table if order is None else table.iloc[order]


def test_issue_tables_are_matched_by_position(audits, tmp_path):
    audit = audits("vectors")
    items, own = audit.items, copied(audit, tmp_path)
    expected = 1.0 - np.linspace(0, 1, len(items))
    shuffled = np.random.default_rng(0).permutation(len(items))
    path = tmp_path / "issues.csv"
    for write in (
        lambda: issues(items).to_csv(path, index=False),  # in order
        lambda: issues(items, shuffled).to_csv(path),  # pandas' index
        lambda: issues(items, shuffled, index=items.scores["index"]).to_csv(path, index=False),
        lambda: issues(items, shuffled, id=items.ids).to_csv(path, index=False),
    ):
        write()
        cleanlab.add_ranking(own, path)
        scores = own.scores()
        assert scores.column_names.count("cleanlab") == 1
        np.testing.assert_allclose(scores["cleanlab"].to_numpy(), expected)
    issues(items).rename(columns={"label_score": "label_quality"}).to_csv(path)  # CleanLearning's name
    cleanlab.add_ranking(own, path)
    np.testing.assert_allclose(own.scores()["cleanlab"].to_numpy(), expected)
    # A table of the whole source.
    whole = read_source(items)
    table = pd.DataFrame({"label_score": np.linspace(0, 1, N), "given_label": whole.given})
    table.to_csv(path, index=False)
    cleanlab.add_ranking(own, path)
    expected = 1.0 - np.linspace(0, 1, N)[items.scores["index"]]
    np.testing.assert_allclose(own.scores()["cleanlab"].to_numpy(), expected)
    issues(items, shuffled).to_parquet(tmp_path / "issues.parquet")
    cleanlab.add_ranking(own, tmp_path / "issues.parquet")
    np.testing.assert_allclose(own.scores()["cleanlab"].to_numpy(), 1.0 - np.linspace(0, 1, len(items)))


BAD_ISSUES = {
    "no score": (lambda t: t.drop(columns="label_score"), "no column label_score"),
    "range": (
        lambda t: t.assign(label_score=2.0),
        "row 1: label_score is '2.0'; expected 0..1, where low is bad",
    ),
    "words": (lambda t: t.assign(label_score="x"), "row 1: label_score is 'x'"),
    "short": (lambda t: t[1:], "points are not in its"),
    "order": (lambda t: t[::-1], "given_label is .* table of the same points"),
    "twice": (lambda t: pd.concat([t, t[:1]]).assign(id=[*t["id"], t["id"][0]]), "two rows are of the same"),
}


@pytest.mark.parametrize("case", BAD_ISSUES)
def test_bad_issue_tables_are_named_and_change_nothing(case, audits, tmp_path):
    audit, (break_, words) = audits("vectors"), BAD_ISSUES[case]
    own, items = copied(audit, tmp_path), audit.items
    table = break_(issues(items, id=items.ids))
    table = table.drop(columns="id") if case in ("short", "order") else table
    table.to_csv(tmp_path / "issues.csv", index=False)
    before = tree(own.path)
    with pytest.raises(InputError, match=words):
        cleanlab.add_ranking(own, tmp_path / "issues.csv")
    assert tree(own.path) == before


# -- refusals, and nothing half-written -----------------------------------------------------------


def test_targets_and_options_that_are_refused(audits, tmp_path):
    audit = audits("folder")
    items, review = audit.items, Review(audit.items.run)

    def refused(words, out, to="csv", **options):
        with pytest.raises(InputError, match=words):
            export(items, review, out, to, options=ExportOptions(**options))

    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    refused("there.csv is there already", tmp_path / "there.csv")
    refused("full is there already", tmp_path / "full", "imagefolder")
    refused("full is there already", tmp_path / "full")
    refused("lies within the source", Path(audit.path) / "cat" / "clean.csv")
    refused("there is no format 'xml'; expected cleanlab, csv, .*parquet", tmp_path / "a", "xml")
    refused("policy is 'keep'", tmp_path / "a", policy="keep")
    refused("split is 'test'", tmp_path / "a", split="test")
    unknown = review_of(items, (items.ids[0], "ann", Decision("mislabeled", "emu")))
    with pytest.raises(InputError, match="there is no class 'emu'"):
        run(audit, tmp_path / "a", "csv", unknown, policy="relabel")
    for to in ("imagefolder", "fiftyone"):
        with pytest.raises(InputError, match="holds no pictures"):
            run(audits("csv"), tmp_path / "a", to)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["full", "there.csv"]
    (tmp_path / "empty").mkdir()
    run(audit, tmp_path / "empty", "imagefolder")  # an empty folder is taken


@pytest.mark.parametrize("to", exporters)
def test_what_fails_leaves_nothing(to, audits, tmp_path, monkeypatch):
    from swaypoint.review.cleaning import export as module

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_changes", full)
    with pytest.raises(InputError, match=r"no space left on .* while writing a"):
        run(audits("texts" if to == "textfolder" else "folder"), tmp_path / "a", to)
    assert list(tmp_path.iterdir()) == []


# -- the command line, and the page of the formats ------------------------------------------------


def test_command_line(audits, tmp_path, monkeypatch):
    pytest.importorskip("swaypoint.review.log.store")
    from typer.testing import CliRunner

    from swaypoint.cli.main import app
    from swaypoint.review.log.store import open_store

    audit = audits("folder")
    items, folder_ = audit.items, copied(audit, tmp_path).path
    monkeypatch.chdir(tmp_path)

    def command(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    assert "note: nothing has been reviewed yet" in command(
        "export", folder_, "--to", "csv", "--out", "a.csv"
    )
    assert not (folder_ / "review.sqlite").exists()
    run(audit, tmp_path / "reviewed.csv", "csv")
    brought = command("import", folder_, "reviewed.csv", "--from", "csv")
    assert brought == "8 verdicts added, 0 there already\n"
    again = command("import", folder_, "reviewed.csv", "--from", "csv")
    assert again == "0 verdicts added, 8 there already\n"
    store = open_store(folder_ / "review.sqlite")
    assert store.verify().seq == 8
    store.close()
    output = command("export", folder_, "--to", "imagefolder", "--policy", "relabel", "--out", "clean")
    assert "ann" not in (tmp_path / "clean" / "changes.csv").read_text()
    command("export", folder_, "--to", "csv", "--out", "who.csv", "--reviewers")
    assert "ann; bob" in (tmp_path / "who.csv").read_text()
    assert f"clean: {N - 2} records, 1 relabeled, 2 left out\n" in output
    assert "changes: clean/changes.csv" in output
    issues(items).to_csv("issues.csv", index=False)
    assert f"{len(items)} scores added" in command("import", folder_, "issues.csv", "--from", "cleanlab")
    bad = CliRunner().invoke(app, ["import", str(folder_), "issues.csv", "--from", "csv"])
    assert isinstance(bad.exception, InputError)


def test_every_format_and_column_is_documented():
    page = (Path(__file__).parents[1] / "docs" / "interoperability.md").read_text()
    for name in exporters:
        assert f"\n## `{name}`" in page, name
    for column in {*CANONICAL.names, *CHANGES, *fiftyone.COLUMNS, cleanlab.COLUMN, *POLICIES, *VERDICTS}:
        assert f"`{column}`" in page, column
    for column in ("is_label_issue", "label_score", "given_label", "predicted_label", "index"):
        assert f"`{column}`" in page, column
    for kind in sources:
        assert f"--from {kind}" in page, kind
    for score in ("cook", "rank", "loss", "margin", "leverage", "label_score", "mistakenness"):
        assert f"`{score}`" in page.split("## Canonical")[0], score
