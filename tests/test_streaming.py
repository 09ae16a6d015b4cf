"""Audits of parquet files that are streamed: the scores of the audit in memory, a file a shard."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import streamed_data
import swaypoint
from swaypoint.auditing.options import AuditOptions, Scale
from swaypoint.cli.main import app
from swaypoint.data.dataset import ReadOptions
from swaypoint.data.folds import InProcess
from swaypoint.data.readers import parquet
from swaypoint.data.readers.parquet import ParquetPoints, open_parquet, read_classes
from swaypoint.data.splitting import Split
from swaypoint.errors import InputError
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.manifest import Accuracy
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.review.items import Items

READ = ReadOptions(features="embedding", label="label")
STREAMED = Scale(max_memory=0.0)
COLUMNS = ("cook", "loss", "loo_loss", "margin", "leverage", "suggested_label", "label")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(parquet, "SHARD_BYTES", 250 * 4 * streamed_data.WIDTH)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    whole = streamed_data.table(*streamed_data.points())
    return streamed_data.write(tmp_path_factory.mktemp("data") / "embeddings", whole)


@pytest.fixture(scope="module")
def streamed(data, tmp_path_factory) -> AuditFolder:
    out = tmp_path_factory.mktemp("streamed") / "audit"
    before, parquet.SHARD_BYTES = parquet.SHARD_BYTES, 250 * 4 * streamed_data.WIDTH
    try:
        return swaypoint.audit(data, out, options=AuditOptions(top=40), read=READ, scale=STREAMED)
    finally:
        parquet.SHARD_BYTES = before


def every(folder: AuditFolder) -> dict[str, np.ndarray]:
    table = folder.every_score().to_table()
    return {name: table[name].to_numpy() for name in table.column_names} | {
        "split": np.array(table["split"].to_pylist())
    }


@pytest.mark.parametrize("removal", ["infinitesimal", "finite"])
def test_scores_are_those_of_the_audit_in_memory(data, tmp_path, removal):
    options = AuditOptions(validation=0.0, removal=removal, top=30)
    inside = swaypoint.audit(data, tmp_path / "held", options=options, read=READ).scores()
    folder = swaypoint.audit(data, tmp_path / "streamed", options=options, read=READ, scale=STREAMED)
    found = every(folder)
    assert len(list((folder.path / "scores").iterdir())) == 9  # of 200 or 100 rows each
    for name in ("index", *COLUMNS):
        np.testing.assert_allclose(found[name], inside[name].to_numpy(), rtol=2e-4, atol=1e-6, err_msg=name)
    expected = inside.filter(pa.array(inside["rank"].to_numpy() <= 30))
    top = folder.scores()
    assert top["index"].to_pylist() == expected["index"].to_pylist()
    assert top["rank"].to_pylist() == expected["rank"].to_pylist()
    assert set(top.column_names) == set(inside.column_names) - {"p_foreign"}
    assert folder.manifest().data.classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize("limit", [None, 650])
def test_streamed_and_held_are_one_audit(data, tmp_path, limit):
    """The same points are held out, the same labels flipped, the same scores and checks made."""
    options = AuditOptions(flip=0.05, scores=("auto", "gradient_norm", "loss"), top=60, seed=3)
    read = replace(READ, limit=limit)
    inside = swaypoint.audit(data, tmp_path / "held", options=options, read=read)
    outside = swaypoint.audit(data, tmp_path / "streamed", options=options, read=read, scale=STREAMED)
    held, streamed = inside.scores(), every(outside)
    assert len(held) == (limit or streamed_data.ROWS)
    assert held["split"].to_pylist() == streamed["split"].tolist()
    assert held["split"].to_pylist().count("held_out") == round(0.2 * len(held))
    assert held["index"].to_pylist() == streamed["index"].tolist()
    assert held["label"].to_pylist() == streamed["label"].tolist()
    for name in (*COLUMNS, "auto", "p_wrong", "gradient_norm"):
        np.testing.assert_allclose(streamed[name], held[name].to_numpy(), rtol=2e-4, atol=1e-6, err_msg=name)
    assert set(outside.scores().column_names) == set(held.column_names) - {"p_foreign"}
    here, there = inside.manifest(), outside.manifest()
    assert here.ranked_by == there.ranked_by == "auto"
    assert here.flipped == there.flipped
    assert here.flipped.planted == round(0.05 * (limit or streamed_data.ROWS))
    assert here.model.accuracy == there.model.accuracy
    assert [check.name for check in here.diagnostics.checks] == [c.name for c in there.diagnostics.checks]
    assert (here.data.train, here.data.validation) == (there.data.train, there.data.validation)
    best = np.argsort(-streamed["auto"], kind="stable")[:60]
    assert sorted(outside.scores()["index"].to_pylist()) == sorted(streamed["index"][best].tolist())


def test_a_share_is_held_out_and_measured(streamed, data):
    manifest = streamed.manifest()
    held = Split.of(streamed_data.ROWS).held_out(np.arange(streamed_data.ROWS))
    assert manifest.data.train == (~held).sum()
    assert manifest.data.validation == held.sum()
    assert manifest.data.ranked == {"train": (~held).sum(), "held_out": held.sum()}
    assert np.array_equal(every(streamed)["index"], np.arange(streamed_data.ROWS))
    assert np.array_equal(every(streamed)["split"] == "held_out", held)
    features, labels = streamed_data.points()
    head = {name: value.numpy() for name, value in _tensors(streamed.path / "head.safetensors").items()}
    right = (features @ head["weight"].T + head["bias"]).argmax(1) == labels
    assert manifest.model.accuracy.train == pytest.approx(right[~held].mean())
    assert manifest.model.accuracy.validation == pytest.approx(right[held].mean())


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    return load_file(path)


def test_examples_and_items_are_the_top_with_their_records(streamed):
    top = streamed.scores().to_pylist()
    ranked = sorted(top, key=lambda row: row["rank"])
    assert [row["rank"] for row in ranked] == list(range(1, 41))
    examples = streamed.examples().to_pylist()
    assert [row["index"] for row in examples] == [row["index"] for row in ranked]
    assert [json.loads(row["row"])["note"] for row in examples] == [str(row["index"]) for row in ranked]
    features, _ = streamed_data.points()
    held = _tensors(streamed.path / "features.safetensors")["features"].numpy()
    assert np.array_equal(held, features[[row["index"] for row in top]])
    assert not (streamed.path / "partial").exists()


def test_the_top_does_not_depend_on_the_order_that_statistics_travel_in(
    streamed, data, tmp_path, monkeypatch
):
    """Those from a cluster and from the disk of a run that goes on have lost the order of their names."""
    plain = InProcess.map

    def backwards(self, *args):
        return (dict(reversed(part.items())) for part in plain(self, *args))

    monkeypatch.setattr(InProcess, "map", backwards)
    again = swaypoint.audit(data, tmp_path / "audit", options=AuditOptions(top=40), read=READ, scale=STREAMED)
    assert (again.path / "top.parquet").read_bytes() == (streamed.path / "top.parquet").read_bytes()


def test_a_given_head_is_audited_as_it_is(data, tmp_path):
    weight, bias = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(3)
    save_file({"weight": weight, "bias": bias}, tmp_path / "head.safetensors")
    model = ModelOptions(weights=tmp_path / "head.safetensors")
    options = AuditOptions(model=model, objective=Objective(l2=0.01), validation=0.0)
    folder = swaypoint.audit(data, tmp_path / "streamed", options=options, read=READ, scale=STREAMED)
    inside = swaypoint.audit(data, tmp_path / "held", options=options, read=READ)
    np.testing.assert_allclose(every(folder)["cook"], inside.scores()["cook"].to_numpy(), rtol=1e-4)
    assert torch.equal(_tensors(folder.path / "head.safetensors")["weight"].float(), weight)
    save_file({"weight": weight[:, :4].contiguous()}, tmp_path / "narrow.safetensors")
    narrow = AuditOptions(model=ModelOptions(weights=tmp_path / "narrow.safetensors"))
    with pytest.raises(InputError, match=r"the head takes 4 features, the table has 5"):
        swaypoint.audit(data, tmp_path / "narrow", options=narrow, read=READ, scale=STREAMED)


@pytest.mark.parametrize("loss", ["squared_error", "huber", "poisson"])
def test_a_streamed_regression_says_what_one_in_memory_says(tmp_path, loss):
    features, _ = streamed_data.points()
    generator = np.random.default_rng(1)
    target = 50.0 + features @ np.arange(5) + generator.standard_normal(len(features))
    target[::97] += 9.0 * generator.choice([-1.0, 1.0], len(target[::97]))
    if loss == "poisson":
        target = generator.poisson(np.exp(0.2 * features @ np.arange(5))).astype(float)
    whole = streamed_data.table(features, np.zeros(len(features), dtype=int))
    whole = whole.set_column(1, "label", pa.array(target))
    data = streamed_data.write(tmp_path / "data", whole)
    options = AuditOptions(objective=Objective(loss), top=30)
    folder = swaypoint.audit(data, tmp_path / "streamed", options=options, read=READ, scale=STREAMED)
    inside = swaypoint.audit(data, tmp_path / "held", options=options, read=READ)
    found, held = every(folder), inside.scores()
    for name in ("cook", "residual", "studentised", "suggested_error", "auto", "suggested_label"):
        expected = held[name].to_numpy()
        scale = np.abs(expected).max()
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4 * scale, err_msg=name)
    assert found["kind"].tolist() == held["kind"].to_pylist()
    assert "outlier" in found["kind"].tolist() or loss == "poisson"
    assert set(folder.scores().column_names) == set(held.column_names) - {"p_foreign"}
    assert folder.manifest().model.accuracy == Accuracy(None, None, {})
    here, there = inside.manifest().model.regression, folder.manifest().model.regression
    assert there.parameters == here.parameters
    for one, other in ((here.train, there.train), (here.validation, there.validation)):
        assert other.r_squared == pytest.approx(one.r_squared, rel=1e-3)
        assert other.rmse == pytest.approx(one.rmse, rel=1e-3)
    assert there.scale == pytest.approx(here.scale, rel=1e-3)


def test_data_of_any_fsspec_file_system(data, tmp_path):
    import fsspec

    memory = fsspec.filesystem("memory")
    for file in sorted(data.iterdir()):
        memory.pipe(f"/bucket/{file.name}", file.read_bytes())
    folder = swaypoint.audit("memory://bucket", tmp_path / "audit", options=AuditOptions(), read=READ)
    assert len(every(folder)["cook"]) == streamed_data.ROWS


def test_what_is_streamed_is_stated(data, tmp_path):
    needed = streamed_data.ROWS * streamed_data.WIDTH * 40 / 2**30
    held = swaypoint.audit(data, tmp_path / "held", read=READ, scale=Scale(max_memory=1.01 * needed))
    more = swaypoint.audit(data, tmp_path / "more", read=READ, scale=Scale(max_memory=0.99 * needed))
    assert (held.streamed, more.streamed) == (False, True)
    with pytest.raises(InputError, match=r"'spark'; expected in-process, ray, or ray://HOST:PORT"):
        swaypoint.audit(data, tmp_path / "spark", read=READ, scale=Scale(engine="spark"))
    with pytest.raises(InputError, match=r"engines and URLs are for parquet.*--features"):
        swaypoint.audit("sklearn:digits", tmp_path / "digits", scale=Scale(engine="ray"))


def test_row_groups_make_shards_within_files(data):
    table = open_parquet(data, READ)
    pieces = table.pieces()
    assert [piece.rows for piece in pieces] == [200, 200, 100] * 3
    assert [piece.start for piece in pieces] == [0, 200, 400, 500, 700, 900, 1000, 1200, 1400]
    points = ParquetPoints(table, read_classes(table), Split(0, 0.2))
    features, labels = streamed_data.points()
    for shard, piece in zip(points.shards(), pieces, strict=True):
        parts = list(shard.numbered())
        index = np.concatenate([part[0] for part in parts])
        assert np.array_equal(torch.cat([part[1] for part in parts]).numpy(), features[index])
        assert np.array_equal(torch.cat([part[2] for part in parts]).numpy(), labels[index])
        assert len(shard) == len(index)
        assert index[0] >= piece.start
    assert len(points) + len(points.others()) == streamed_data.ROWS


def test_the_sample_is_spread_over_the_table(data):
    table = open_parquet(data, READ)
    points = ParquetPoints(table, read_classes(table), Split(0, 0.2))
    index, features, _ = points.numbered_sample(300)
    assert 250 <= len(index) <= 300
    assert not Split(0, 0.2).held_out(index).any()
    assert {int(i) // 100 for i in index} == set(range(15))
    assert torch.equal(points.sample(300)[0], features)


def _broken(tmp_path: Path, row: int, value: object) -> Path:
    features, labels = streamed_data.points(300)
    whole = streamed_data.table(features, labels)
    vectors = whole["embedding"].to_pylist()
    vectors[row] = value
    column = pa.array(vectors, pa.list_(pa.float32()))
    return streamed_data.write(tmp_path / "data", whole.set_column(0, "embedding", column), files=2)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, r"row 207: column 'embedding' is missing"),
        ([1.0, 2.0], r"row 207: column 'embedding' has 2 numbers"),
        ([1.0, float("nan"), 0, 0, 0], r"row 207: embedding\[1\] is missing \(NaN\)"),
    ],
)
def test_a_bad_record_is_named_or_left_out(tmp_path, value, words):
    data = _broken(tmp_path, 207, value)
    with pytest.raises(InputError, match=words + ".*--skip-bad"):
        swaypoint.audit(data, tmp_path / "audit", read=READ, scale=STREAMED)
    read = ReadOptions(features="embedding", label="label", skip_bad=True)
    options = AuditOptions(validation=0.0)
    folder = swaypoint.audit(data, tmp_path / "skipped", options=options, read=read, scale=STREAMED)
    assert sorted(set(range(300)) - set(every(folder)["index"].tolist())) == [207]
    assert folder.manifest().data.left_out == 1


def test_a_label_that_is_no_number_is_left_out(tmp_path):
    features, labels = streamed_data.points(300)
    values = labels.astype(float)
    values[7] = np.nan
    whole = streamed_data.table(features, labels).set_column(1, "label", pa.array(values))
    data = streamed_data.write(tmp_path / "data", whole)
    read = ReadOptions(features="embedding", label="label", skip_bad=True)
    options = AuditOptions(validation=0.0)
    folder = swaypoint.audit(data, tmp_path / "streamed", options=options, read=read, scale=STREAMED)
    inside = swaypoint.audit(data, tmp_path / "held", options=options, read=read)
    assert every(folder)["index"].tolist() == inside.scores()["index"].to_pylist()
    assert 7 not in every(folder)["index"]
    with pytest.raises(InputError, match=r"row 7: .*--skip-bad"):
        swaypoint.audit(data, tmp_path / "refused", read=READ, scale=STREAMED)


@pytest.mark.parametrize("scale", [STREAMED, None], ids=["streamed", "held"])
def test_files_may_differ_in_what_their_types_can_be_brought_to(tmp_path, scale):
    features, labels = streamed_data.points(300)
    whole = streamed_data.table(features, labels)
    data = streamed_data.write(tmp_path / "data", whole, files=2)
    number = whole.column_names.index("note")
    empty = pq.read_table(data / "part-1.parquet").set_column(number, "note", pa.nulls(150))
    pq.write_table(empty, data / "part-1.parquet", row_group_size=100)
    folder = swaypoint.audit(data, tmp_path / "audit", read=READ, scale=scale)
    notes = {row["index"]: json.loads(row["row"])["note"] for row in folder.examples().to_pylist()}
    assert notes == {index: str(index) if index < 150 else "missing" for index in notes}
    other = pq.read_table(data / "part-1.parquet").set_column(1, "label", pa.array(np.arange(150.0)))
    pq.write_table(other, data / "part-1.parquet")
    with pytest.raises(InputError, match=r"label.*string.*double|double.*string"):
        swaypoint.audit(data, tmp_path / "refused", read=READ, scale=scale)


def test_files_of_folders_below_belong_to_neither_way(data, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    shutil.copytree(data, copy / "old")
    for scale in (STREAMED, None):
        folder = swaypoint.audit(copy, tmp_path / f"audit-{scale is None}", read=READ, scale=scale)
        assert folder.manifest().data.points == streamed_data.ROWS


def test_a_point_of_leverage_one_does_not_hide_a_head_off_its_optimum(tmp_path):
    """Its finite distance is whatever rounding leaves of infinity."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(300, 5)).astype(np.float32)
    features[:, 4] = 0.0
    features[11] = [0, 0, 0, 0, 1]
    values = features @ rng.normal(size=5) + rng.normal(size=300)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), 5)
    data = streamed_data.write(tmp_path / "data", pa.table({"embedding": vectors, "label": values}))
    save_file({"weight": torch.zeros(1, 5), "bias": torch.zeros(1)}, tmp_path / "head.safetensors")
    verdicts = {}
    for removal in ("infinitesimal", "finite"):
        for scale in (STREAMED, None):
            options = AuditOptions(
                model=ModelOptions(weights=tmp_path / "head.safetensors"),
                objective=Objective("squared_error"),
                removal=removal,
                validation=0.0,
            )
            out = tmp_path / f"{removal}-{scale is None}"
            manifest = swaypoint.audit(data, out, options=options, read=READ, scale=scale).manifest()
            check = next(c for c in manifest.diagnostics.checks if c.name == "Stationarity")
            verdicts[removal, scale is None] = check.value, check.verdict
    assert len(set(verdicts.values())) == 1
    assert verdicts["finite", True][1] != "fit"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (AuditOptions(params=("*",)), "--params"),
        (AuditOptions(scores=("auto", "knn")), "--score knn"),
        (AuditOptions(model=ModelOptions("mlp")), "--model"),
        (AuditOptions(refit="ridge"), "--refit-ridge"),
    ],
)
def test_what_needs_the_data_in_memory_says_so(data, tmp_path, options, words):
    with pytest.raises(InputError, match=words + " needs the data in memory.*--max-memory"):
        swaypoint.audit(data, tmp_path / "audit", options=options, read=READ, scale=STREAMED)
    assert not (tmp_path / "audit").exists()


def test_bad_places_are_refused_with_the_remedy(tmp_path):
    (tmp_path / "empty").mkdir()
    cases = {
        str(tmp_path / "gone.parquet"): "does not exist",
        f"file://{tmp_path}/empty": "no parquet files",
        "nosuch://bucket/data": "fsspec",
    }
    for source, words in cases.items():
        with pytest.raises(InputError, match=words):
            swaypoint.audit(source, tmp_path / "audit", read=READ)
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(b"PAR1 not a parquet file PAR1")
    with pytest.raises(InputError, match="not a parquet file that can be read"):
        swaypoint.audit(damaged, tmp_path / "audit", read=READ)
    pq.write_table(pa.table({"label": [0, 1]}), tmp_path / "narrow.parquet")
    with pytest.raises(InputError, match="no column 'embedding'"):
        swaypoint.audit(tmp_path / "narrow.parquet", tmp_path / "audit", read=READ)


def test_commands_work_on_a_streamed_audit_or_say_why_not(streamed):
    run = CliRunner()
    shown = run.invoke(app, ["show", str(streamed.path), "--top", "3"])
    assert shown.exit_code == 0
    assert f"First 3 of {streamed_data.ROWS:,}" in shown.output
    assert run.invoke(app, ["report", str(streamed.path)]).exit_code == 0
    assert "points are suspect" in (streamed.path / "report.html").read_text()
    items = Items(streamed)
    best = min(range(len(items)), key=lambda position: items.scores["rank"][position])
    assert len(items) == 40
    assert items.scores["cook"][best] == every(streamed)["cook"].max()
    for command in (["regions"], ["export", "--to", "parquet", "--out", str(streamed.path / "x.parquet")]):
        result = run.invoke(app, [command[0], str(streamed.path), *command[1:]])
        assert isinstance(result.exception, InputError)
        assert "was streamed" in str(result.exception)


def test_the_review_measures_leverage_by_the_mean_of_all_points(streamed):
    items, scores = Items(streamed), every(streamed)
    everywhere = scores["leverage"][scores["split"] == "train"]
    assert len(items) < len(everywhere)
    np.testing.assert_allclose(items.leverage, items.scores["leverage"] / everywhere.mean(), rtol=1e-6)


def test_the_report_says_of_all_points_what_it_says_of_an_audit_in_memory(data, tmp_path):
    from swaypoint.report.overview import of_parts, of_scores

    options = AuditOptions(validation=0.0)
    scores = swaypoint.audit(data, tmp_path / "held", options=options, read=READ).scores()
    columns = {name: scores[name].to_numpy(zero_copy_only=False) for name in scores.column_names}
    expected = of_scores(columns, 3)
    streamed = swaypoint.audit(data, tmp_path / "audit", options=options, read=READ, scale=STREAMED)
    found = of_parts(streamed, 3)
    for name in ("points", "first", "suspects"):
        assert getattr(found, name) == getattr(expected, name)
    assert found.share == pytest.approx(expected.share, rel=0.15)  # of 15 points, to a bin
    assert found.inspect == pytest.approx(expected.inspect, rel=0.02)
    assert found.mark == pytest.approx(expected.mark, rel=0.1)
    grid, fine = np.arange(1, 1501) / 1500, np.arange(1, 10_001) / 1e4
    for name in ("seen", "seen_by_loss"):
        assert np.abs(np.interp(grid, fine, getattr(found, name)) - getattr(expected, name)).max() < 0.02
    assert found.classes[:, [0, 2]].tolist() == expected.classes[:, [0, 2]].tolist()
    assert found.counts.sum() == 1500


def test_a_finished_audit_is_returned_and_another_is_refused(streamed, data):
    before = {file: file.stat().st_mtime_ns for file in streamed.path.rglob("*.parquet")}
    again = swaypoint.audit(data, streamed.path, options=AuditOptions(top=40), read=READ, scale=STREAMED)
    assert {file: file.stat().st_mtime_ns for file in again.path.rglob("*.parquet")} == before
    with pytest.raises(InputError, match="holds another audit"):
        swaypoint.audit(data, streamed.path, options=AuditOptions(top=41), read=READ, scale=STREAMED)


def test_a_lost_part_is_told(streamed, tmp_path):
    import shutil

    copy = AuditFolder(shutil.copytree(streamed.path, tmp_path / "copy"))
    (copy.path / "scores" / "part-00002.parquet").unlink()
    with pytest.raises(InputError, match="8 of 9 files"):
        copy.every_score()
