"""Damaged and hostile files of verdicts, in every format, and cleanlab's tables."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import swaypoint
from mutations import damaged, edited, fuzz, misshapen, outcome, use_damaged
from swaypoint.auditing.options import AuditOptions
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.review.cleaning.cleanlab import add_ranking
from swaypoint.review.cleaning.imported import Imported, read_verdicts
from swaypoint.review.cleaning.simulated import read_truth
from swaypoint.review.items import Items
from swaypoint.review.log.store import open_store
from swaypoint.review.log.verdicts import Review


@pytest.fixture(scope="module")
def items(tmp_path_factory) -> Items:
    """40 points of two classes, one of them with a name that spreadsheets would take for a formula."""
    root = tmp_path_factory.mktemp("robust")
    labels = np.arange(40) % 2
    features = np.random.default_rng(0).normal(size=(40, 3)) + labels[:, None]
    np.savez(root / "points.npz", features=features, labels=np.array(["cat", "=dog"])[labels])
    return Items(swaypoint.audit(root / "points.npz", root / "audit", options=AuditOptions(top=5)))


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    log = open_store(tmp_path_factory.mktemp("robust") / "review.sqlite")
    yield log
    log.close()


def text(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def our_csv(items: Items) -> str:
    header = ["id", "verdict", "new_label", "note", "reviewer", "decided_at"]
    verdicts = ("mislabeled", "correct", "", "bad", "unreviewed")
    rows = [
        [
            name,
            verdict,
            "cat" if verdict == "mislabeled" else "",
            "two\nlines, and a comma",
            "ann; bo",
            "2026",
        ]
        for name, verdict in zip(items.ids, verdicts, strict=False)
    ]
    return text([header, *rows])


def fiftyone_csv(items: Items) -> str:
    rows = [[name, "train,bad", items.label(i)] for i, name in enumerate(items.ids[:4])]
    rows.append([items.ids[4], "['train', 'bad']", "'=dog"])
    return text([["swaypoint_id", "tags", "ground_truth"], *rows])


def labelstudio_tasks(items: Items) -> list[dict]:
    def choice(name: str, value: str) -> dict:
        return {"from_name": name, "to_name": "input", "type": "choices", "value": {"choices": [value]}}

    note = {"from_name": "note", "value": {"text": ["why"]}}
    said = ([choice("label", "cat"), note], [choice("verdict", "bad")], [])
    return [
        {
            "data": {"id": name, "given_label": items.label(i)},
            "annotations": [
                {
                    "result": result,
                    "completed_by": {"email": "ann"},
                    "was_cancelled": False,
                    "updated_at": "2026",
                }
            ],
        }
        for i, (name, result) in enumerate(zip(items.ids, said, strict=False))
    ]


def issues(items: Items) -> pa.Table:
    n = len(items)
    labels = [items.label(i) for i in range(n)]
    return pa.table({"id": items.ids, "label_score": np.linspace(0, 1, n), "given_label": labels})


def reading(items: Items, store, kind: str):
    """Of a file: its verdicts, which the store of a review takes."""

    def use(path: Path) -> Imported:
        found = read_verdicts(path, kind, items, Review(items.run, store.since(items.run)))
        assert len(store.append(found.events)) == len(found.events)
        return found

    return use


def test_the_undamaged_files_say_something(items, tmp_path):
    (tmp_path / "a.csv").write_text(our_csv(items))
    (tmp_path / "b.csv").write_text(fiftyone_csv(items))
    (tmp_path / "c.json").write_text(json.dumps(labelstudio_tasks(items)))
    for name, kind, count in (("a.csv", "csv", 6), ("b.csv", "fiftyone", 5), ("c.json", "labelstudio", 3)):
        assert len(read_verdicts(tmp_path / name, kind, items, Review(items.run)).events) == count


@fuzz(150)
@given(data=st.data(), kind=st.sampled_from(["csv", "fiftyone"]))
def test_edited_csv(items, store, kind, data):
    valid = our_csv(items) if kind == "csv" else fiftyone_csv(items)
    use_damaged(reading(items, store, kind), "verdicts.csv", data.draw(edited(valid)))


@fuzz(100)
@given(data=st.data(), kind=st.sampled_from(["csv", "fiftyone", "labelstudio"]))
def test_damaged_bytes(items, store, kind, data):
    valid = {"csv": our_csv(items), "fiftyone": fiftyone_csv(items)}
    valid["labelstudio"] = json.dumps(labelstudio_tasks(items))
    use_damaged(reading(items, store, kind), "verdicts.file", data.draw(damaged(valid[kind].encode())))


@fuzz(200)
@given(data=st.data())
def test_tasks_of_another_shape(items, store, data):
    content = data.draw(misshapen(labelstudio_tasks(items)))
    use_damaged(reading(items, store, "labelstudio"), "tasks.json", content)


# -- cleanlab's tables, and true labels -------------------------------------------------------------


@pytest.fixture(scope="module")
def copy(items, tmp_path_factory) -> AuditFolder:
    return AuditFolder(shutil.copytree(items.folder.path, tmp_path_factory.mktemp("robust") / "copy"))


def add(copy: AuditFolder):
    """Of a table of issues: a further column, or the scores as they were."""

    def use(path: Path) -> int:
        before = copy.scores()
        try:
            count = add_ranking(copy, path)
        except InputError:
            assert copy.scores().equals(before)
            raise
        after = copy.scores()
        assert after["cleanlab"].null_count == 0
        assert all(0 <= value <= 1 for value in after["cleanlab"].to_pylist())
        return count

    return use


@fuzz(80)
@given(data=st.data())
def test_edited_tables_of_issues(items, copy, data):
    rows = [issues(items).column_names, *(list(map(str, row.values())) for row in issues(items).to_pylist())]
    use_damaged(add(copy), "issues.csv", data.draw(edited(text(rows))))


@fuzz(80)
@given(data=st.data())
def test_damaged_parquet_tables_of_issues(items, copy, data):
    buffer = io.BytesIO()
    pq.write_table(issues(items), buffer, compression=data.draw(st.sampled_from(["none", "zstd"])))
    use_damaged(add(copy), "issues.parquet", data.draw(damaged(buffer.getvalue())))


OTHER = [
    pa.array([None] * 40),
    pa.array([[1.0]] * 40),
    pa.array([b"\xff"] * 40),
    pa.array([2**62] * 40, pa.timestamp("us")),
    pa.array([2**62] * 40, pa.duration("ns")),
    pa.array([float("nan")] * 40),
    pa.array(["1e999"] * 40),
    pa.array([{"a": 1}] * 40),
    pa.array(["cat"] * 40).dictionary_encode(),
    pa.Array.from_buffers(pa.string(), 40, [None, *pa.array([b"\xff"] * 40).buffers()[1:]]),
]


@pytest.mark.parametrize("values", OTHER, ids=lambda values: str(values.type))
@pytest.mark.parametrize("name", ["id", "label_score", "given_label", "index"])
def test_columns_of_other_types(items, copy, tmp_path, name, values):
    table = issues(items)
    place = table.column_names.index(name) if name in table.column_names else None
    table = table.append_column(name, values) if place is None else table.set_column(place, name, values)
    pq.write_table(table, tmp_path / "issues.parquet")
    outcome(add(copy), tmp_path / "issues.parquet")
    truth = table.rename_columns(["index" if column == name else column for column in table.column_names])
    pq.write_table(truth.append_column("label", values), tmp_path / "truth.parquet")
    outcome(lambda path: read_truth(items, path), tmp_path / "truth.parquet")


def test_two_columns_of_one_name_are_refused(items, copy, tmp_path):
    table = issues(items)
    pq.write_table(table.append_column("label_score", table["label_score"]), tmp_path / "issues.parquet")
    with pytest.raises(InputError, match=r"issues\.parquet: two columns have the same name"):
        add_ranking(copy, tmp_path / "issues.parquet")


@fuzz(60)
@given(data=st.data(), suffix=st.sampled_from(["csv", "parquet"]))
def test_damaged_truth(items, suffix, data):
    table = pa.table({"index": items.scores["index"], "label": [items.label(i) for i in range(len(items))]})
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    rows = [table.column_names, *(list(map(str, row.values())) for row in table.to_pylist())]
    content = data.draw(edited(text(rows)) if suffix == "csv" else damaged(buffer.getvalue()))
    use_damaged(lambda path: read_truth(items, path), f"truth.{suffix}", content)


@pytest.mark.parametrize("kind", ["csv", "fiftyone", "labelstudio", "cleanlab", "truth"])
def test_a_folder_and_a_pipe(items, store, copy, tmp_path, kind):
    uses = {"cleanlab": add(copy), "truth": lambda path: read_truth(items, path)}
    os.mkfifo(tmp_path / "pipe.csv")
    for path in (tmp_path, tmp_path / "pipe.csv"):
        assert isinstance(outcome(uses.get(kind) or reading(items, store, kind), path), InputError)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("note", "nul \0", "NUL"),
        ("reviewer", "x" * 201, "actor has 201"),
        ("note", "x" * 2001, "2,001 characters"),
    ],
)
def test_what_no_store_keeps_is_refused_by_the_file(items, tmp_path, column, value, words):
    row = {"id": items.ids[0], "verdict": "bad", "note": "", "reviewer": "ann"} | {column: value}
    (tmp_path / "verdicts.csv").write_text(text([list(row), list(row.values())]))
    with pytest.raises(InputError, match=rf"verdicts\.csv, .*{words}"):
        read_verdicts(tmp_path / "verdicts.csv", "csv", items, Review(items.run))


@pytest.mark.parametrize("content", ["[" * 100_000, "9" * 5000, '["\\ud800"]'])
def test_json_that_breaks_parsers(items, tmp_path, content):
    (tmp_path / "tasks.json").write_text(content)
    with pytest.raises(InputError, match=r"tasks\.json.*export as JSON"):
        read_verdicts(tmp_path / "tasks.json", "labelstudio", items, Review(items.run))
