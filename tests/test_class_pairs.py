"""Suspected labels of an audit and pairs of classes: against numpy on its columns, and planted pairs."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from safetensors.numpy import load_file
from typer.testing import CliRunner

import swaypoint
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset, ReadOptions
from swaypoint.errors import InputError
from swaypoint.findings import findings
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.models.predictor import Objective
from swaypoint.report.html import render
from swaypoint.report.terminal import suspected_words
from swaypoint.review.items import Items
from swaypoint.review.log.verdicts import Review
from swaypoint.review.page.query import Query, select

NAMES = ("car", "lorry, big", "bird", "plane")
WRONG = 0.12


def points(n=3000, seed=0):
    """Four classes that a linear head tells apart; of the cars 12 % are labelled lorry."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, n)
    features = 2.2 * np.eye(4)[true] @ rng.normal(size=(4, 8)) + rng.normal(size=(n, 8))
    wrong = (true == 0) & (rng.random(n) < WRONG)
    return features.astype(np.float32), np.where(wrong, 1, true), true


def dataset():
    features, labels, _ = points()
    columns = tuple(f"x{i}" for i in range(8))
    index = np.arange(len(labels))
    return Dataset("four", "features", features, labels, NAMES, columns, index, (), (), "four")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "audit"
    return swaypoint.audit(dataset(), path, options=AuditOptions(scores=("auto",), flip=0.01))


@pytest.fixture(scope="module")
def columns(folder):
    table = folder.scores()
    return {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}


def test_the_manifest_counts_what_the_columns_say(folder, columns):
    found, p = folder.manifest().suspected, columns["p_wrong"]
    assert found.expected == pytest.approx(p.sum())
    np.testing.assert_allclose(found.by_class, [p[columns["label"] == j].sum() for j in range(4)])
    order = np.argsort(-columns["auto"], kind="stable")
    seen = p[order].cumsum()
    first = int(np.searchsorted(seen, 0.9 * p.sum())) + 1
    assert found.first == pytest.approx(first, abs=0.01 * len(p))  # to the fineness of its bins
    assert found.precision == pytest.approx(seen[found.first - 1] / found.first, rel=0.02)
    np.testing.assert_array_equal(found.counts, np.histogram(p, 10, (0, 1))[0])
    np.testing.assert_allclose(found.sums, np.histogram(p, 10, (0, 1), weights=p)[0])
    assert sum(found.planted) == folder.manifest().flipped.planted == 30  # 1 % of all, those held out too
    assert found.believed
    pairs = load_file(folder.path / "pairs.safetensors")["expected"]
    np.testing.assert_allclose(pairs.sum(), len(p), rtol=1e-4)
    np.testing.assert_allclose(pairs.sum(1) - pairs.diagonal(), found.by_class, rtol=1e-3)


def test_the_planted_pair_is_the_finding(folder, columns):
    found = findings["class_pairs"](folder)
    first = found[0]
    assert first.name == "lorry, big like car"
    _, _, true = points()
    truly = ((true[columns["index"]] == 0) & (columns["label"] == 1)).sum()
    assert first.evidence["records"] == pytest.approx(truly, rel=0.3)
    assert first.evidence["low"] < first.evidence["records"] < first.evidence["high"]
    share = first.evidence["records"] / (columns["label"] == 1).sum()
    assert first.evidence["share"] == pytest.approx(share, rel=0.01)
    assert first.severity == "high"
    assert first.evidence["share_the_other_way"] < 0.02
    assert (true[columns["index"][first.index]] == 0).mean() > 0.7
    assert (np.diff(columns["p_wrong"][first.index]) <= 0).all()
    words = [
        f"{first.evidence['share']:.1%} of what is labelled lorry, big looks like car",
        f"about {first.evidence['records']:.0f} records",
        "the other way",
    ]
    for word in words:
        assert word in first.sentence
    address = first.remedy.split("then /gallery?")[1].split(";")[0]
    assert not set(address) & set(" ,")
    assert Query.parse(dict(parse_qsl(address))) == Query(label=("lorry, big",), like=("car",))
    shown = CliRunner().invoke(app, ["findings", str(folder.path), "--json"])
    assert json.loads(shown.stdout)[0]["name"] == first.name


def test_the_interval_is_of_independent_events(folder, columns):
    """Counts drawn from probabilities with the same sums; their spread is that of the interval."""
    first = findings["class_pairs"](folder)[0]
    rows = (columns["label"] == 1) & (columns["likely"] == 0)
    p = columns["p_wrong"][rows]
    drawn = (np.random.default_rng(0).random((4000, len(p))) < p).sum(1)
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert first.evidence["high"] - first.evidence["low"] == pytest.approx(high - low, rel=0.15)


def test_the_review_shows_the_queue(folder, columns):
    items, review = Items(folder), Review(folder.manifest().key, ())
    found = select(Query.parse({"label": "lorry%2C big", "like": "car"}), items, review, "me")
    expected = (columns["label"] == 1) & (columns["likely"] == 0) & (columns["p_wrong"] >= 0.1)
    assert sorted(found.tolist()) == np.flatnonzero(expected).tolist()
    assert (np.diff(columns["rank"][found]) > 0).all()
    assert set(found.tolist()) == set(findings["class_pairs"](folder)[0].index.tolist())
    query = Query(label=("lorry, big",), like=("car",))
    assert "like=car" in query.address()
    with pytest.raises(InputError, match="no class 'tram'"):
        select(Query(like=("tram",)), items, review, "me")


def test_terminal_and_report_say_how_many(folder):
    found = folder.manifest().suspected
    shown = CliRunner().invoke(app, ["show", str(folder.path)]).output.replace("\n", " ")
    assert f"about {found.expected:.0f} of 3,000 labels are probably wrong" in shown  # those held out too
    assert f"look at the first {found.first:,} to find nine in ten" in shown
    assert f"expected precision there {found.precision:.0%}" in shown
    page = render(folder)
    assert "no bound" in page
    assert "lorry, big looks like car" in page
    assert "planted" in page


def test_a_handful_of_wrong_labels_names_no_number_to_look_at(folder):
    manifest = folder.manifest()
    few = replace(manifest.suspected, expected=2.0, first=1640, precision=0.001)
    words = suspected_words(replace(manifest, suspected=few))
    assert words.startswith("about 2 of 3,000 labels")
    assert "1,640" not in words
    assert "too few to say how far to look" in words


def test_a_model_that_is_rarely_right_does_not_say_how_many_are_wrong(folder):
    manifest = folder.manifest()
    poor = replace(manifest.model, accuracy=replace(manifest.model.accuracy, validation=0.3))
    many = replace(manifest.suspected, expected=1800.0)
    words = suspected_words(replace(manifest, model=poor, suspected=many))
    assert words == (
        "how many labels are wrong cannot be told by a model that is right on 30% of the points held out"
    )


def test_flips_without_a_pattern_are_no_finding(tmp_path):
    features, _, true = points(seed=3)
    columns, index = tuple(f"x{i}" for i in range(8)), np.arange(len(true))
    data = Dataset("four", "features", features, true, NAMES, columns, index, (), (), "four")
    made = swaypoint.audit(data, tmp_path / "audit", options=AuditOptions(flip=0.03))
    assert not made.manifest().suspected.believed
    assert findings["class_pairs"](made) == []


def test_audits_that_say_nothing_of_it(folder, tmp_path):
    """An older one, and one of real values."""
    copy = tmp_path / "older"
    shutil.copytree(folder.path, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["suspected"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "pairs.safetensors").unlink()
    older = AuditFolder(copy)
    assert older.manifest().suspected is None
    assert findings["class_pairs"](older) == []
    assert "probably wrong" not in CliRunner().invoke(app, ["show", str(copy)]).output
    assert "probably wrong by" not in render(older)
    values = replace(dataset(), labels=points()[0][:, 0].astype(np.float64), classes=(), fingerprint="v")
    options = AuditOptions(objective=Objective(loss="squared_error"))
    made = swaypoint.audit(values, tmp_path / "values", options=options)
    assert made.manifest().suspected is None
    assert findings["class_pairs"](made) == []
    with pytest.raises(InputError, match="does not say what its points look like"):
        select(Query(like=("0",)), Items(made), Review(made.manifest().key, ()), "me")


def test_a_streamed_audit_says_the_same(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    features, labels, _ = points()
    table = pa.table({"f": pa.FixedSizeListArray.from_arrays(features.ravel(), 8), "label": labels})
    pq.write_table(table, tmp_path / "data.parquet", row_group_size=1000)
    read, options = ReadOptions(features="f"), AuditOptions(scores=("auto",), top=100)
    held = swaypoint.audit(tmp_path / "data.parquet", tmp_path / "held", read=read, options=options)
    streamed = swaypoint.audit(
        tmp_path / "data.parquet",
        tmp_path / "streamed",
        read=read,
        options=options,
        scale=Scale(max_memory=1e-6),
    )
    assert streamed.streamed
    assert not held.streamed
    here, there = held.manifest().suspected, streamed.manifest().suspected
    assert there.believed == here.believed
    assert there.expected == pytest.approx(here.expected, rel=1e-3)
    assert there.first == pytest.approx(here.first, abs=3)
    pairs = [load_file(one.path / "pairs.safetensors") for one in (held, streamed)]
    for name in ("expected", "variance"):
        np.testing.assert_allclose(pairs[1][name], pairs[0][name], rtol=1e-2, atol=1e-2)
    first, again = findings["class_pairs"](held)[0], findings["class_pairs"](streamed)[0]
    assert first.name == again.name
    assert len(again.index)  # of the top that it holds
