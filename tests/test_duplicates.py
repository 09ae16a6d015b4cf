"""Copies of records: planted ones, counted again by pandas on what was planted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import swaypoint
from review_audit import quick
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.data.readers import read_dataset
from swaypoint.findings import find, find_duplicates

CONTRADICT, WITHIN = "copies that contradict each other", "copies within a split"
LEAKED = "held_out records that were trained on"


def by_name(folder):
    return {finding.name: finding for finding in find_duplicates(folder)}


def check(folder, content):
    """``content``: of each record in dataset order, hashable."""
    scores = folder.scores().to_pandas()
    table = pd.DataFrame({"content": content, "split": scores["split"], "label": scores["label"]})
    found = by_name(folder)
    labels = table.groupby("content")["label"].transform("nunique")
    assert sorted(found[CONTRADICT].index.tolist()) == np.flatnonzero(labels > 1).tolist()
    assert found[CONTRADICT].evidence["groups"] == table["content"][labels > 1].nunique()
    trained = set(table["content"][table["split"] == "train"])
    leaked = (table["split"] == "held_out") & table["content"].isin(trained)
    assert sorted(found[LEAKED].index.tolist()) == np.flatnonzero(leaked).tolist()
    held_out = table["split"] == "held_out"
    right = scores["margin"] > 0
    assert found[LEAKED].evidence["accuracy"] == pytest.approx(right[held_out].mean())
    assert found[LEAKED].evidence["accuracy_without"] == pytest.approx(right[held_out & ~leaked].mean())
    times = table.groupby(["content", "split"])["label"].transform("size")
    assert sorted(found[WITHIN].index.tolist()) == np.flatnonzero(times > 1).tolist()
    assert found[WITHIN].evidence["largest"] == times.max()
    return found


def copied(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Of n + 40 records which of the n they are, and which of them shall have another label."""
    generator = np.random.default_rng(seed)
    of = np.concatenate([np.arange(n), generator.integers(0, 30, 40)])
    return of, np.arange(len(of)) >= n + 32


def test_rows_of_features(tmp_path):
    of, other = copied(300)
    features = np.random.default_rng(1).normal(size=(300, 6)).astype(np.float32)
    labels = (features[:, 0] > 0).astype(np.int64)[of]
    labels = np.where(other, 1 - labels, labels)
    columns = tuple(f"x{i}" for i in range(6))
    data = Dataset(
        "rows", "features", features[of], labels, ("a", "b"), columns, np.arange(len(of)), (), (), "rows"
    )
    folder = swaypoint.audit(data, tmp_path / "audit", options=AuditOptions())
    found = check(folder, of)
    assert found[CONTRADICT].severity == "medium"  # a column may be missing
    assert CONTRADICT in {finding.name for finding in find(folder).findings}


def test_one_copy_is_told_as_one(tmp_path):
    inputs = np.random.default_rng(2).normal(size=(50, 3)).astype(np.float32)
    inputs[49] = inputs[48]
    labels = (inputs[:, 0] > 0).astype(np.int64)
    data = Dataset("one", "features", inputs, labels, ("a", "b"), tuple("xyz"), np.arange(50), (), (), "one")
    (found,) = find_duplicates(swaypoint.audit(data, tmp_path / "audit", options=AuditOptions()))
    within = "1 record (2.0% of all) is a copy of another in its split; "
    assert found.sentence.startswith((within, "1 of 10 held out records (10.0%) is a copy of one that "))
    assert "them" not in found.sentence


def test_pictures(tmp_path):
    digits = read_dataset("sklearn:digits").subset(np.arange(300))
    of, other = copied(300)
    labels = np.where(other, (digits.labels[of] + 1) % 10, digits.labels[of])
    data = replace(digits, inputs=digits.inputs[of], labels=labels, index=np.arange(len(of)))
    folder = swaypoint.audit(data, tmp_path / "audit", options=quick("digits"))
    content = [picture.tobytes().hex() for picture in data.inputs]
    assert check(folder, content)[CONTRADICT].severity == "high"  # one picture has one label


def test_texts(tmp_path):
    of, other = copied(200)
    words = ["red green", "salt water"]
    label = np.where(other, 1 - of % 2, of % 2)
    table = pd.DataFrame({"text": [f"{words[i % 2]} text {i}" for i in of], "label": label})
    table["label"] = table["label"].map({0: "colour", 1: "sea"})
    table.to_csv(tmp_path / "texts.csv", index=False)
    read = ReadOptions(text="text", label="label")
    folder = swaypoint.audit(tmp_path / "texts.csv", tmp_path / "audit", read=read)
    assert check(folder, of)[CONTRADICT].index.tolist()


def test_nothing_is_found_where_all_differ(tmp_path):
    folder = swaypoint.audit("sklearn:wine", tmp_path / "audit")
    assert find_duplicates(folder) == []
    (tmp_path / "audit" / "inputs.safetensors").unlink()  # rows as people read them are rounded
    assert find_duplicates(folder) == []
