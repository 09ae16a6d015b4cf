"""Regions: planted ones are found, whatever the units; every number against brute force."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from dataclasses import replace
from functools import cache
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from scipy.spatial.distance import cdist
from sklearn.datasets import load_wine
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

import swaypoint
from swaypoint import InputError
from swaypoint.auditing.options import AuditOptions
from swaypoint.cli.main import app
from swaypoint.data.dataset import Dataset, ReadOptions, fingerprint
from swaypoint.findings import findings
from swaypoint.findings.regions import (
    Bound,
    Points,
    Range,
    Region,
    Table,
    central,
    explore,
    proposal_table,
    propose,
    read_regions,
    regions,
    write_regions,
)
from swaypoint.findings.regions.proposals import candidates
from swaypoint.folder.audit_folder import AuditFolder
from swaypoint.report.html import render
from swaypoint.report.regions import cut, standalone, telling

laws = settings(max_examples=25, deadline=None, derandomize=True)
FLIPPED, WEDGE, OUTLIER = range(12), range(12, 20), range(20, 21)


@cache
def planted() -> tuple[Points, Table]:
    """Twelve wrong labels within a dense blob, eight right ones in a thin wedge, one point far away, and
    five hundred others that hardly count."""
    generator = np.random.default_rng(3)
    blob = generator.normal([-6, 0], 0.3, (112, 2))
    wedge = [4, 8] + np.array([[0, 0], [1, 2], [2, 0], [3, 2], [4, 0], [5, 3], [2, 4], [4, 5]]) / 4
    inputs = np.concatenate([blob[:12], wedge, [[30.0, -30.0]], blob[12:], generator.normal(0, 2, (400, 2))])
    right = (inputs[:, 0] > -3).astype(np.int64)
    labels = right.copy()
    labels[FLIPPED] = 1 - labels[FLIPPED]
    cook = generator.uniform(0, 1e-6, len(inputs))
    cook[: OUTLIER.stop] = generator.uniform(1, 2, OUTLIER.stop)
    margin = np.where(labels == right, 0.9, -0.9)
    return Points(inputs, cook, labels, right, margin), Table(inputs, labels, ("u", "v"), ("left", "right"))


def summary(found: tuple[Region, ...]) -> set[tuple[frozenset[int], str]]:
    return {(frozenset(region.members), region.action) for region in found}


PLANTED = {
    (frozenset(FLIPPED), "check labels"),
    (frozenset(WEDGE), "gather"),
    (frozenset(OUTLIER), "filter"),
}


def test_planted_regions_are_found():
    points, table = planted()
    found = regions(points, table, top=0.9999)
    assert summary(found) == PLANTED
    assert [region.share for region in found] == sorted((region.share for region in found), reverse=True)
    assert sum(region.influence for region in found) == pytest.approx(points.cook[: OUTLIER.stop].sum())
    wrong = next(region for region in found if region.action == "check labels")
    assert wrong.classes == (("right", 12),)
    assert wrong.errors == 1.0
    assert wrong.disagreement > 0.8
    assert "100% of them another class" in wrong.reason


@laws
@given(
    scale=st.tuples(st.floats(1e-4, 1e4), st.floats(1e-4, 1e4)),
    offset=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
    seed=st.integers(0, 99),
)
def test_units_and_order_of_rows_change_nothing(scale, offset, seed):
    points, table = planted()
    order = np.random.default_rng(seed).permutation(len(points.cook))
    inputs = ((points.inputs + np.array(offset)) * np.array(scale))[order]
    cook, labels, predicted, margin = (
        values[order] for values in (points.cook, points.labels, points.predicted, points.margin)
    )
    moved = Points(inputs, cook, labels, predicted, margin)
    found = regions(moved, replace(table, inputs=inputs, labels=labels), top=0.9999)
    before = regions(points, table, top=0.9999)
    for one, other in zip(before, found, strict=True):
        assert frozenset(order[list(other.members)]) == frozenset(one.members)
        assert (other.action, other.classes) == (one.action, one.classes)
        assert other.spacing == pytest.approx(one.spacing)
        for bound in one.bounds:
            same = next(b for b in other.bounds if b.column == bound.column)
            axis = table.columns.index(bound.column)
            assert same.low == pytest.approx((bound.low + offset[axis]) * scale[axis], rel=1e-6, abs=1e-6)
            assert same.share == pytest.approx(bound.share, abs=0.003)  # a rounded end may pass a point


def standardised(inputs: np.ndarray) -> np.ndarray:
    """By hand: no ties, no categories."""
    quartiles = np.percentile(inputs, [25, 75], axis=0)
    return inputs / ((quartiles[1] - quartiles[0]) / 1.3489795003921634)


def test_spacing_and_disagreement_by_brute_force():
    points, table = planted()
    places = standardised(points.inputs)
    distances = cdist(places, places)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :10]
    tenth = np.sort(distances, axis=1)[:, 9]
    other = (points.labels[nearest] != points.labels[:, None]).mean(1)
    assert table.usual == pytest.approx(np.median(tenth))
    for region in regions(points, table):
        members = list(region.members)
        assert region.spacing == pytest.approx(np.median(tenth[members]) / np.median(tenth))
        assert region.disagreement == pytest.approx(other[members].mean())


def test_the_table_may_be_a_sample_without_the_points():
    points, table = planted()
    rest = np.arange(OUTLIER.stop, len(points.cook))
    sample = replace(table, inputs=table.inputs[rest], labels=table.labels[rest])
    first = np.arange(OUTLIER.stop)
    top = Points(
        points.inputs[first], points.cook[first], points.labels[first], points.predicted[first],
        points.margin[first],
    )  # fmt: skip
    found = regions(top, sample, total=float(points.cook.sum()), top=1.0)
    assert summary(found) == PLANTED
    assert sum(region.share for region in found) == pytest.approx(
        points.cook[first].sum() / points.cook.sum()
    )


@pytest.mark.parametrize("top", [0.1, 0.5, 0.9, 1.0])
def test_the_fewest_points_that_carry_the_share(top):
    generator = np.random.default_rng(1)
    cook = generator.exponential(size=300) ** 2
    inputs, labels = generator.normal(size=(300, 2)), np.zeros(300, np.int64)
    table = Table(inputs, labels, ("u", "v"), ("a",))
    found = {
        i for region in regions(Points(inputs, cook, labels, labels), table, top=top) for i in region.members
    }
    ranked = sorted(range(300), key=lambda i: -cook[i])
    count = next(
        k for k in range(1, 301) if sum(cook[i] for i in ranked[:k]) >= top * cook.sum() * (1 - 1e-9)
    )
    assert found == set(ranked[: max(count, 20)])


def test_a_copy_with_the_other_label_is_a_neighbour():
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(60, 3))
    inputs[1] = inputs[0]
    labels = np.zeros(60, np.int64)
    labels[1] = 1
    table = Table(inputs, labels, ("a", "b", "c"), ("n", "y"))
    near, distances = table.neighbours(inputs[:2], labels[:2])
    assert near[0][0] == 1
    assert near[1][0] == 0
    assert (distances[:, 0] < 1e-6).all()


@pytest.mark.parametrize(
    ("labels", "predicted", "margin", "action"),
    [
        ([0, 1] * 10, [0, 1] * 10, 0.1, "boundary"),
        ([0] * 20, [0] * 20, 0.1, "boundary"),
        ([0] * 20, [0] * 20, 0.9, "keep"),
        ([0] * 20, [1] * 20, -0.9, "check labels"),
        ([0] * 20, [1] * 20, -0.1, "boundary"),
    ],
)
def test_what_is_suggested_where_data_is_dense(labels, predicted, margin, action):
    generator = np.random.default_rng(5)
    inputs = np.concatenate([generator.normal(0, 0.3, (20, 2)), generator.normal(0, 1, (200, 2))])
    labels = np.array(labels + [0] * 200)
    cook = np.r_[np.ones(20), np.full(200, 1e-6)]
    points = Points(inputs, cook, labels, np.array(predicted + [0] * 200), np.full(220, margin))
    found = regions(points, Table(inputs, labels, ("u", "v"), ("a", "b")))
    assert found[0].action == action
    assert len(found[0]) > 5


def test_of_real_values_nothing_is_said_about_labels():
    points, table = planted()
    values = np.random.default_rng(0).normal(size=len(points.cook))
    points = replace(points, labels=values, predicted=values + 1, margin=None)
    found = regions(points, replace(table, labels=values, classes=()))
    assert {region.action for region in found} <= {"gather", "filter", "keep"}
    assert all(np.isnan(region.errors) and np.isnan(region.disagreement) for region in found)
    assert "nan" not in "".join(region.reason for region in found)


# -- categories, boxes -------------------------------------------------------------------------------


def mixed(n: int = 300) -> tuple[Points, Table]:
    """A number, a whole number, a flag, and three colours one-hot."""
    generator = np.random.default_rng(7)
    colour = np.eye(3)[generator.integers(3, size=n)]
    inputs = np.column_stack(
        [generator.normal(size=n), generator.integers(0, 50, n), generator.integers(0, 2, n), colour]
    )
    labels = (inputs[:, 0] > 0).astype(np.int64)
    points = Points(inputs, generator.exponential(size=n), labels, labels)
    columns = ("size", "count", "flag", "colour=blue", "colour=green", "colour=red")
    return points, Table(inputs, labels, columns, ("no", "yes"))


def test_two_categories_are_one_apart():
    _, table = mixed()
    assert table.source == ("size", "count", "flag", "colour")
    base = table.inputs[:1].copy()
    base[:, 3:] = [1, 0, 0]
    green, flagged = base.copy(), base.copy()
    green[:, 3:] = [0, 1, 0]
    flagged[:, 2] = 1 - flagged[:, 2]
    for other in (green, flagged):
        assert np.linalg.norm(table.places(base) - table.places(other)) == pytest.approx(1.0)


def test_names_with_equals_signs_are_told_apart():
    values = np.eye(4)[[0, 1, 2, 3, 0]]
    pair = np.column_stack([values[:, :2].sum(1), 1 - values[:, :2].sum(1)])
    columns = ("a=x=1", "a=x=2", "a=x=3", "a=x=4", "a=y=1", "a=y=2", "n=5")
    inputs = np.column_stack([values, pair, [2.0, 3.0, 5.0, 7.0, 11.0]])
    table = Table(inputs, np.zeros(5), columns)
    assert set(table.source) == {"a=x", "a=y", "n=5"}
    assert table.column("a=x", inputs)[1] == ("1", "2", "3", "4")


def test_bounds_hold_the_members_and_say_their_share():
    points, table = mixed()
    for region in regions(points, table):
        members = points.inputs[list(region.members)]
        assert 1 <= len(region.bounds) <= 4
        for bound in region.bounds:
            values, names = table.column(bound.column, table.inputs)
            own, _ = table.column(bound.column, members)
            if names:
                assert {names[int(value)] for value in own} == set(bound.values)
                inside = [names[int(value)] in bound.values for value in values]
            else:
                assert bound.low <= own.min() <= own.max() <= bound.high
                inside = [bound.low <= value <= bound.high for value in values]
            assert bound.share == pytest.approx(np.mean(inside))
    assert str(Bound("colour", 0, 0, ("red", "blue"), 0.5)) == "colour = red or blue"
    assert str(Bound("size", 1.23456, 2, (), 0.5)) == "size 1.235 to 2"


# -- proposals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", [planted, mixed])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_proposals_are_the_farthest_of_the_candidates(source, number):
    """Max-min distance, repeated from scratch at each step."""
    points, table = source()
    region = regions(points, table)[number]
    proposed = propose(region, points, table, k=6, seed=4)
    members = points.inputs[list(region.members)]
    drawn = candidates(region, members, table, 1024, np.random.default_rng(4))
    for row in range(6):
        there = table.places(np.concatenate([table.inputs, proposed[:row]]))
        gaps = cdist(table.places(drawn), there).min(1)
        gap = cdist(table.places(proposed[row : row + 1]), there).min()
        assert gap == pytest.approx(gaps.max(), rel=1e-6)
        assert gap > np.median(gaps)
    assert len(np.unique(proposed, axis=0)) == 6


@pytest.mark.parametrize("source", [planted, mixed])
def test_proposals_stay_in_the_region(source):
    points, table = source()
    for region in regions(points, table)[:4]:
        proposed = propose(region, points, table, k=8)
        for bound in region.bounds:
            values, names = table.column(bound.column, proposed)
            if names:
                assert {names[int(value)] for value in values} <= set(bound.values)
            else:
                assert ((values >= bound.low - 1e-9) & (values <= bound.high + 1e-9)).all()


def test_proposals_look_like_the_source():
    points, table = mixed()
    proposed = propose(regions(points, table)[0], points, table, k=5)
    np.testing.assert_array_equal(proposed[:, 3:].sum(1), 1)
    rows = proposal_table([(1, proposed), (4, proposed[:2])], table).to_pandas()
    assert rows.columns.tolist() == ["region", "size", "count", "flag", "colour"]
    assert rows["region"].tolist() == [1] * 5 + [4] * 2
    assert rows["count"].dtype == rows["flag"].dtype == np.int64
    assert set(rows["colour"]) <= {"blue", "green", "red"}
    assert len(proposal_table([], table)) == 0


def test_proposals_keep_to_the_grid_and_run_out_with_it():
    axis = np.array([0.0, 1.0, 2.0, 4.0, 8.0, 16.0])
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    there = grid[np.random.default_rng(0).permutation(36)[:30]]
    labels = np.zeros(30, np.int64)
    points = Points(there, np.linspace(1, 2, 30), labels, labels)
    table = Table(there, labels, ("u", "v"), ("a",), axes=(axis, axis))
    everything = Region(tuple(range(30)), 1, 1, (), (), 1, 1.0, 0, 0, 0, "gather", "")
    proposed = propose(everything, points, table, k=50)
    missing = {tuple(row) for row in grid} - {tuple(row) for row in there}
    assert {tuple(row) for row in proposed} <= missing
    assert len(proposed) >= len(missing) - 1  # a corner of the grid may be out of reach
    with pytest.raises(InputError, match="k is 0"):
        propose(everything, points, table, k=0)


# -- ranges, errors ----------------------------------------------------------------------------------


@given(st.text(min_size=1), st.text(), st.text())
def test_a_range_is_read_as_it_was_written(column, low, high):
    range_ = Range(column, low, high)
    assert Range.parse(str(range_)) == range_


def test_ranges_include_their_ends():
    values = np.array([[0.1], [0.2], [0.3], [0.4]], np.float32)
    table = Table(values, np.zeros(4), ("a",))
    assert table.inside([Range("a", "0.2", "0.3")], values).tolist() == [False, True, True, False]
    points, table = mixed()
    red = table.inside([Range.parse("colour:red"), Range.parse("count:10:20")], points.inputs)
    count = points.inputs[:, 1]
    np.testing.assert_array_equal(red, (points.inputs[:, 5] == 1) & (count >= 10) & (count <= 20))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p, t: regions(p, t, top=0.0), "top is 0.0"),
        (lambda p, t: regions(replace(p, inputs=p.inputs[:, :2]), t), "expected the same columns"),
        (lambda p, t: replace(p, cook=-p.cook), "negative"),
        (lambda p, t: replace(p, labels=p.labels[1:]), "expected inputs"),
        (lambda p, t: replace(t, columns=("a",)), "one name a column"),
        (lambda p, t: replace(t, inputs=t.inputs * np.nan), "not finite"),
        (lambda p, t: replace(t, axes=(None,)), "1 axes for 6 columns"),
        (lambda p, t: t.column("nope", t.inputs), "'nope'; expected one of size, count"),
        (
            lambda p, t: t.inside([Range.parse("size:small")], t.inputs),
            "'small' is no value of column 'size'",
        ),
        (lambda p, t: t.inside([Range.parse("colour:pink")], t.inputs), "expected one of blue, green, red"),
        (lambda p, t: Range.parse("size"), "expected COLUMN:LOW:HIGH"),
        (lambda p, t: cut(p, t, "size", "size"), "along two columns"),
        (lambda p, t: cut(p, t, "size", "count", within=[Range("count", "99", "100")]), "widen the ranges"),
    ],
)
def test_errors_name_what_is_wrong(make, words):
    with pytest.raises(InputError, match=words):
        make(*mixed())


# -- an audit ----------------------------------------------------------------------------------------


@pytest.fixture
def wine(audited_rows, tmp_path) -> Path:
    return Path(shutil.copytree(audited_rows, tmp_path / "wine"))


def run(*arguments: str | Path):
    result = CliRunner().invoke(app, ["regions", *map(str, arguments)], env={"COLUMNS": "120"})
    if isinstance(result.exception, InputError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def test_the_audit_keeps_its_inputs(wine):
    found = explore(AuditFolder(wine))
    index = AuditFolder(wine).scores()["index"].to_numpy()
    np.testing.assert_array_equal(found.points.inputs, load_wine().data.astype(np.float32)[index])
    assert found.table.columns == tuple(load_wine().feature_names)


def test_the_command_writes_regions_and_proposals(wine):
    said = run(wine, "--propose", "3", "--x", "alcohol", "--y", "proline", "--within", "ash:2:3")
    stored = json.loads((wine / "regions.json").read_text())
    assert f"{len(stored['regions'])} regions" in said
    scores = AuditFolder(wine).scores()
    cook = scores["cook"].to_numpy()
    for region in stored["regions"]:
        assert region["influence"] == pytest.approx(cook[region["members"]].sum())
    rows = pd.read_csv(wine / "proposals.csv")
    assert rows.columns.tolist() == ["region", *load_wine().feature_names]
    assert (rows.groupby("region").size() == 3).all()
    asked = [n for n, region in enumerate(stored["regions"], 1) if region["action"] in ("gather", "boundary")]
    assert rows["region"].unique().tolist() == asked
    ash = AuditFolder(wine).scores()["index"].to_numpy()
    ash = load_wine().data.astype(np.float32)[ash, 2]
    picture = (wine / "cut.svg").read_text()
    classes = len(load_wine().target_names)
    assert picture.count("<circle") == ((ash >= 2) & (ash <= 3)).sum() + classes
    assert picture.startswith("<svg xmlns=")


def test_the_folder_gives_back_its_regions(wine):
    folder = AuditFolder(wine)
    assert read_regions(folder) is None
    found = explore(folder)
    write_regions(folder, found)
    assert repr(read_regions(folder)) == repr(found.regions)  # NaN is not equal to itself
    (wine / "regions.json").write_text('{"key": "1", "regions": []}')
    with pytest.raises(InputError, match=r"of another audit; write it again with: swaypoint regions"):
        read_regions(folder)
    (wine / "regions.json").write_text("{")
    with pytest.raises(InputError, match=r"regions\.json: not a JSON file"):
        read_regions(folder)


def test_the_command_says_what_it_cannot_do(wine, audited):
    for arguments, words in [
        ((audited, "--propose", "1"), "of pictures and texts, gather more like the examples"),
        ((audited, "--x", "red", "--y", "green"), "no column 'red': pictures and texts have none"),
        ((wine, "--x", "alcohol"), "give both --x and --y"),
        ((wine, "--within", "ash:2:3"), "give --x and --y as well"),
        ((wine, "--propose", "-1"), "propose is -1"),
        ((wine, "--propose", "1", "--out", wine / "no" / "p.csv"), "there is no folder"),
    ]:
        with pytest.raises(InputError, match=words):
            run(*arguments)
    (wine / "inputs.safetensors").unlink()
    with pytest.raises(InputError, match=r"make the audit again, with --keep-features"):
        run(wine)


def test_the_report_of_a_table_has_regions(wine):
    found = explore(AuditFolder(wine))
    page = render(AuditFolder(wine))
    body = page.split("<h2>Regions</h2>")[1].split("<h2>")[0]
    assert body.count("<tr><td>") == min(12, len(found.regions))
    assert found.regions[0].reason in body
    for name in telling(found.regions, found.table):
        assert name in body.split("<svg")[1].split("</svg>")[0]


def test_where_the_labels_look_right_the_model_is_at_its_boundary():
    """Eight digits that the model takes for others: neighbours in its own features all agree with it."""
    generator = np.random.default_rng(5)
    places = np.concatenate([generator.normal(0, 1, (100, 3)), generator.normal(9, 1, (100, 3))])
    labels = np.repeat([0, 1], 100)
    predicted = labels.copy()
    predicted[:8] = 1
    places[:8] += 9
    cook, margin = np.r_[np.ones(20), np.zeros(180)], np.where(labels == predicted, 0.9, -0.9)
    table = Table(places, labels, (), ("one", "seven"))
    assert table.source == ()
    np.testing.assert_array_equal(table.spread, np.ones(3))

    def first(wrong):
        found = regions(Points(places, cook, labels, predicted, margin, wrong), table, top=1.0)
        return next(region for region in found if set(region.members) & set(range(8)))

    assert first(None).action == "check labels"
    assert first(np.full(200, 0.3)).action == "check labels"
    beyond = first(np.full(200, 0.02))
    assert (beyond.action, beyond.classes, beyond.predicted) == ("boundary", (("one", 8),), (("seven", 8),))
    assert beyond.wrong == pytest.approx(0.02)
    assert (beyond.where, beyond.bounds) == ("the model sees seven", ())
    assert "100% of them another class" in beyond.reason
    assert "2% of the labels are expected to be wrong" in beyond.reason
    mean = places[list(beyond.members)].mean(0)
    nearest = sorted(beyond.members, key=lambda one: np.linalg.norm(places[one] - mean))
    points = Points(places, cook, labels, predicted, margin)
    assert central(beyond, points, table).tolist() == nearest


def test_pictures_have_regions_in_the_features_with_examples(audited, tmp_path):
    folder = AuditFolder(Path(shutil.copytree(audited, tmp_path / "pictures")))
    said = run(folder.path)
    found, scores = read_regions(folder), folder.scores().to_pandas()
    features = load_file(folder.path / "features.safetensors")["features"]
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    places = PCA(10, svd_solver="full").fit_transform(scaled)
    tenth = np.sort(cdist(places, places), axis=1)[:, 10]
    assert len(found) > 0
    for region in found:
        members = list(region.members)
        assert region.spacing == pytest.approx(np.median(tenth[members]) / np.median(tenth))
        assert dict(region.classes) == Counter(
            folder.manifest().data.classes[label] for label in scores["label"][members]
        )
        assert region.wrong == pytest.approx(scores["p_wrong"][members].mean())
    page = (folder.path / "regions.html").read_text()
    assert f"written: {folder.path / 'regions.html'}" in said.replace("\n", "")
    assert page.count('<article class="region"') == min(30, len(found))
    shown = sum(len(region) if len(region) <= 8 else 16 for region in found[:30])
    assert page.count("<img") == shown
    assert "Regions</h2>" in render(folder)
    asking = [i for i, one in enumerate(found, 1) if one.action in ("gather", "boundary") and len(one) > 2]
    assert [one.name for one in findings["regions"](folder)] == [f"region {i}" for i in asking][:12]


def test_texts_stand_there_in_full(tmp_path):
    long = "and so on, " * 100
    texts = [f"{('red green', 'salt <water>')[i % 2]} text {i} {long}" for i in range(80)]
    labels = [("colour", "sea")[(i + (i % 19 == 0)) % 2] for i in range(80)]
    pd.DataFrame({"text": texts, "label": labels}).to_csv(tmp_path / "texts.csv", index=False)
    read = ReadOptions(text="text", label="label")
    folder = swaypoint.audit(tmp_path / "texts.csv", tmp_path / "audit", read=read)
    run(folder.path)
    page, index = (folder.path / "regions.html").read_text(), folder.scores()["index"].to_pylist()
    for region in read_regions(folder)[:30]:
        assert escape(texts[index[region.members[0]]]) in page


def test_features_are_their_own_inputs(tmp_path):
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(100, 3)).astype(np.float32)
    labels = (inputs[:, 0] > 0).astype(np.int64)
    names = ("a", "<b>", "c")
    made = Dataset(
        "made", "features", inputs, labels, ("n", "y"), names, np.arange(100), (), (),
        fingerprint(inputs, labels, ("n", "y")),
    )  # fmt: skip
    folder = swaypoint.audit(made, tmp_path / "made", options=AuditOptions(validation=0.0))
    found = explore(folder)
    np.testing.assert_array_equal(found.points.inputs, inputs)
    assert not (folder.path / "inputs.safetensors").exists()
    assert "<b>" not in standalone(cut(found.points, found.table, "a", "<b>"))
