"""The page and the terminal view, against numbers computed here from the folder's files."""

from __future__ import annotations

import errno
import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

import swaypoint
from swaypoint.auditing.options import AuditOptions
from swaypoint.data.dataset import Dataset, fingerprint
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.folder.writing import write_json, write_table
from swaypoint.models.predictor import ModelOptions, Objective
from swaypoint.report.html import render
from swaypoint.report.overview import of_scores
from swaypoint.report.terminal import show


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    out = tmp_path_factory.mktemp("report") / "digits"
    options = AuditOptions(flip=0.02, model=ModelOptions(epochs=2), top=30)
    return swaypoint.audit("sklearn:digits", out, options=options)


def rows_dataset(classes=("<script>alert(1)</script>", "b & c"), regression=False):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(80, 12)).astype(np.float32)
    score = inputs[:, 0] + 0.5 * generator.normal(size=80)
    labels = score if regression else (score > 0).astype(np.int64)
    classes = () if regression else classes
    return Dataset(
        name="rows",
        kind="features" if regression else "rows",
        inputs=inputs,
        labels=labels,
        classes=classes,
        columns=tuple(f"<b>{i}" for i in range(12)),
        index=np.arange(80),
        names=(),
        skipped=(),
        fingerprint=fingerprint(inputs, labels, classes),
    )


def test_numbers_of_the_page(audited):
    page = render(audited)
    scores = audited.scores().to_pandas().sort_values("rank")
    suspects = scores["margin"] < 0
    assert f"<b>{suspects.sum():,}</b> points are suspect" in page
    seen = np.flatnonzero(suspects)
    needed = seen[int(np.ceil(0.9 * len(seen))) - 1] + 1
    assert f"Inspect the first <b>{needed:,}</b>" in page
    share = scores["cook"][:18].sum() / scores["cook"].sum()
    assert f"carry <b>{share:.0%}</b>" in page
    assert page.count('<article class="card"') == 30
    hits = audited.manifest().flipped.found[1]["hits"]["cook"]
    assert re.search(rf"first 5%</td><td class=\"n\">{hits} \(", page)


def test_the_page_needs_nothing_else(audited):
    page = render(audited)
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)
    assert "http" not in page.replace("http://www.w3.org", "")
    assert len(page) < 1_500_000


def test_names_from_the_data_are_inert(tmp_path):
    folder = swaypoint.audit(
        rows_dataset(), tmp_path / "a", options=AuditOptions(model=ModelOptions(epochs=1))
    )
    page = render(folder)
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<b>1</b>" not in page.split("gallery")[1].split("Provenance")[0]
    assert "4 more columns" in page


def test_regression_has_no_margins(tmp_path):
    options = AuditOptions(objective=Objective("squared_error", l2=0.0))
    folder = swaypoint.audit(rows_dataset(regression=True), tmp_path / "a", options=options)
    page = render(folder)
    assert "suspect" not in page.split("In short")[1].split("The most influential")[0]
    assert "predicted" in page
    output = io.StringIO()
    show(folder, top=2, console=Console(file=output, width=120))
    assert "First 2 of 80" in output.getvalue()


def test_terminal_shows_the_ranking(audited):
    output = io.StringIO()
    show(audited, top=4, console=Console(file=output, width=80))
    first = audited.scores().to_pandas().sort_values("rank")["index"].to_numpy()[:4]
    table = output.getvalue().split("First 4")[1]
    rows = [line.split() for line in table.splitlines()]
    assert [int(cells[1]) for cells in rows if cells and cells[0].isdigit()] == first.tolist()
    with pytest.raises(swaypoint.InputError, match="top is 0"):
        show(audited, top=0)


def pictures_by_class(root, count=6):
    image = pytest.importorskip("PIL.Image")
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 255, (8, 8, 3), np.uint8)
            image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def test_show_names_files_and_classes_and_the_column_that_ranks(tmp_path):
    from swaypoint.report.terminal import described, ranked

    options = AuditOptions(model=ModelOptions(epochs=1), top=3, scores=("auto",), validation=0.0)
    folder = swaypoint.audit(pictures_by_class(tmp_path / "pets"), tmp_path / "a", options=options)
    scores = folder.scores().to_pandas().sort_values("rank")
    table = ranked(folder).to_pandas()
    assert table["rank"].tolist() == list(range(1, 13))
    files = [f"{('cat', 'dog')[index // 6]}/{index % 6}.png" for index in scores["index"]]
    assert table["name"].tolist() == files
    assert table["label"].tolist() == [file.split("/")[0] for file in files]
    np.testing.assert_array_equal(table["auto"], scores["auto"])
    assert (np.diff(table["auto"]) <= 0).all()
    output = io.StringIO()
    show(folder, top=2, console=Console(file=output, width=120))
    lines = [line for line in output.getvalue().split("First 2")[1].splitlines() if line.strip()]
    head, first = (next(line for line in lines if word in line) for word in ("suggested", files[0]))
    assert "file" in head.split()
    assert "auto" in head.split()
    assert f"{scores['auto'].iloc[0]:.3g}" in first.split()
    told = json.loads(json.dumps(described(folder, top=2)))
    assert told["ranked_by"] == "auto"
    assert [point["name"] for point in told["points"]] == files[:2]


def test_commands_speak_to_machines(audited, tmp_path):
    from typer.testing import CliRunner

    from swaypoint.cli.main import app

    runner = CliRunner()
    done = runner.invoke(
        app, ["show", str(audited.path), "--csv", str(tmp_path / "r.csv"), "--top", "2", "--json"]
    )
    assert done.exit_code == 0
    scores = audited.scores().to_pandas().sort_values("rank")
    assert [point["index"] for point in json.loads(done.stdout)["points"]] == scores["index"].tolist()[:2]
    written = pd.read_csv(tmp_path / "r.csv")
    assert written["index"].tolist() == scores["index"].tolist()
    np.testing.assert_allclose(written["cook"], scores["cook"])
    done = runner.invoke(app, ["fitness", str(audited.path), "--json"])
    assert json.loads(done.stdout)["verdict"] == audited.manifest().diagnostics.verdict
    arguments = ["audit", "sklearn:wine", "--out", str(tmp_path / "w"), "--epochs", "1", "--top", "3"]
    done = runner.invoke(app, [*arguments, "--quiet"])
    assert (done.exit_code, done.output) == (0, "")
    done = runner.invoke(app, [*arguments, "--json"])
    assert len(json.loads(done.stdout)["points"]) == 3


def test_a_ranking_is_sliced_iterated_written_and_shown(tmp_path):
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 3))
    ranking = swaypoint.cooks_distance_from_features(features, (features[:, 0] > 0).astype(np.int64))
    part = ranking[10:20]
    assert part.index.tolist() == list(range(10, 20))
    np.testing.assert_array_equal(part.values, ranking.values[10:20])
    np.testing.assert_array_equal(
        ranking[ranking.values > np.median(ranking.values)].index,
        np.flatnonzero(ranking.values > np.median(ranking.values)),
    )
    assert [row["index"] for row in ranking] == ranking.order.tolist()
    ranking.to_csv(tmp_path / "r.csv")
    written = pd.read_csv(tmp_path / "r.csv")
    assert written["rank"].tolist() == list(range(1, 41))
    np.testing.assert_allclose(written["cook"], ranking.values[ranking.order])
    page = ranking._repr_html_()
    assert page.count("<tr>") == 11
    assert f"<td>{ranking.values.max():.4g}</td>" in page
    pytest.importorskip("matplotlib").use("agg")
    line = ranking.plot().lines[0]
    np.testing.assert_allclose(line.get_ydata(), np.sort(ranking.values)[::-1])


def test_a_ranking_is_a_frame_of_polars_and_of_whatever_takes_arrow():
    polars = pytest.importorskip("polars")
    features = np.random.default_rng(0).normal(size=(40, 3))
    ranking = swaypoint.cooks_distance_from_features(features, (features[:, 0] > 0).astype(np.int64)).top(5)
    expected = ranking.to_pandas()
    assert expected["index"].tolist() == ranking.index.tolist()
    for frame in (ranking.to_polars(), polars.DataFrame(ranking), pa.table(ranking)):
        pd.testing.assert_frame_equal(frame.to_pandas(), expected)


def test_the_api_says_nothing_unless_asked(capfd):
    features = np.random.default_rng(0).normal(size=(40, 3))
    swaypoint.cooks_distance_from_features(features, (features[:, 0] > 0).astype(np.int64))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("seed", range(5))
def test_inspect_this_many_is_the_smallest_that_suffices(seed):
    generator = np.random.default_rng(seed)
    n = 200
    margin, rank = generator.uniform(-0.2, 1, n), generator.permutation(n) + 1
    columns = {"margin": margin, "rank": rank, "kind": np.full(n, "fine"), "label": np.zeros(n)}
    columns |= {name: generator.uniform(size=n) for name in ("cook", "loss")}
    found = of_scores(columns, 2)
    by_rank = margin[np.argsort(rank)] < 0
    enough = [k for k in range(1, n + 1) if by_rank[:k].sum() >= 0.9 * by_rank.sum() - 1e-9]
    assert found.inspect == enough[0]
    none = of_scores(columns | {"margin": np.ones(n)}, 2)
    assert (none.suspects, none.inspect) == (0, 0)


# -- the folder -------------------------------------------------------------------------------------


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "manifest.json"
    write_json(path, {"status": "complete"})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(swaypoint.InputError, match=r"no space left on .* while writing manifest.json"):
        write_json(path, {"status": "other"})
    assert json.loads(path.read_text()) == {"status": "complete"}
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_folders_are_named(audited, tmp_path):
    for name in ("manifest.json", "scores.parquet", "examples.parquet"):
        content = (audited.path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(swaypoint.InputError, match=r"manifest.json: not a JSON file"):
        AuditFolder(tmp_path).manifest()
    with pytest.raises(swaypoint.InputError, match=r"scores.parquet: not a parquet file"):
        AuditFolder(tmp_path).scores()
    with pytest.raises(swaypoint.InputError, match=r"examples.parquet: not a parquet file"):
        AuditFolder(tmp_path).examples()


def test_tables_round_trip(tmp_path):
    table = pa.table({"a": [1.5, float("nan")], "b": ["x", None]})
    write_table(tmp_path / "scores.parquet", table)
    assert pq.read_table(tmp_path / "scores.parquet").schema == table.schema
